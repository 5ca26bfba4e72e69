"""Rows are typed as the model's signature says."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from promotion.evaluation.received.columns import RowsDoNotFit, missing_columns, typed_rows
from promotion.evaluation.received.flavours import InputColumn
from promotion.evaluation.received.worker import rows_in


def fed(cells: list[Any], kind: str) -> list[Any]:
    """What a model gets of a column of the file."""
    frame = pd.DataFrame({"x": cells}, index=range(2, len(cells) + 2))
    stream = typed_rows(frame, [InputColumn("x", kind, required=True)], ["x"], "holdout.csv")
    rows = rows_in(stream, {})
    return [None if pd.isna(value) else value for value in rows["x"].tolist()]


@pytest.mark.parametrize(
    ("cells", "kind", "expected"),
    [
        (["007", None, "Ärger"], "string", ["007", None, "Ärger"]),
        (["1", "2"], "long", [1, 2]),
        (["1", None], "long", [1, None]),
        (["1.0", "2"], "integer", [1, 2]),
        ([1.0, None], "long", [1, None]),
        (["9007199254740993"], "long", [9007199254740993]),
        (["1.5", None], "double", [1.5, None]),
        (["0.5"], "float", [0.5]),
        (["True", "no", "1", None], "boolean", [True, False, True, None]),
        ([True, False], "boolean", [True, False]),
        (["2026-01-31", None], "datetime", [pd.Timestamp("2026-01-31"), None]),
        ([pd.Timestamp("2026-01-31", tz="UTC")], "datetime", [pd.Timestamp("2026-01-31")]),
    ],
)
def test_a_column_is_of_the_signatures_type(cells: list[Any], kind: str, expected: list[Any]) -> None:
    """Text stays text, whole numbers may have gaps, dates lose their zone."""
    assert expected == fed(cells, kind)


@pytest.mark.parametrize(
    ("cells", "kind", "reason"),
    [
        (["1", "abc"], "long", "line 3, column 'x': 'abc' where the model's signature says long \\(1 such cells\\)"),
        (["1.5"], "long", "line 2, column 'x': '1.5'"),
        (["inf"], "long", "line 2"),
        (["3000000000"], "integer", "too large for integer"),
        (["1,5"], "double", "'1,5' where"),
        (["maybe"], "boolean", "'maybe' where"),
        (["31/01/2026"], "datetime", "where the model's signature says datetime"),
        ([1, 2], "string", "'1' where the model's signature says string"),
        (["YWJj"], "binary", "the signature's type binary does not fit into a CSV"),
    ],
)
def test_a_cell_of_another_type_is_named(cells: list[Any], kind: str, reason: str) -> None:
    """With its line, and how many there are."""
    with pytest.raises(RowsDoNotFit, match=reason):
        fed(cells, kind)


def test_categories_stay_categories() -> None:
    """As a Parquet file holds them."""
    frame = pd.DataFrame({"x": pd.Categorical(["a", "b", "a"])})
    stream = typed_rows(frame, [InputColumn("x", "string", required=True)], ["x"], "holdout.parquet")
    assert pa.types.is_dictionary(pa.ipc.open_stream(stream).read_all().schema.field("x").type)


def test_columns_that_are_missing() -> None:
    """Only what the signature requires; a signature without names goes by the number of columns."""
    named = [InputColumn("a", "long", required=True), InputColumn("b", "long", required=False)]
    assert [] == missing_columns(named, ["a"])
    assert ["column 'a': in the signature, but no feature in the holdout"] == missing_columns(named, ["b", "target"])
    unnamed = [InputColumn(None, "double", required=True)] * 2
    assert [] == missing_columns(unnamed, ["a", "b"])
    assert ["3 feature columns (a, b, c), the signature asks for 2 by their place"] == missing_columns(
        unnamed, ["a", "b", "c"]
    )
