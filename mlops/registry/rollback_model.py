"""Take the version in Production back to the one before."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[2] / "src")
    import promotion.cli.environment

from promotion.cli.rollback import rollback_command as main

if __name__ == "__main__":
    main()
