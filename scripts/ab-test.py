"""Compare champion and challenger on live requests, by the labels that arrived."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[1] / "src")
    import promotion.cli.environment

from promotion.cli.monitoring.ab_test import ab_test_command as main

if __name__ == "__main__":
    main()
