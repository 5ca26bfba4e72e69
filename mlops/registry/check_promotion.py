"""Say whether a version may be promoted, and what is still missing."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[2] / "src")
    import promotion.cli.environment

from promotion.cli.check import check_command as main

if __name__ == "__main__":
    main()
