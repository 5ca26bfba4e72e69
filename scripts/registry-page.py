"""Write every family on one page: what serves, what waits for whom, what is wrong."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[1] / "src")
    import promotion.cli.environment

from promotion.cli.check import page_command as main

if __name__ == "__main__":
    main()
