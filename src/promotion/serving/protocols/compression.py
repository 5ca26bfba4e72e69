"""Bodies that come compressed, and answers for clients that take them so: gzip and deflate, as RFC 9110 names them."""

from __future__ import annotations

import re
import zlib
from http import HTTPStatus

from promotion.serving.errors import Refusal

IDENTITY = frozenset({"", "identity"})
_WINDOWS = {"gzip": 31, "deflate": zlib.MAX_WBITS}
SMALLEST = 500
"""Bytes from which on an answer is worth compressing."""

FAST = 1
_ZERO = re.compile(r"\s*q\s*=\s*0(\.0*)?\s*")


def check_encoding(encoding: str) -> None:
    """Refuse a Content-Encoding nobody here reads.

    Raises:
        Refusal: 415.
    """
    if encoding not in IDENTITY and encoding not in _WINDOWS:
        known = " or ".join(_WINDOWS)
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Content-Encoding: send the body as {known}, or uncompressed")


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """The body as it was before the client compressed it.

    Args:
        body: Of the request.
        encoding: One that `check_encoding` lets through.
        limit: Most bytes it may become; no more than these are ever made.

    Raises:
        Refusal: 400 it is not compressed like that, 413 it becomes larger.
    """
    if encoding in IDENTITY:
        return body
    window = _WINDOWS[encoding]
    if encoding == "deflate" and not _has_zlib_header(body):
        # Some clients mean the bare stream by it.
        window = -window
    reader = zlib.decompressobj(window)
    try:
        content = reader.decompress(body, limit + 1)
    except zlib.error:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"the body is not {encoding}, as its Content-Encoding says") from None
    if len(content) > limit:
        raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {limit} bytes")
    if not reader.eof or reader.unused_data:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"the body is not {encoding} to its end")
    return content


def compress(content: bytes, accepted: str) -> tuple[bytes, dict[str, str]]:
    """An answer as the client takes it, and the headers that say so.

    Args:
        content: Of the answer.
        accepted: Value of `Accept-Encoding`.
    """
    encoding = _chosen(accepted) if accepted else None
    if encoding is None:
        return content, {}
    writer = zlib.compressobj(FAST, wbits=_WINDOWS[encoding])
    return writer.compress(content) + writer.flush(), {"content-encoding": encoding, "vary": "accept-encoding"}


def _has_zlib_header(body: bytes) -> bool:
    return len(body) > 1 and body[0] & 15 == zlib.DEFLATED and not int.from_bytes(body[:2]) % 31


def _chosen(accepted: str) -> str | None:
    offers = [offer.partition(";") for offer in accepted.lower().split(",")]
    taken = {name.strip() for name, _, weight in offers if not _ZERO.fullmatch(weight)}
    return next((name for name in _WINDOWS if name in taken), None)
