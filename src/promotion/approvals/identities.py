"""Which names are one person: those that sign with one key, by the list of signers and by what was signed."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self

from promotion.approvals.people import person
from promotion.errors import SignatureRefused, SigningFailed
from promotion.signing.signers import Signer, read_signers
from promotion.signing.sshsig import Signature

_PATTERNS = frozenset("*?!")


class Identities:
    """Joins names, as they are compared, and keys: the names of one key are one person."""

    def __init__(self, signers: Iterable[Signer] = ()) -> None:
        self._leaders: dict[str | bytes, str | bytes] = {}
        for signer in signers:
            for principal in signer.principals.split(","):
                # A pattern names nobody; who signs with its key is joined then.
                if _PATTERNS.isdisjoint(principal):
                    self._join(signer.key, person(principal))

    @classmethod
    def listed(cls, allowed_signers: Path) -> Self:
        """Read the list of signers; without one, only names tell people apart."""
        if not allowed_signers.exists():
            return cls()
        try:
            return cls(read_signers(allowed_signers)[0].values())
        except SigningFailed:
            return cls()

    def signed(self, name: str, signature: str | None) -> None:
        """Take note of who signed with which key; the caller has verified it."""
        if signature is not None:
            with suppress(SignatureRefused):
                self._join(Signature.parse(signature).key, person(name))

    def same(self, one: str, other: str) -> bool:
        """Whether two names are one person."""
        return self._leader(person(one)) == self._leader(person(other))

    def first(self, name: str, others: Iterable[str]) -> str | None:
        """The first of some names that is this person; None when none is."""
        return next((other for other in others if self.same(name, other)), None)

    def _join(self, one: str | bytes, other: str | bytes) -> None:
        self._leaders[self._leader(one)] = self._leader(other)

    def _leader(self, token: str | bytes) -> str | bytes:
        while token in self._leaders and self._leaders[token] != token:
            token = self._leaders[token]
        return token
