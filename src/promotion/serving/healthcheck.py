"""`python -m promotion.serving.healthcheck`: whether the server here is ready, for an image without a shell."""

from __future__ import annotations

import os
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

SECONDS = 3
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not listened on, but translated


def main() -> int:
    """Ask `/ready` where HOST and PORT say.

    Returns:
        0 ready, 1 not ready or no answer within three seconds.
    """
    host = os.environ.get("HOST") or "127.0.0.1"
    try:
        connection = HTTPConnection(EVERYWHERE.get(host, host), int(os.environ.get("PORT") or 8080), timeout=SECONDS)
        connection.request("GET", "/ready")
        return 0 if connection.getresponse().status == HTTPStatus.OK else 1
    except (OSError, HTTPException, ValueError) as error:
        sys.stderr.write(f"not ready: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
