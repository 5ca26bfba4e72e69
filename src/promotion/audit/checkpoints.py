"""Signed checkpoints: what the journal's hash chain ended with, kept where a database writer cannot reach.

A bare chain can be rewritten whole; a checkpoint that somebody else holds cannot. Each is a JSON file

    {"signature": "-----BEGIN SSH SIGNATURE-----…", "statement": {"at": …, "hash": …, "journal": …, "sequence": …}}

whose signature is over the statement as `promotion.journal.chain.canonical` spells it, so that `ssh-keygen -Y verify`
alone can check it.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from promotion.config.settings import Settings
from promotion.data.files import write_whole
from promotion.errors import DataError, JournalLocked, PromotionError, SignatureRefused, SigningFailed
from promotion.journal.chain import canonical, moment
from promotion.journal.journal import Journal
from promotion.signing.keys import Keys
from promotion.signing.ssh import find_principals, sign, signers_file, verify
from promotion.signing.sshsig import CHECKPOINT

IDENTITY = "promotion-layer"
"""The name checkpoints are signed under."""

VALID = "signed"
UNSIGNED = "unsigned"
UNKNOWN = "signed with a key that is not trusted"
FORGED = "not what was signed"

_HASH_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The end of the chain at one moment.

    Attributes:
        journal: URL of the database, without its password.
        sequence: Of the last event; as sequences have no gaps, also how many events there were.
        hash: Of the last event.
        at: When it was taken, as `promotion.journal.chain.moment` spells it.
        signature: Armoured SSH signature over `statement`; None when signing was impossible.
    """

    journal: str
    sequence: int
    hash: str
    at: str
    signature: str | None = None

    @property
    def statement(self) -> str:
        """The text that is signed."""
        return canonical(self._content())

    @property
    def name(self) -> str:
        """Its file's name."""
        return f"{self.sequence}-{self.hash[:_HASH_DIGITS]}.json"

    def document(self) -> dict[str, Any]:
        """What its file holds."""
        return {"signature": self.signature, "statement": self._content()}

    @classmethod
    def parse(cls, document: Any, where: str) -> Self:
        """Read what `document` returned.

        Raises:
            DataError: It is no checkpoint.
        """
        try:
            found = cls(**document["statement"], signature=document["signature"])
        except (LookupError, TypeError) as error:
            raise DataError(f"{where}: not a checkpoint ({error}): expected a signature and a statement") from error
        texts = (found.journal, found.hash, found.at, found.signature or "")
        if type(found.sequence) is not int or not all(isinstance(text, str) for text in texts):
            raise DataError(f"{where}: not a checkpoint: expected a number as its sequence and text everywhere else")
        return found

    def _content(self) -> dict[str, Any]:
        return {"journal": self.journal, "sequence": self.sequence, "hash": self.hash, "at": self.at}


def checkpoint_folder(settings: Settings) -> Path:
    """`PROMOTION_CHECKPOINTS` if set, else `checkpoints/` in the home folder; one folder serves one journal."""
    return Path(os.environ.get("PROMOTION_CHECKPOINTS") or settings.home / "checkpoints")


def leave_checkpoint(journal: Journal, folder: Path, keys: Callable[[], Keys], report: Callable[[str], None]) -> bool:
    """Write a checkpoint of the chain as it ends now; never fails, because the move it follows is recorded already.

    Returns:
        False when another process keeps the journal, so that whatever comes next would wait for it once more.
    """
    try:
        (last,) = journal.history(limit=1)
        checkpoint = Checkpoint(journal.name, last.sequence, last.hash, moment(journal.now()))
        signature = _signed(checkpoint, keys, report)
        document = checkpoint.document() | {"signature": signature}
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / checkpoint.name, json.dumps(document, indent=2, sort_keys=True) + "\n")
        if signature:
            journal.note_checkpoint(last.sequence, last.hash)
    except (PromotionError, OSError) as error:
        # A locked journal says of itself that nothing moved, which is not so here.
        why = "another process keeps the journal" if isinstance(error, JournalLocked) else error
        report(f"⚠️ NO CHECKPOINT of the journal in {folder}: {why}; what was recorded stays recorded")
        return not isinstance(error, JournalLocked)
    return True


def read_checkpoints(folder: Path) -> tuple[list[Checkpoint], list[str]]:
    """Every checkpoint in a folder, by sequence, and why any file could not be read as one; nothing without a folder.

    Raises:
        DataError: The folder cannot be listed.
    """
    found, problems = [], []
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".json") if folder.exists() else []
    except OSError as error:
        raise DataError(f"{folder}: the checkpoints cannot be listed: {error.strerror}") from error
    for path in paths:
        try:
            found.append(Checkpoint.parse(json.loads(path.read_bytes()), path.name))
        except DataError as error:
            problems.append(str(error))
        except (OSError, ValueError, RecursionError) as error:
            problems.append(f"{path.name}: cannot be read as a checkpoint: {error}")
    return sorted(found, key=lambda checkpoint: (checkpoint.sequence, checkpoint.hash)), problems


def judge_checkpoints(checkpoints: Iterable[Checkpoint], trusted: Mapping[str, bytes]) -> list[tuple[Checkpoint, str]]:
    """Say of each checkpoint whether its signature, by a key of `Keys.trusted`, vouches for it."""
    with signers_file(trusted, IDENTITY, CHECKPOINT) as signers:
        return [(checkpoint, _judged(checkpoint, signers)) for checkpoint in checkpoints]


def counted(judged: Iterable[tuple[Checkpoint, str]]) -> dict[str, int]:
    """How many checkpoints there are of each kind."""
    return dict(Counter(standing for _, standing in judged))


def _signed(checkpoint: Checkpoint, keys: Callable[[], Keys], report: Callable[[str], None]) -> str | None:
    try:
        return sign(checkpoint.statement.encode(), keys().signing_key(), CHECKPOINT)
    except (SigningFailed, OSError) as error:
        report(f"⚠️ UNSIGNED checkpoint {checkpoint.name}: {error}")
        return None


def _judged(checkpoint: Checkpoint, signers: Path) -> str:
    if not checkpoint.signature:
        return UNSIGNED
    try:
        verify(checkpoint.statement.encode(), checkpoint.signature, IDENTITY, signers, CHECKPOINT)
    except SignatureRefused:
        return FORGED if find_principals(checkpoint.signature, signers) else UNKNOWN
    return VALID
