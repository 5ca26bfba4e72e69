"""Mark a version as known bad, so that it does not serve again, or lift the mark."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[2] / "src")
    import promotion.cli.environment

from promotion.cli.rollback import known_bad_command as main

if __name__ == "__main__":
    main()
