"""Signing by the SSH agent, which keeps people's unlocked keys and talks to security keys."""

from __future__ import annotations

import os
import socket

from promotion.errors import SigningFailed
from promotion.signing.sshsig import Reader, string

_SIGN, _SIGNED = 13, 14
_SHA512 = 4
# Long enough to touch a security key.
_TIMEOUT_SECONDS = 60


def sign_by_agent(key: bytes, message: bytes) -> bytes:
    """Have a message signed; key, and the signature with its type, are in SSH's wire format.

    Raises:
        SigningFailed: There is no agent, it does not have the key, or nobody confirmed.
    """
    place = os.environ.get("SSH_AUTH_SOCK")
    if not place:
        raise SigningFailed("no SSH agent (SSH_AUTH_SOCK is not set)")
    body = bytes([_SIGN]) + string(key) + string(message) + _SHA512.to_bytes(4)
    try:
        with socket.socket(socket.AF_UNIX) as agent:
            agent.settimeout(_TIMEOUT_SECONDS)
            agent.connect(place)
            agent.sendall(string(body))
            with agent.makefile("rb") as answers:
                answer = Reader(answers.read(int.from_bytes(answers.read(4))))
        if answer.take(1) != bytes([_SIGNED]):
            raise SigningFailed("the SSH agent does not have this key, or may not use it")
        return answer.string()
    except TimeoutError as error:
        raise SigningFailed(f"the SSH agent gave no answer in {_TIMEOUT_SECONDS} s") from error
    except (OSError, ValueError) as error:
        raise SigningFailed(f"the SSH agent at {place} cannot be asked: {error}") from error
