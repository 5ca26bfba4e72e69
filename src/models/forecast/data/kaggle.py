"""Fetch a Kaggle competition's files with the user's own account: they may not be handed on by anybody else."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import requests

from promotion.errors import DataError

SERVER = "https://www.kaggle.com"
_TIMEOUT_SECONDS = (10, 60)
_CHUNK_BYTES = 1024**2
_REFUSED = (401, 403)


def credentials() -> tuple[str, str] | None:
    """User name and key from `KAGGLE_USERNAME` and `KAGGLE_KEY`, or from `~/.kaggle/kaggle.json`; None without any."""
    found = os.environ.get("KAGGLE_USERNAME"), os.environ.get("KAGGLE_KEY")
    if found[0] and found[1]:
        return found[0], found[1]
    try:
        document = json.loads((Path.home() / ".kaggle" / "kaggle.json").read_text(encoding="utf-8"))
        return str(document["username"]), str(document["key"])
    except (OSError, ValueError, LookupError, TypeError, RuntimeError):
        return None


def fetch_competition(
    competition: str, names: Sequence[str], folder: Path, account: tuple[str, str], *, server: str = SERVER
) -> None:
    """Download a competition's archive and put some of its files into a folder, all of them or none.

    Args:
        competition: As in its address.
        names: Files of the archive.
        folder: Where they go; existing files of the same names are replaced.
        account: User name and key.
        server: Kaggle's address.

    Raises:
        DataError: Kaggle does not answer, refuses the account, or the archive lacks a file.
    """
    url = f"{server}/api/v1/competitions/data/download-all/{competition}"
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".kaggle-") as scratch:
        archive = Path(scratch) / "archive.zip"
        try:
            with requests.get(url, auth=account, stream=True, timeout=_TIMEOUT_SECONDS) as answer:
                if answer.status_code in _REFUSED:
                    raise DataError(
                        f"{url}: {answer.status_code}: Kaggle refuses this account: check the key, and accept the "
                        f"rules at {server}/c/{competition}/rules"
                    )
                answer.raise_for_status()
                with archive.open("wb") as file:
                    for chunk in answer.iter_content(_CHUNK_BYTES):
                        file.write(chunk)
            with zipfile.ZipFile(archive) as packed:
                unpacked = [Path(packed.extract(name, scratch)) for name in names]
        except requests.RequestException as error:
            raise DataError(f"{url}: no archive: {error}: try again later, or bring the files yourself") from error
        except (zipfile.BadZipFile, KeyError) as error:
            wanted = ", ".join(names)
            raise DataError(
                f"{url}: the answer is no archive with {wanted}: {error}: bring the files yourself"
            ) from error
        for path in unpacked:
            path.replace(folder / path.name)
