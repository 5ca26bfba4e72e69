"""Fetch one file over HTTP whole and verified, or leave what has its name untouched."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from filelock import FileLock, Timeout
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from promotion.data.datasets import file_sha256
from promotion.errors import DataError

CHUNK = 16 * 1024
LOCK_SECONDS = 60
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

    Bytes gather in `<name>.part` beside the target. A transfer that broke, in this call or an earlier one, goes on
    where it stopped when the server says the content is still the same (`If-Range`, RFC 9110 section 13.1.5).

    Args:
        url: `http://` or `https://`.
        target: Final name; its folder is created.
        sha256: Digest the file must have; None accepts any.
        progress: Called while bytes arrive.
        patience: Time-outs and attempts.

    Raises:
        SourceUnavailable: No connection, an error answer, or transfers that kept breaking.
        DataError: The content has another digest, or it cannot be written here.
    """
    partial = _Partial(target)
    retrying = Retrying(
        retry=retry_if_exception_type(_WorthRetrying),
        stop=stop_after_attempt(patience.attempts),
        wait=wait_exponential(patience.first_pause),
        reraise=True,
    )
    with _writing(partial):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(partial.lock, timeout=LOCK_SECONDS):
            try:
                retrying(_attempt, url, partial, sha256, progress or (lambda _done, _total: None), patience)
                partial.finish()
            finally:
                partial.lock.unlink(missing_ok=True)


class _Partial:
    """What has arrived of a file so far, and the server's name (`ETag` or date) for the content it belongs to."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f"{target.name}.part")
        self.lock = target.with_name(f"{target.name}.part.lock")
        self._origin = target.with_name(f"{target.name}.part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def validator(self, url: str) -> str | None:
        """The name of the content of `url` that the bytes belong to; None when that is unknown."""
        try:
            origin = json.loads(self._origin.read_text(encoding="utf-8"))
            return str(origin["validator"]) if origin["url"] == url and self.size else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def begin(self, url: str, validator: str | None) -> None:
        self.discard()
        self.path.touch()
        if validator:
            self._origin.write_text(json.dumps({"url": url, "validator": validator}), encoding="utf-8")

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._origin.unlink(missing_ok=True)

    def finish(self) -> None:
        """Give the bytes their final name, durably, in one step."""
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())
        self.path.replace(self.target)
        self._origin.unlink(missing_ok=True)


@contextmanager
def _writing(partial: _Partial) -> Iterator[None]:
    """Say in one line why the file cannot be written here."""
    try:
        yield
    except Timeout as error:
        raise DataError(f"{partial.target}: another process is downloading it; try again when it is done") from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            partial.discard()
        reason = error.strerror or str(error)
        raise DataError(f"{partial.target}: cannot be written: {reason}; make room or give write permission") from error


def _attempt(
    url: str, partial: _Partial, sha256: str | None, progress: DownloadProgress, patience: DownloadPatience
) -> None:
    resumed = _transfer(url, partial, progress, patience)
    found = file_sha256(partial.path)
    if sha256 in {None, found}:
        return
    with partial.path.open("rb") as file:
        html = _HTML.match(file.read(512))
    partial.discard()
    guess = "it looks like HTML: a login, error or proxy page instead of the data" if html else "these are other bytes"
    message = f"{url}: the download has sha256 {found}, expected {sha256}; {guess}; discarded, nothing replaced"
    # The old beginning may be to blame: only bytes from one answer speak for the server.
    raise _WorthRetrying(message) if resumed else DataError(message)


def _transfer(url: str, partial: _Partial, progress: DownloadProgress, patience: DownloadPatience) -> bool:
    """Ask once, for the rest if a beginning is there, and append what comes; tell whether a beginning was used."""
    headers = {"Accept-Encoding": "identity"}
    validator = partial.validator(url)
    if validator:
        headers |= {"Range": f"bytes={partial.size}-", "If-Range": validator}
    with (
        _plain_network_errors(url, patience),
        requests.get(url, headers=headers, stream=True, timeout=(patience.connect, patience.read)) as answer,
    ):
        _refuse_errors(url, answer, partial)
        resumed = _continues(answer, partial, validator)
        if not resumed:
            partial.begin(url, _content_name(answer))
        done = partial.size
        length = answer.headers.get("Content-Length", "")
        total = done + int(length) if length.isdigit() else None
        _check_room(partial, (total or done) - done)
        progress(done, total)
        with partial.path.open("ab") as file:
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                done += len(chunk)
                progress(done, total)
    return resumed


def _refuse_errors(url: str, answer: requests.Response, partial: _Partial) -> None:
    status = f"{url}: answered {answer.status_code} {answer.reason}"
    if answer.status_code == requests.codes.requested_range_not_satisfiable:
        partial.discard()
        raise _WorthRetrying(status)
    if answer.status_code >= requests.codes.internal_server_error:
        raise _WorthRetrying(status)
    if answer.status_code not in {requests.codes.ok, requests.codes.partial_content}:
        raise SourceUnavailable(f"{status}; check data.url in the family's config")


def _continues(answer: requests.Response, partial: _Partial, validator: str | None) -> bool:
    """Whether the answer goes on where the partial file ends; some servers send a range of changed content."""
    if answer.status_code != requests.codes.partial_content:
        return False
    starts_here = answer.headers.get("Content-Range", "").startswith(f"bytes {partial.size}-")
    names = {answer.headers[name] for name in ("ETag", "Last-Modified") if name in answer.headers}
    if starts_here and (validator in names or not names):
        return True
    partial.discard()
    raise _WorthRetrying(f"{answer.url}: answered with a part of other content than was asked for")


def _content_name(answer: requests.Response) -> str | None:
    """What `If-Range` may carry: a strong ETag, else the date; nothing for an encoded or rangeless answer."""
    if "Content-Encoding" in answer.headers or answer.headers.get("Accept-Ranges", "").lower() == "none":
        return None
    etag = answer.headers.get("ETag", "")
    return etag if etag.startswith('"') else answer.headers.get("Last-Modified")


def _check_room(partial: _Partial, needed: int) -> None:
    free = shutil.disk_usage(partial.target.parent).free
    if needed > free:
        partial.discard()
        raise DataError(f"{partial.target}: needs {needed:,} bytes, {free:,} are free on that disk; make room")


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
