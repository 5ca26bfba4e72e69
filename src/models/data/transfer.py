"""Fetch one file over HTTP whole and verified, or leave what has its name untouched."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from promotion.data.files import whole_file
from promotion.errors import DataError

CHUNK = 16 * 1024
_HTML = re.compile(rb"\s*(<!doctype html|<html)", re.IGNORECASE)

DownloadProgress = Callable[[int, int | None], None]
"""Told the bytes received so far and the bytes expected, None where the server does not say."""


class SourceUnavailable(DataError):
    """The URL did not yield a whole file within the bounded attempts."""


class _WorthRetrying(SourceUnavailable):
    """The same request may succeed a moment later."""


@dataclass(frozen=True)
class DownloadPatience:
    """How long to wait for a server; all in seconds except `attempts`.

    Attributes:
        connect: Longest wait for a connection.
        read: Longest silence in the middle of an answer.
        attempts: Requests in all.
        first_pause: Pause before the second attempt; it doubles before each further one.
    """

    connect: float = 5
    read: float = 30
    attempts: int = 4
    first_pause: float = 0.5


STANDARD_PATIENCE = DownloadPatience()


def fetch(
    url: str,
    target: Path,
    sha256: str | None,
    *,
    progress: DownloadProgress | None = None,
    patience: DownloadPatience = STANDARD_PATIENCE,
) -> None:
    """Download `url` to `target`: all of it with the right digest, or not at all.

    Args:
        url: `http://` or `https://`.
        target: Final name; its folder is created.
        sha256: Digest the file must have; None accepts any.
        progress: Called while bytes arrive; each attempt begins at 0.
        patience: Time-outs and attempts.

    Raises:
        SourceUnavailable: No connection, an error answer, or transfers that kept breaking.
        DataError: The content has another digest, or it cannot be written here.
    """
    attempts = Retrying(
        retry=retry_if_exception_type(_WorthRetrying),
        stop=stop_after_attempt(patience.attempts),
        wait=wait_exponential(patience.first_pause),
        reraise=True,
    )
    try:
        attempts(_attempt, url, target, sha256, progress or (lambda _done, _total: None), patience)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{target}: cannot be written: {reason}; make room or give write permission") from error


def _attempt(
    url: str, target: Path, sha256: str | None, progress: DownloadProgress, patience: DownloadPatience
) -> None:
    received, beginning, done = hashlib.sha256(), b"", 0
    with (
        _plain_network_errors(url, patience),
        # What the server compresses has another length than it announces.
        requests.get(
            url, headers={"Accept-Encoding": "identity"}, stream=True, timeout=(patience.connect, patience.read)
        ) as answer,
    ):
        _refuse_errors(url, answer)
        length = answer.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target) as file:
            _check_room(target, total or 0)
            progress(0, total)
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                received.update(chunk)
                beginning, done = beginning or chunk, done + len(chunk)
                progress(done, total)
            if sha256 not in {None, received.hexdigest()}:
                html = _HTML.match(beginning)
                guess = "it looks like HTML: a login, error or proxy page instead of the data" if html else ""
                raise DataError(
                    f"{url}: the download has sha256 {received.hexdigest()}, expected {sha256}; "
                    f"{guess or 'these are other bytes'}; discarded, nothing replaced"
                )


def _refuse_errors(url: str, answer: requests.Response) -> None:
    status = f"{url}: answered {answer.status_code} {answer.reason}"
    if answer.status_code >= requests.codes.internal_server_error:
        raise _WorthRetrying(status)
    if answer.status_code != requests.codes.ok:
        raise SourceUnavailable(f"{status}; check data.url in the family's config")


def _check_room(target: Path, needed: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        raise DataError(f"{target}: needs {needed:,} bytes, {free:,} are free on that disk; make room")


@contextmanager
def _plain_network_errors(url: str, patience: DownloadPatience) -> Iterator[None]:
    try:
        yield
    except requests.ConnectTimeout as error:
        raise _WorthRetrying(f"{url}: no connection within {patience.connect:g} s") from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise _WorthRetrying(f"{url}: the transfer broke off") from error
    except (requests.ConnectionError, requests.Timeout) as error:
        raise _WorthRetrying(f"{url}: {_root_reason(error, patience)}") from error
    except requests.RequestException as error:
        raise SourceUnavailable(f"{url}: cannot be fetched: {error}") from error


def _root_reason(error: BaseException, patience: DownloadPatience) -> str:
    """The operating system's own words, from under the layers of `requests` and `urllib3`."""
    reason = "no connection"
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, TimeoutError) or "timed out" in str(inner):
            return f"no answer for {patience.read:g} s"
        if isinstance(inner, OSError) and inner.strerror:
            reason = inner.strerror
        inner = inner.__cause__ or inner.__context__
    return reason
