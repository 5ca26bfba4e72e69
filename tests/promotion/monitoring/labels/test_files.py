"""Labels that arrive late: what a file may say, and what is left out."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from tests.promotion.diabetes import diabetes
from tests.promotion.monitoring.logs import churn

from promotion.config.family import FamilyConfig
from promotion.errors import DataError, UsageError
from promotion.monitoring.labels.files import read_labels
from promotion.monitoring.labels.labels import UNKNOWN


def flowers() -> FamilyConfig:
    """Three classes with names."""
    columns = {"x": {"type": "number"}, "kind": {"type": "label", "labels": ["setosa", "versicolor", "virginica"]}}
    return churn(
        task="multiclass-classification",
        data={"path": "data/flowers.csv", "columns": columns},
        target={"column": "kind"},
    )


def coded() -> FamilyConfig:
    """Classes that are numbers, none of them its own position."""
    columns = {"x": {"type": "number"}, "kind": {"type": "code", "codes": [1, 2, 3]}}
    return churn(
        task="multiclass-classification",
        data={"path": "data/coded.csv", "columns": columns},
        target={"column": "kind"},
    )


def graded() -> FamilyConfig:
    """A binary target that is a grade in the file: above 0 is positive."""
    columns = {"x": {"type": "number"}, "y": {"type": "code", "codes": [0, 1, 2, 3, 4]}}
    return churn(data={"path": "data/graded.csv", "columns": columns})


def labels_of(path: Path, text: str, config: FamilyConfig, ids: list[str]) -> list[int]:
    path.write_text(text, encoding="utf-8")
    found = read_labels(path, config)
    return [int(place) for place in found.of(pa.array(ids), pa.array([0] * len(ids)))]


@pytest.mark.parametrize(
    ("config", "header", "values", "expected"),
    [
        (churn(), "label", ["0", "1"], [0, 1]),
        (churn(), "label", ["not y > 0", "y > 0"], [0, 1]),
        (churn(), "y", ["0", "1"], [0, 1]),
        (graded(), "y", ["0", "4"], [0, 1]),
        (graded(), "label", ["0", "3"], [0, 1]),
        (flowers(), "label", ["setosa", "virginica"], [0, 2]),
        (flowers(), "label", ["0", "2"], [0, 2]),
        (flowers(), "kind", ["versicolor", "setosa"], [1, 0]),
        (coded(), "label", ["1", "3"], [0, 2]),
        (coded(), "label", ["0", "2"], [0, 2]),
        (coded(), "kind", ["1", "2"], [0, 1]),
    ],
)
def test_a_label_is_a_position_a_text_or_the_target_itself(
    tmp_path: Path, config: FamilyConfig, header: str, values: list[str], expected: list[int]
) -> None:
    """Every form ends as the position of the class."""
    text = f"request_id,{header}\na,{values[0]}\nb,{values[1]}\n"

    assert [*expected, UNKNOWN] == labels_of(tmp_path / "labels.csv", text, config, ["a", "b", "c"])


def test_rows_of_one_request_are_told_apart(tmp_path: Path) -> None:
    """By their position; without the column it is the first."""
    path = tmp_path / "labels.csv"
    path.write_text("request_id,row,label\na,0,0\na,1,1\n", encoding="utf-8")
    found = read_labels(path, churn()).of(pa.array(["a", "a", "a"]), pa.array([0, 1, 2]))

    assert [0, 1, UNKNOWN] == found.tolist()


def test_conflicting_and_unknown_labels_are_counted_and_left_out(tmp_path: Path) -> None:
    """Said twice the same is no conflict."""
    path = tmp_path / "labels.csv"
    path.write_text("request_id,label\na,0\na,1\nb,1\nb,1\nc,\nd,maybe\n,1\n", encoding="utf-8")
    found = read_labels(path, churn())

    assert (1, 2, 6, "maybe") == (found.conflicting, found.unknown, found.total, found.example)
    assert [UNKNOWN, 1, UNKNOWN] == found.of(pa.array(["a", "b", "c"]), pa.array([0, 0, 0])).tolist()


def test_parquet_does_as_well(tmp_path: Path) -> None:
    """With typed columns."""
    path = tmp_path / "labels.parquet"
    pd.DataFrame({"request_id": ["a", "b"], "row": [0, 0], "label": [1, 0]}).to_parquet(path)

    assert [1, 0] == read_labels(path, churn()).of(pa.array(["a", "b"]), pa.array([0, 0])).tolist()


def test_an_empty_file_has_no_labels(tmp_path: Path) -> None:
    """The header alone is no error: none has arrived."""
    assert [UNKNOWN] == labels_of(tmp_path / "labels.csv", "request_id,label\n", churn(), ["a"])


def test_what_is_wrong_with_a_file_is_one_line(tmp_path: Path) -> None:
    """Missing, of another kind, without its columns, not a table."""
    for name, kind in (("no.csv", UsageError), ("labels.xlsx", UsageError)):
        with pytest.raises(kind, match=name):
            read_labels(tmp_path / name, churn())
    path = tmp_path / "labels.csv"
    path.write_text("id,label\na,1\n", encoding="utf-8")
    with pytest.raises(DataError, match="'request_id' is missing"):
        read_labels(path, churn())
    broken = tmp_path / "labels.parquet"
    broken.write_bytes(b"no")
    with pytest.raises(DataError, match=r"labels\.parquet"):
        read_labels(broken, churn())


def test_labels_of_a_number_are_numbers(tmp_path: Path) -> None:
    """In the column `label` or the target's own; what is no finite number is told as unknown."""
    for header in ("label", "target"):
        path = tmp_path / "labels.csv"
        path.write_text(f"request_id,{header}\na,151.5\nb,many\nc,inf\n", encoding="utf-8")
        found = read_labels(path, diabetes())
        assert [151.5] == found.of(pa.array(["a", "b"]), pa.array([0, 0])).tolist()[:1]
        assert (2, "many") == (found.unknown, found.example)
