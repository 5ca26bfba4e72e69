"""Read the rules of a family as they are now: what decides in its file, and the files that decide beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from promotion.config.commit import file_state
from promotion.config.family import FamilyConfig
from promotion.data.files import file_sha256
from promotion.errors import DataError, SigningFailed
from promotion.journal.records import RuleSet
from promotion.rules.kinds import RuleKind, rule_kind
from promotion.signing.signers import fingerprint, read_signers, revoked_keys

DISTRIBUTION = "promotion-layer"
_SETS = frozenset({RuleKind.DEMANDS, RuleKind.ADMITS})
"""Lists whose order says nothing."""


@dataclass(frozen=True, slots=True)
class Rulebook:
    """Where rules are read.

    Args:
        home: Folder that a family's paths are relative to.
        signers: The allowed signers, whose keys count where approvals must be signed.
    """

    home: Path
    signers: Path

    def of(self, family: str, config: FamilyConfig | None) -> RuleSet:
        """What decides about a family's versions now; without a file nothing but the family's name.

        What cannot be read decides nothing by itself: the gate that needs it says so.
        """
        sections: dict[str, Any] = {"family": family}
        if config is not None:
            sections |= deciding_sections(config) | {"files": self._digests(config)}
            if config.approvals and config.approvals.signed:
                sections |= self._signers()
        file = config.file if config else None
        state = file_state(file or self.home / "config", config.sha256 if config and file else None)
        return RuleSet(family, sections, asdict(state), software_version())

    def _digests(self, config: FamilyConfig) -> dict[str, str | None]:
        """Of each file that decides; None for one that is not here."""
        return {name: _file_digest(self.home / name) for name in deciding_files(config, self.home)}

    def _signers(self) -> dict[str, list[str]]:
        try:
            listed, _ = read_signers(self.signers)
            revoked = revoked_keys(self.signers)
        except SigningFailed:
            return {}
        return {
            "signers": sorted({str(signer) for signer in listed.values()}),
            "revoked": sorted(map(fingerprint, revoked)),
        }


def deciding_sections(config: FamilyConfig) -> dict[str, Any]:
    """What of a family's file decides about moves, as plain data; whatever has its default is left out.

    So a key that a later version of this package adds makes no other rules of the same file.
    """
    stated = config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return {
        name: _deciding((name,), value) for name, value in stated.items() if rule_kind((name,)) is not RuleKind.SILENT
    }


def deciding_files(config: FamilyConfig, home: Path) -> list[str]:
    """The files that a gate reads beside the family's file, relative to the home folder."""
    found = [config.data.path] if config.has_contract else []
    found += [config.forecast.stores] if config.forecast else []
    found += [config.holdout.path] if config.stated_holdout and "://" not in config.holdout.path else []
    words = [word for gate in config.gates.custom for word in gate.command]
    return list(dict.fromkeys([*found, *(name for word in words for name in _files_named(word, home))]))


def _files_named(word: str, home: Path) -> list[str]:
    """What of a command is a file of the owner's: a script, a module that Python is told to run, what they read.

    A name with a suffix is a file, also one that is not there.
    """
    module = word.replace(".", "/")
    possible = [word, word.partition("=")[2], f"{module}.py", f"{module}/__main__.py"]
    there = [name for name in possible if name and _file_digest(home / name)]
    return there or ([word] if Path(word).suffix and "=" not in word else [])


@lru_cache(maxsize=1)
def software_version() -> str:
    """Version of this package; a checkout that nobody installed has none."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "not installed"


def _deciding(key: tuple[str, ...], value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            name: _deciding((*key, name), item)
            for name, item in value.items()
            if rule_kind((*key, name)) is not RuleKind.SILENT
        }
    return sorted(value, key=str) if isinstance(value, list) and rule_kind(key) in _SETS else value


def _file_digest(path: Path) -> str | None:
    try:
        found = path.stat()
        return _digest_of(path, found.st_mtime_ns, found.st_size, found.st_ino)
    except (OSError, DataError):
        return None


@lru_cache(maxsize=64)
def _digest_of(path: Path, _modified: int, _size: int, _inode: int) -> str:
    """One command asks several times for a file that may have gigabytes."""
    return file_sha256(path)
