"""The drawing in docs/ARCHITECTURE.md is the code's: every room is drawn, and every import follows the arrows down."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cache
from itertools import pairwise
from pathlib import Path

import grimp
import pytest

from promotion.config.settings import REPOSITORY

PAGE = (REPOSITORY / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
GLOSSARY = (REPOSITORY / "docs" / "GLOSSARY.md").read_text(encoding="utf-8")
ITSELF = "promotion"
DRAWING = re.search(r"```mermaid\n(.*?)```", PAGE, flags=re.DOTALL)
EVERYWHERE = {"errors"}
"""Drawn nowhere, because all rooms import it."""


@cache
def imports() -> dict[str, set[str]]:
    """Which room imports which."""
    graph = grimp.build_graph("promotion", exclude_type_checking_imports=True)
    found: dict[str, set[str]] = defaultdict(set)
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            found[_room(module)].add(_room(imported))
    return found


def _room(module: str) -> str:
    """A folder, `api` or `bootstrap`; other files at the top are the promotion itself."""
    name = module.split(".")[1] if "." in module else ITSELF
    package = REPOSITORY / "src" / "promotion" / name
    return name if package.is_dir() or name in {"api", "bootstrap", *EVERYWHERE} else ITSELF


def _drawn() -> tuple[set[str], dict[str, set[str]]]:
    """The nodes of the drawing, and what each reaches along its arrows."""
    assert DRAWING
    nodes = set(re.findall(r'^  (\w+)\["', DRAWING[1], flags=re.MULTILINE))
    below: dict[str, set[str]] = defaultdict(set)
    for line in re.findall(r"^  (\w+(?: & \w+)* -->.*)$", DRAWING[1], flags=re.MULTILINE):
        steps = [set(step.split(" & ")) for step in line.split(" --> ")]
        for upper, lower in pairwise(steps):
            for name in upper:
                below[name] |= lower
    reached = {name: _reach(name, below) for name in nodes}
    return nodes, reached


def _reach(name: str, below: dict[str, set[str]]) -> set[str]:
    found = set(below[name])
    for each in below[name]:
        found |= _reach(each, below)
    return found


def test_every_room_is_drawn() -> None:
    """No room without a box, no box without a room."""
    assert set(imports()) - EVERYWHERE == _drawn()[0]


@pytest.mark.parametrize("room", sorted(set(imports()) - EVERYWHERE))
def test_imports_follow_the_arrows(room: str) -> None:
    """What a room imports is drawn below it."""
    reached = _drawn()[1]

    assert set() == imports()[room] - EVERYWHERE - {room} - reached[room]


def test_files_named_in_the_pages_exist() -> None:
    """`gates/report.py` and the like, from src/promotion, src or the repository."""
    named = set(re.findall(r"`((?:[\w.-]+/)*[\w-]+(?:\.py|/))`", PAGE + GLOSSARY))
    places = (REPOSITORY, REPOSITORY / "src", REPOSITORY / "src" / "promotion", REPOSITORY / "src" / "models")

    assert len(named) > 40
    assert [] == sorted(name for name in named if not any((place / name).exists() for place in places))


def test_folders_are_no_bigger_than_a_reader_takes_in() -> None:
    """At most fifteen files a folder; migrations only grow."""
    folders: dict[Path, int] = defaultdict(int)
    for path in (REPOSITORY / "src").rglob("*.py"):
        folders[path.parent] += "migrations" not in path.parts

    assert {} == {str(folder): files for folder, files in folders.items() if files > 15}
