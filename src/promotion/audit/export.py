"""The whole journal as a file of JSON lines that an auditor can take away and verify without the database."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from itertools import groupby, islice, takewhile
from pathlib import Path
from typing import Any

from promotion.audit.checkpoints import Checkpoint
from promotion.audit.source import JournalSource
from promotion.data.files import whole_file
from promotion.errors import DataError, UsageError
from promotion.journal import clock
from promotion.journal.audit_rows import ADDED_LATER, COLUMNS, EVENT, Batch, Row

FORMAT = 1
_JOURNAL, _CHECKPOINT = "journal", "checkpoint"
_PAGE = 10_000


def export(source: JournalSource, checkpoints: Sequence[Checkpoint], path: Path, *, family: str | None) -> int:
    """Write everything the journal holds, the same bytes for the same journal; returns how many events.

    A line is a JSON object whose `kind` says what it is: `journal` first, then `checkpoint`, `report`, `approval`,
    `event`, `version`, `incident` and `rules`, each with its columns as they are stored and times in UTC.

    Raises:
        DataError: The file cannot be written.
        JournalError: The journal cannot be read.
    """
    events = 0
    try:
        with whole_file(path) as file:
            file.write(_line(_JOURNAL, {"format": FORMAT, "name": source.name, "family": family}))
            file.writelines(_line(_CHECKPOINT, checkpoint.document()) for checkpoint in checkpoints)
            for kind, rows in source.records():
                names = COLUMNS[kind]
                file.writelines(_line(kind, dict(zip(names, row, strict=True))) for row in rows)
                events += len(rows) if kind == EVENT else 0
    except OSError as error:
        raise DataError(f"{path}: the export cannot be written: {error.strerror}; nothing was left behind") from error
    return events


class ExportSource:
    """An exported file.

    Raises:
        DataError: It cannot be read, or is no export.
        UsageError: It holds one family only, whose chain has gaps.
    """

    end = sys.maxsize
    unfinished: Collection[str] = ()
    written: Collection[int] = ()

    def __init__(self, path: Path) -> None:
        self._path = path
        documents = self._documents()
        kind, header = next(documents, ("nothing", {}))
        if kind != _JOURNAL or header.get("format") != FORMAT:
            raise self._broken(1, f"expected an export of format {FORMAT}")
        if header.get("family") is not None:
            raise UsageError(
                f"{path}: holds the family {header['family']!r} only, so its chain has gaps: "
                "verify an export that was made without --model"
            )
        self.name = f"{path} of {header.get('name')}"
        self.checkpoints: Sequence[Checkpoint] = [
            Checkpoint.parse(document, str(path))
            for _, document in takewhile(lambda item: item[0] == _CHECKPOINT, documents)
        ]

    def now(self) -> datetime:
        """What time it is here, rehearsal or not, UTC."""
        return clock.local()

    def records(self) -> Iterator[Batch]:
        """See `promotion.audit.source.Source`."""
        for kind, group in groupby(self._documents(), key=lambda item: item[0]):
            if kind in {_JOURNAL, _CHECKPOINT}:
                continue
            while rows := [self._row(kind, document) for _, document in islice(group, _PAGE)]:
                yield kind, rows

    def _documents(self) -> Iterator[tuple[str, dict[str, Any]]]:
        number = 0
        try:
            with self._path.open(encoding="utf-8") as file:
                for line in file:
                    number += 1
                    document = json.loads(line)
                    yield document.pop("kind"), document
        except OSError as error:
            raise DataError(f"{self._path}: the export cannot be read: {error.strerror}") from error
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise self._broken(number, str(error)) from error

    def _row(self, kind: str, document: dict[str, Any]) -> Row:
        try:
            return [document[name] if name not in ADDED_LATER else document.get(name) for name in COLUMNS[kind]]
        except KeyError as error:
            raise DataError(f"{self._path}: a line of kind {kind!r} has no {error}: not an export of ours") from error

    def _broken(self, number: int, why: str) -> DataError:
        return DataError(f"{self._path}, line {number}: not an export of the journal, or damaged: {why}")


def _line(kind: str, document: dict[str, Any]) -> bytes:
    return json.dumps({"kind": kind, **document}, separators=(",", ":"), default=str).encode() + b"\n"
