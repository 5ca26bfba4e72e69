"""The first line of a CSV file: the names of its columns, or what a person has to mend before a row can be read."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable
from pathlib import Path

from promotion.errors import DataError

_SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
_MERGE_MARKS = ("<<<<<<<", "=======", ">>>>>>>")
_NO_VALUE = ("", "?")


def names_in(
    lines: Iterable[str], path: Path, expected: Collection[str] = (), delimiter: str = ",", allowed_by: str = ""
) -> list[str]:
    """The names of a file's columns, each once.

    Args:
        lines: The file's text, from its first line on.
        path: The file, for the message.
        expected: Names that it should have; without them a header of numbers, or with a gap, passes.
        delimiter: What separates the columns.
        allowed_by: What to write to read a file with another separator; empty where nothing is read otherwise.

    Raises:
        DataError: The first line is no header, or one that names a column twice or not at all.
    """
    try:
        first = next(csv.reader(lines, delimiter=delimiter), None)
    except csv.Error as error:
        raise DataError(f"{path}: line 1: not readable as CSV: {error}") from error
    if first is None:
        raise DataError(f"{path}: the file is empty, expected a CSV file with a header and rows")
    if not any(name.strip() for name in first):
        raise DataError(f"{path}: the first line is blank, expected the header")
    if problem := _no_header(first, expected, delimiter, allowed_by) or _unnamed(first, expected):
        raise DataError(f"{path}: {problem}")
    require_unique(path, first)
    return first


def require_unique(path: Path, names: list[str]) -> None:
    """Refuse a header that names a column twice.

    Raises:
        DataError: It does.
    """
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path}: the header names {', '.join(repeated)} more than once; keep one column of each")


def _no_header(first: list[str], expected: Collection[str], delimiter: str, allowed_by: str) -> str:
    """What the first line is instead of a header; empty where it is one."""
    start = first[0].strip()
    if start.startswith(_MERGE_MARKS):
        return f"line 1 is a mark of an unfinished merge ({start[:20]}), no header: resolve the merge in the file"
    if start.lower().startswith("sep="):
        return f"line 1 ({start}…) tells a spreadsheet the separator and is no header: remove that line"
    if start.startswith("#") and start not in expected:
        return f"line 1 is a comment, no header: remove it ({start[:20]})"
    others = [mark for mark in _SEPARATORS if mark != delimiter and mark in first[0]]
    if len(first) == 1 and others and first[0] not in expected:
        found, wanted = _SEPARATORS[others[0]], _SEPARATORS.get(delimiter, repr(delimiter))
        remedy = f", or write {allowed_by}: {others[0]!r}" if allowed_by else ""
        return f"the columns are separated by {found}, expected {wanted}: save it with that{remedy}"
    if expected and not set(first) & set(expected) and 2 * sum(map(_is_value, first)) >= len(first):
        names = ",".join(expected)
        return f"the first line holds values, not names: it is a row, put a header above it ({names})"
    return ""


def _unnamed(first: list[str], expected: Collection[str]) -> str:
    if not expected:
        return ""
    if gaps := [place for place, name in enumerate(first, start=1) if not name.strip()]:
        place = gaps[0]
        remedy = (
            "a separator ends each line? remove it"
            if place == len(first) and place > 1
            else "an index that pandas wrote? save the file with index=False"
        )
        return f"column {place} of the header has no name ({remedy})"
    if padded := [name for name in first if name not in expected and name.strip() in expected]:
        return f"the header has blanks around {', '.join(map(repr, padded))}: remove them"
    return ""


def _is_value(cell: str) -> bool:
    if cell.strip() in _NO_VALUE:
        return True
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True
