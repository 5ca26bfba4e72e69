"""Bring a family's data into place."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[1] / "src")
    import promotion.cli.environment

from models.download_data import download_data_command as main

if __name__ == "__main__":
    main()
