"""What an export says of a version, as files."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from promotion.export.documents import ExportDocuments

FILES = {"schema.json": {"columns": ["age"]}, "expected.json": {"rows": [[1.5], [2.5]]}}


@pytest.mark.parametrize(
    ("generated", "origin"),
    [
        (None, "2 rows of the family's data (export: {rows: generated} keeps them out)"),
        (pd.DataFrame({"age": [1.5, 2.5]}), "2 generated rows, which are nobody's"),
    ],
)
def test_every_file_is_written_and_says_whose_rows_lie_in_it(
    generated: pd.DataFrame | None, origin: str, tmp_path: Path
) -> None:
    """As JSON that reads back as it was."""
    documents = ExportDocuments(FILES, generated)

    documents.write(tmp_path)

    assert {path.name: json.loads(path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()} == FILES
    assert origin == documents.origin
