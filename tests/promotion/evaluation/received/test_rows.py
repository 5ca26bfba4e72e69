"""The owner's holdout: what is wrong with it is said, and its digest always."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from promotion.config.evidence import HoldoutRows
from promotion.errors import DataError
from promotion.evaluation.received.rows import HoldoutFile, class_name


def a_file(folder: Path, text: str, task: str = "binary-classification", **rules: Any) -> HoldoutFile:
    """A CSV with the target `y`."""
    (folder / "holdout.csv").write_text(text)
    return HoldoutFile(HoldoutRows(path="holdout.csv", target="y", **rules), folder, task)


@pytest.mark.parametrize(
    ("text", "task", "rules", "problem"),
    [
        ("x,z\n1,2\n", "regression", {}, "column 'y' is missing (the target, it has x, z)"),
        ("x,y\n", "regression", {}, "has no rows"),
        ("", "regression", {}, "has no rows"),
        ("x,y\n1,a\n2,a\n", "binary-classification", {}, "every row is of class a"),
        (
            "x,y\n1,a\n2,b\n3,c\n",
            "binary-classification",
            {},
            "the target has 3 values (a, b, c), and",
        ),
        ("x,y\n1,a\n2,b\n", "binary-classification", {"positive": "c"}, "no row is positive ('c')"),
        ("x,y\n1,a\n2,\n", "binary-classification", {}, "1 rows without target, the first in line 3"),
        ("x,y\n1,2\n2,much\n", "regression", {}, "line 3, target 'y': 'much' is no finite number"),
        ("x,y\n1,2\n2,inf\n", "regression", {}, "line 3, target 'y': 'inf' is no finite number"),
        ("x,y\n1,2\n1,3\n", "regression", {"id": "x"}, "'1' stands more than once in column 'x'"),
        ("x,y\n1,2\n", "regression", {"group": "g"}, "column 'g' is missing (it has x, y)"),
        ("x,y\n1,2\n", "regression", {"sha256": "0" * 64}, "expected 000000"),
    ],
)
def test_what_is_wrong_is_said_with_the_digest(
    tmp_path: Path, text: str, task: str, rules: dict[str, Any], problem: str
) -> None:
    """One line, and the digest of the file all the same."""
    found = a_file(tmp_path, text, task, **rules)

    assert 1 == len(found.problems)
    assert problem in found.problems[0]
    assert hashlib.sha256(text.encode()).hexdigest() == found.sha256


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Is a failure, and no refusal: nothing is known of it."""
    rows = HoldoutFile(HoldoutRows(path="nothing.csv", target="y"), tmp_path, "regression")
    with pytest.raises(DataError, match=r"nothing\.csv: no such file"):
        _ = rows.sha256


@pytest.mark.parametrize("address", ["memory://lost/holdout.csv", "nowhere://x/holdout.csv"])
def test_an_address_that_does_not_answer(tmp_path: Path, address: str) -> None:
    """One line with the address."""
    with pytest.raises(DataError, match=r"holdout\.csv: "):
        _ = HoldoutFile(HoldoutRows(path=address, target="y"), tmp_path, "regression").sha256


def test_classes_and_their_order(tmp_path: Path) -> None:
    """By value, of two the positive one last; 1, 1.0 and true are written in many ways."""
    assert ["2", "10"] == a_file(tmp_path, "x,y\n1,10\n2,2\n").classes
    rows = a_file(tmp_path, "x,y\n1,yes\n2,no\n", positive="no")
    assert ["yes", "no"] == rows.classes
    assert [0, 1] == rows.target_classes.tolist()
    assert {"1"} == {class_name(value) for value in (1, 1.0, "1", "1.0")}
    assert {"true"} == {class_name(value) for value in (True, "True", "TRUE")}


def test_groups_are_numbered(tmp_path: Path) -> None:
    """A row without group is one of its own kind."""
    found = a_file(tmp_path, "x,y,g\n1,1,a\n2,2,b\n3,3,a\n4,4,\n", "regression", group="g")
    assert found.groups is not None
    assert [0, 1, 0, 2] == found.groups.tolist()
    assert ["x", "g"] == found.features
    assert ["x"] == found.plain_features


def test_what_is_scored_is_what_was_digested(tmp_path: Path) -> None:
    """A file that changes meanwhile changes nothing."""
    found = a_file(tmp_path, "x,y\n1,2\n2,3\n", "regression")
    before = found.sha256
    (tmp_path / "holdout.csv").write_text("x,y\n5,5\n")

    assert ([2.0, 3.0], before) == (found.target_numbers.tolist(), found.sha256)
