"""Approvers' keys: make one and list it, so that a signature says whose word an approval is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promotion.approvals.people import person, persons, readable_person
from promotion.config.family import FamilyConfig
from promotion.data.files import write_whole
from promotion.errors import SigningFailed, UsageError
from promotion.signing.keys import key_folder, private_draft
from promotion.signing.signers import Signer, fingerprint, matches, public_key, read_signers
from promotion.signing.sshsig import APPROVAL

_PLAIN = re.compile(r"[A-Za-z0-9_%+=][A-Za-z0-9._%+=@-]*")
"""Names that are neither a pattern of the list nor a path."""


@dataclass(frozen=True, slots=True)
class ApproverKey:
    """A person's key, listed just now.

    Attributes:
        principal: The name it is listed under.
        fingerprint: As `ssh-keygen -l` shows it.
        private_key: File of the private half; None where the person brought the public one.
    """

    principal: str
    fingerprint: str
    private_key: Path | None


@dataclass(frozen=True, slots=True)
class SignerList:
    """The list of people's keys, and what may be added to it.

    Attributes:
        path: The file, in OpenSSH's format; need not be there yet.
    """

    path: Path

    def lines(self) -> tuple[dict[int, Signer], dict[int, str]]:
        """The lines that count, and why others do not, by line number; nothing where there is no list yet.

        Raises:
            SigningFailed: It cannot be read.
        """
        return read_signers(self.path) if self.path.exists() else ({}, {})

    def make_key(self, name: str, file: Path | None = None, *, replace: bool = False) -> ApproverKey:
        """Make an Ed25519 key for a person and list it.

        Args:
            name: The person's account or address, as `--approver` will name it.
            file: Where the private half goes, the public one beside it as `.pub`; None for this account's own folder
                of keys.
            replace: Whether the person's older lines and file make room.

        Raises:
            UsageError: The person is listed or the file is there already, or the file would lie in a repository.
            SigningFailed: File or list cannot be written; the list is as it was.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

        principal = _principal(name)
        file = (file or key_folder() / "approvers" / principal).expanduser().absolute()
        _require_outside_repositories(file)
        if file.exists() and not replace:
            raise UsageError(f"{file}: a key is there already: --replace overwrites it, --key names another file")
        key = Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")
        try:
            private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
            # What cannot be listed leaves no key behind.
            with private_draft(file, private) as draft:
                listed = self._add(principal, public, replace=replace)
                file.unlink(missing_ok=True)
                os.link(draft, file)
            write_whole(file.with_name(f"{file.name}.pub"), f"{public} {principal}\n")
        except OSError as error:
            raise SigningFailed(f"{file}: the key cannot be written: {error.strerror}") from error
        return ApproverKey(principal, listed, file)

    def add_key(self, name: str, public: Path, *, replace: bool = False) -> ApproverKey:
        """List a key that a person has already, by the file of its public half: in an agent, on a security key.

        Raises:
            UsageError: The person is listed already, or the file holds no public key, or another person's.
            SigningFailed: The list cannot be written.
        """
        principal = _principal(name)
        try:
            text = public.read_text(encoding="ascii").strip()
            public_key(text)
        except (OSError, ValueError) as error:
            raise UsageError(f"{public}: not a public key: expected one line such as 'ssh-ed25519 AAAA…'") from error
        return ApproverKey(principal, self._add(principal, " ".join(text.split()[:2]), replace=replace), None)

    def _add(self, principal: str, public: str, *, replace: bool) -> str:
        """Write the line; returns the key's fingerprint."""
        key = public_key(public)
        signers, _ = self.lines()
        theirs = {number for number, signer in signers.items() if _is_of(signer, principal)}
        if theirs and not replace:
            raise UsageError(
                f"{self.path}: {principal} is listed already, in line {', '.join(map(str, sorted(theirs)))}: "
                "--replace puts the new key in its place; approvals the old one signed count no more"
            )
        for number, signer in signers.items():
            if number in theirs and signer.principals.casefold() != principal:
                raise UsageError(f"{self.path}:{number} stands for {signer.principals}: edit that line by hand")
            if number not in theirs and signer.key == key:
                raise UsageError(
                    f"{self.path}:{number}: this key is that of {signer.principals}: one key is one person"
                )
        try:
            text = self.path.read_text(encoding="utf-8", errors="surrogateescape") if self.path.exists() else ""
            kept = [line for number, line in enumerate(text.splitlines(), start=1) if number not in theirs]
            lines = [*kept, f'{principal} namespaces="{APPROVAL}" {public}']
            write_whole(self.path.resolve(), "\n".join(lines) + "\n")
        except (OSError, UnicodeError) as error:
            raise SigningFailed(
                f"{self.path}: the list of signers cannot be written: {error}; whoever keeps it can add this line: "
                f'{principal} namespaces="{APPROVAL}" {public}'
            ) from error
        return fingerprint(key)


def roles_of(principals: str, configs: Iterable[FamilyConfig]) -> dict[str, list[str]]:
    """What a line's people may approve: roles by family; a role without a list is open to anybody."""
    names = persons(principals.split(","))
    found = {}
    for config in configs:
        policy = config.approvals
        roles = [
            role
            for role in (policy.roles if policy else ())
            if policy and ((named := policy.approvers.get(role)) is None or names & persons(named))
        ]
        if roles:
            found[config.family] = roles
    return found


def without_key(signers: Mapping[int, Signer], configs: Iterable[FamilyConfig]) -> list[dict[str, Any]]:
    """Approvers that a family with signed approvals names and the list does not know: family, role, approver."""
    return [
        {"family": config.family, "role": role, "approver": name}
        for config in configs
        if config.approvals and config.approvals.signed
        for role, names in config.approvals.approvers.items()
        for name in names
        if not any(_is_of(signer, name) for signer in signers.values())
    ]


def _is_of(signer: Signer, name: str) -> bool:
    return matches(name, signer.principals) or person(name) in persons(signer.principals.split(","))


def _principal(name: str) -> str:
    """The form a person is listed under: the bare address in small letters."""
    readable_person(name)
    address = name.strip().rpartition("<")[2].removesuffix(">").casefold()
    if not _PLAIN.fullmatch(address):
        raise UsageError(f"{name!a}: no plain name: expected letters, digits and any of . _ % + = - @")
    return address


def _require_outside_repositories(file: Path) -> None:
    """A private key that lies in a repository is committed sooner or later."""
    if found := next((folder for folder in file.resolve().parents if (folder / ".git").exists()), None):
        raise UsageError(f"{file} is inside the repository {found}: a private key must not be: name a file outside it")
