"""docs/SECURITY-MODEL.md: what it says is stopped is stopped by a test that exists."""

from __future__ import annotations

import ast
import re

from promotion.config.settings import REPOSITORY

TEXT = (REPOSITORY / "docs" / "SECURITY-MODEL.md").read_text(encoding="utf-8")


def named() -> list[tuple[str, str]]:
    """Each named test with its file; `::test_x` alone is of the file named before it."""
    found, file = [], ""
    for path, test in re.findall(r"`((?:tests/[\w/]+\.py)?)::(test_\w+)`", TEXT):
        file = path or file
        found.append((file, test))
    return found


def test_every_named_test_exists() -> None:
    """By file and function."""
    defined = {
        (file, node.name)
        for file in {file for file, _ in named()}
        if (REPOSITORY / file).is_file()
        for node in ast.walk(ast.parse((REPOSITORY / file).read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }

    assert [] == [test for test in named() if test not in defined]
    assert len(named()) > 40


def test_every_stop_names_a_test() -> None:
    """A row that claims to stop something, and names nothing that would notice, claims too much."""
    tables = TEXT.split("## Who is trusted with what")[1].split("\n## ", maxsplit=1)[1]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in tables.splitlines() if line[:1] == "|"]
    attacks = [row for row in rows if row[0] != "attack" and not set(row[0]) <= set("-")]

    assert {4} == {len(row) for row in attacks}
    assert [] == [row[0] for row in attacks if not row[1].startswith("nothing") and "::test_" not in row[2]]
