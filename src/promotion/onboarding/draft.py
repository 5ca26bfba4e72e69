"""A first file for a family: what is known of it as YAML with comments, and what only its owner can decide, marked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from promotion.config.events import GENERAL, SUFFIXES
from promotion.config.family import FamilyConfig, load_config
from promotion.errors import ConfigError, PromotionError, UsageError

DECIDE = "decide:"
"""How a comment begins that says what could not be known."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SCHEMA = "family.schema.json"


@dataclass(frozen=True, slots=True)
class FamilyDraft:
    """A file that is not written yet.

    Attributes:
        family: Its name.
        level: How much it says: 1 rules, 2 evidence, 3 training.
        lines: Its text.
        following: The command that comes next.
    """

    family: str
    level: int
    lines: tuple[str, ...]
    following: str

    @property
    def undecided(self) -> list[str]:
        """What is left to decide, in the file's order."""
        marked = (line.partition(f"# {DECIDE}") for line in self.lines)
        found = ((before.partition(":")[0].strip(" #"), point.strip()) for before, _, point in marked if point)
        return [f"{key}: {point}" if key else point for key, point in found]


def require_new_family(folder: Path, family: str) -> None:
    """Refuse a name that no file can have, or has already.

    Raises:
        UsageError: It is no file's name, or the file is there.
    """
    if not _NAME.fullmatch(family) or family.endswith(SUFFIXES) or family == GENERAL:
        raise UsageError(
            f"{family!r} cannot be the name of a family's file (letters, digits, dots, - and _, and not {GENERAL}): "
            "say --family NAME"
        )
    for suffix in SUFFIXES:
        if (path := folder / f"{family}{suffix}").exists():
            raise UsageError(f"{path} is there already and is not overwritten: edit it, or say --family NAME")


def write_draft(folder: Path, draft: FamilyDraft) -> Path:
    """Write the file, whole and only if it can be used as it is.

    Raises:
        UsageError: The file is there already.
        PromotionError: It cannot be written.
    """
    text = "\n".join((*draft.lines, ""))
    _require_usable(draft.family, text)
    path = folder / f"{draft.family}.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(f"{path} is there already and is not overwritten: edit it") from error
    except OSError as error:
        raise PromotionError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def scalar(value: Any) -> str:
    """A value as YAML writes it in one line, in quotes where it would be read as something else."""
    if isinstance(value, list):
        return f"[{', '.join(map(scalar, value))}]"
    if isinstance(value, str) and not value.isprintable():
        return json.dumps(value)
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**9, allow_unicode=True)
    return text.removesuffix("...\n").strip()


def heading(family: str, what: str, folder: Path) -> Iterator[str]:
    """The file's first lines; an editor is pointed at the schema where one lies beside the file."""
    if (folder / _SCHEMA).is_file():
        yield f"# yaml-language-server: $schema={_SCHEMA}"
    yield f"# {what}"
    yield f"# What could not be known is marked with `{DECIDE}`; docs/FAMILY-FILE.md has every key."
    yield f"family: {scalar(family)}"


def governance() -> Iterator[str]:
    """Sections that every family may have, none of which can be known: commented out."""
    yield ""
    yield f"# {DECIDE} who has to agree before a version enters Production, each role another person"
    yield "# approvals:"
    yield "#   roles: [data-science, business]"
    yield "#   approvers: {data-science: [anna@example.com], business: [ben@example.com]}"
    yield f"# {DECIDE} who may let a version serve"
    yield "# access: {production: [anna@example.com]}"
    yield "# retention: {days: 365}   # how long a version that has served is kept"


def relative_to_home(path: Path, home: Path) -> str:
    """A path as a family's file says it."""
    whole = path.resolve()
    return whole.relative_to(home).as_posix() if whole.is_relative_to(home) else str(whole)


def _require_usable(family: str, text: str) -> FamilyConfig:
    """What is written must be a family: whatever stood in names and cells, no key of the file may come of it."""
    with TemporaryDirectory(prefix="draft-") as folder:
        (Path(folder) / f"{family}.yaml").write_text(text, encoding="utf-8")
        try:
            return load_config(Path(folder), family)
        except ConfigError as error:
            raise PromotionError(f"no file was written: it could not be used: {error.lines[0]}") from error
