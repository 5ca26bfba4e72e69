"""Run an image as the cluster will and hold its answers against the registered model's."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[1] / "src")
    import promotion.cli.environment

from promotion.cli.delivery.images import test_image_command as main

if __name__ == "__main__":
    main()
