"""Everything that can go wrong on purpose, each with the exit code a shell or Jenkins reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar


class PromotionError(Exception):
    """Base of all expected failures: the message is one line a tired person can act on.

    Args:
        message: What happened, where, what was expected, what to do.
        more: Further lines, where several things are wrong at once.
        details: What `--json` adds to the message, as plain data.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *more: str, **details: Any) -> None:
        super().__init__("\n".join((message, *more)))
        self.lines = (message, *more)
        self.details = details

    def respell(self, spell: Callable[[str], str]) -> None:
        """Say the same in other words, where whoever reads it calls something otherwise."""
        self.lines = tuple(map(spell, self.lines))
        self.args = ("\n".join(self.lines),)


class UsageError(PromotionError):
    """The caller named something that does not exist, or in the wrong form."""

    exit_code = 2


class ConfigError(UsageError):
    """A family's YAML file is missing, malformed, or has an unknown key."""


class UnknownFamily(UsageError):
    """No `config/<family>.yaml` of that name, and no registered model either."""


class UnknownModel(UsageError):
    """The registry has no registered model of that name."""


class UnknownVersion(UsageError):
    """The registered model has no such version."""


class DataError(PromotionError):
    """Data is missing, unreadable, or breaks the family's data contract."""


class ArtifactRefused(PromotionError):
    """A model artifact is incomplete, holds a pickle or a type we do not trust, or is of a kind we do not load."""


class ArtifactTampered(ArtifactRefused):
    """A model artifact's files were changed, added or removed since they were signed."""


class SigningFailed(PromotionError):
    """A key or a list of trusted keys is missing or cannot be used; nothing was signed or checked."""


class SignatureRefused(PromotionError):
    """A signature is malformed, forged, expired, meant for something else, or from a key that is not trusted."""


class RegistryError(PromotionError):
    """MLflow refused or failed; never to be read as "there is no Production"."""


class RegistryUnreachable(RegistryError):
    """No answer from the tracking server within the bounded retries."""


class RegistryUnauthorised(RegistryError):
    """The tracking server answered 401: credentials are missing or wrong."""


class RegistryForbidden(RegistryError):
    """The tracking server answered 403: the user is known but may not do this."""


class RegistryBroken(RegistryError):
    """The tracking server or store failed inside (5xx, or an exception such as RepresenterError)."""


class NotOffered(RegistryBroken):
    """The server has no such endpoint: it is older than whoever asks, or something else than MLflow answers."""


class RegistryReadOnly(RegistryBroken):
    """The store can be read and not written: a file, a disk or a database account that is read-only."""


class ArtifactMissing(RegistryError):
    """A version's files are not where the registry says they are, or there are none."""


class ArtifactUnsafe(RegistryError):
    """A version's folder holds something that cannot be digested safely: a symbolic link, a device, an odd name."""


class JournalError(PromotionError):
    """The journal's database cannot be opened, read or written."""


class JournalLocked(JournalError):
    """Another process held the journal, or the family's lock, for longer than we wait."""


class ClockSkewed(JournalError):
    """This machine's clock and the database's, which decides, are too far apart."""


class ChannelFailed(PromotionError):
    """A channel that alerts go to is not set, not reachable, or does not take our message."""


class GateRefused(PromotionError):
    """At least one gate failed; nothing moved."""

    exit_code = 3


class ProductionOccupied(GateRefused):
    """Another version is in Production, and whoever asked does not want it archived."""


class Quarantined(GateRefused):
    """A version was moved outside the rules of a family that asks for approvals, or Production was emptied by hand."""


class RecordsAltered(GateRefused):
    """A row that decides says something else than the events of the chain: somebody wrote SQL."""


class ProductionMoved(PromotionError):
    """Production changed between the check and the commit; nothing moved."""

    exit_code = 4


class NothingToDo(PromotionError):
    """There is no candidate, it is already in place, or it is not better than the champion."""

    exit_code = 5


class ProjectionIncomplete(PromotionError):
    """The journal holds the promotion; MLflow does not show all of it yet."""

    exit_code = 6
