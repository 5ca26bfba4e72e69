"""Who is acting: the name that goes into the record."""

from __future__ import annotations

import getpass
import os
import socket


def actor() -> str:
    """The person behind this process.

    `PROMOTION_ACTOR` if set, else the person who started the Jenkins build (`BUILD_USER_ID`, set by the build-user-vars
    plugin), else the login name with the host's.
    """
    named = os.environ.get("PROMOTION_ACTOR") or os.environ.get("BUILD_USER_ID")
    if named:
        return named
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"
