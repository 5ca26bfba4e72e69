"""Bring a family's file into `data/`: verified from its URL, with or without a network, or written by its generator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.data.sources import describe_invention, make_missing
from models.data.transfer import STANDARD_PATIENCE, DownloadPatience, DownloadProgress, SourceUnavailable, fetch
from promotion.config.family import FamilyConfig
from promotion.data.files import file_sha256
from promotion.errors import DataError

Origin = Literal["cached", "fetched", "kept", "generated"]


@dataclass(frozen=True)
class Provided:
    """A file that is in place.

    Attributes:
        path: The file.
        sha256: Digest of its bytes.
        verified: Whether the config names that digest; False when it names none.
        origin: `cached`: it was there and nothing was asked. `fetched`: it came from the URL just now.
            `kept`: the URL did not yield it, so the verified file that was there stays. `generated`: it was written
            just now by the generator the config names.
        reason: For `kept`, why the URL did not yield it; for `fetched`, what was wrong with the file it replaced; and
            what the rows are wherever a generator invented them.
    """

    path: Path
    sha256: str
    verified: bool
    origin: Origin
    reason: str | None = None


def provide(
    config: FamilyConfig,
    home: Path,
    *,
    force: bool = False,
    offline: bool = False,
    progress: DownloadProgress | None = None,
    patience: DownloadPatience = STANDARD_PATIENCE,
) -> Provided:
    """Make sure the family's file is in place and has the configured digest.

    Args:
        config: The family; `data.path` is relative to `home`.
        home: The project's home folder.
        force: Fetch even when the verified file is there; a file that has no URL is never replaced.
        offline: Contact nobody.
        progress: Called while bytes arrive.
        patience: Time-outs and attempts.

    Raises:
        DataError: There is no verified file, or what the URL yielded has another digest; what was there is kept.
    """
    target = home / config.data.path
    present_as: Origin = "cached" if make_missing(config, home) is None else "generated"
    present = file_sha256(target) if target.exists() else None
    expected = config.data.sha256
    usable = present is not None and expected in {None, present}
    if usable and (offline or not force or config.data.url is None):
        note = describe_invention(config, str(present)) or None
        return Provided(target, str(present), expected is not None, present_as, note)
    state = f"its sha256 is {present}, expected {expected}" if present else "it is missing"
    if config.data.url is None:
        raise DataError(
            f"{target}: {state}, and config/{config.family}.yaml has no data.url: put the file there yourself"
        )
    if offline:
        raise DataError(f"{target}: {state}; run without --offline to fetch it from {config.data.url}")
    try:
        fetch(config.data.url, target, expected, progress=progress, patience=patience)
    except SourceUnavailable as error:
        if usable:
            return Provided(target, str(present), expected is not None, "kept", str(error))
        raise SourceUnavailable(f"{error}; {target}: {state}, so there is no verified file: try again later") from error
    replaced = f"{target}: {state}; replaced by the download" if present and not usable else None
    return Provided(target, file_sha256(target), expected is not None, "fetched", replaced)
