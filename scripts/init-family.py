"""Write a first file for a family: what can be known of its models, what its owner decides marked."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[1] / "src")
    import promotion.cli.environment

from promotion.cli.onboarding.init import init_command as main

if __name__ == "__main__":
    main()
