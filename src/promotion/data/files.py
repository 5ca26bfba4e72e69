"""A file that appears whole or not at all, and the digest of one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from promotion.errors import DataError

_SHOWN = 50  # letters of a name: with four bytes each, the hidden one stays within 255


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes its name, durably and in one step, when the block ends well.

    Whoever reads meanwhile, whatever fails and whenever the power goes: what had the name is there until all of the
    new content is.

    Args:
        path: Final name.

    Yields:
        The file to write to, which lies beside it under a hidden name.

    Raises:
        OSError: It cannot be written; nothing was left behind.
    """
    # Whoever finds one, after a power cut, sees what it was to become.
    draft = path.with_name(f".{path.name[:_SHOWN]}.{uuid4().hex}.part")
    try:
        with draft.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text as UTF-8, whole or not at all; line ends stay as they are, the folder is made.

    Raises:
        OSError: It cannot be written; nothing was left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(text.encode())


def file_sha256(path: Path) -> str:
    """Digest a file's bytes without holding them in memory.

    Returns:
        SHA-256, 64 hexadecimal digits.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
