"""Register a version as a person's own script does: `register_version.py MODEL NUMBER`; exit code as of a command."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from promotion import register
    from promotion.errors import PromotionError

    try:
        register(sys.argv[1], int(sys.argv[2]), trainer="tina")
    except PromotionError as error:
        print(error, file=sys.stderr)  # noqa: T201  # what went wrong
        sys.exit(error.exit_code)
