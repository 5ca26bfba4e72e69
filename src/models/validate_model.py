"""Validate a registered version and move it to Staging or Production."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[1])
    import promotion.cli.environment

from promotion.cli.validate import validate_command as main

__all__ = ["main"]

if __name__ == "__main__":
    main()
