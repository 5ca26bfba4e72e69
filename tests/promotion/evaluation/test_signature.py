from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from promotion.config.family import FamilyConfig, load_config
from promotion.config.settings import REPOSITORY
from promotion.data.datasets import feature_schema_hash, load_dataset, split_dataset
from promotion.evaluation.holdout import HoldoutEvaluator
from promotion.evaluation.signature import data_problems, schema_problems, signature_types

Inputs = list[dict[str, Any]]
Edit = Callable[[Inputs], object]

COLUMNS: dict[str, dict[str, Any]] = {
    "patient": {"type": "identifier"},
    "height": {"type": "number", "minimum": 0.5, "maximum": 2.5, "unit": "m"},
    "age": {"type": "integer", "minimum": 0, "max_missing": 0.1},
    "group": {"type": "code", "codes": [1, 2, 3], "description": "where they live"},
    "ill": {"type": "code", "codes": [0, 1]},
}
# SHA-256 of the names with their types and constraints as JSON, keys sorted, no blanks.
VIEW = "a4bd6f7e52ec73abf4722593183500edc7eac5a8d3c8c765052582068be07dd4"


def a_family(columns: dict[str, dict[str, Any]] = COLUMNS, **data: Any) -> FamilyConfig:
    measured = [name for name in columns if columns[name]["type"] == "number"]
    return FamilyConfig.model_validate(
        {
            "family": "clinic",
            "task": "binary-classification",
            "registered_model": "clinic",
            "selection_metric": "accuracy",
            "data": {"path": "clinic.csv", "columns": columns, **data},
            "target": {"column": "ill", "positive_above": 0},
            "numeric": measured,
            "candidates": {"logistic_regression": {}},
        }
    )


def with_column(name: str, **changes: Any) -> dict[str, dict[str, Any]]:
    return COLUMNS | {name: COLUMNS[name] | changes}


# Rows that are in order: 200 of them, both classes, no two alike.
ROWS: list[tuple[Any, ...]] = [(f"p{n}", 1.5 + n / 1000, 20 + n % 50, 1 + n % 3, int(n % 4 == 0)) for n in range(200)]


def again(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [(f"again-{row[0]}", *row[1:]) for row in rows]


def write(home: Path, rows: list[tuple[Any, ...]]) -> Path:
    lines = [",".join(COLUMNS), *(",".join(str(cell) for cell in row) for row in rows), ""]
    (home / "clinic.csv").write_text("\n".join(lines))
    return home


@pytest.fixture(scope="session")
def heart() -> FamilyConfig:
    return load_config(REPOSITORY / "config", "heart-disease")


@pytest.fixture(scope="module")
def signed(skops_flavour: None, heart: FamilyConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A heart-disease model as training registers it, with its signature."""
    import mlflow.models

    from models.training.candidates import build_pipeline
    from models.training.packaging import _save

    part = split_dataset(load_dataset(heart, REPOSITORY), heart)
    model = build_pipeline(heart, "logistic_regression").fit(part.train_features, part.train_target)
    folder = tmp_path_factory.mktemp("signed") / "model"
    _save(model, heart, part.train_features, folder, mlflow.models.Model())
    return folder


@pytest.fixture
def artifact(signed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed, tmp_path / "model"))


def edit_inputs(artifact: Path, edit: Edit) -> None:
    path = artifact / "MLmodel"
    document = yaml.safe_load(path.read_text())
    inputs = json.loads(document["signature"]["inputs"])
    edit(inputs)
    document["signature"]["inputs"] = json.dumps(inputs)
    path.write_text(yaml.safe_dump(document))


@pytest.mark.system
def test_signature_of_training_is_in_order(heart: FamilyConfig, artifact: Path) -> None:
    """What training registers has the family's columns and types."""
    assert [] == schema_problems(heart, artifact)


def test_column_order_is_irrelevant(heart: FamilyConfig, artifact: Path) -> None:
    """Columns are found by name."""
    edit_inputs(artifact, lambda inputs: inputs.reverse())
    assert [] == schema_problems(heart, artifact)


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda inputs: inputs.pop(0), "column 'age': missing in the signature, expected long"),
        (lambda inputs: inputs[0].update(type="double"), "column 'age': double in the signature, expected long"),
        (lambda inputs: inputs[9].update(type="long"), "column 'oldpeak': long in the signature, expected double"),
        (lambda inputs: inputs[11].update(type="long"), "column 'ca': long in the signature, expected double"),
        (
            lambda inputs: inputs.append({"type": "long", "name": "smoker", "required": True}),
            "column 'smoker': in the signature, but no feature of heart-disease",
        ),
    ],
)
def test_other_columns_are_named(heart: FamilyConfig, artifact: Path, edit: Edit, expected: str) -> None:
    """A missing, extra or differently typed column is one line that names it and what was expected."""
    edit_inputs(artifact, edit)
    assert [expected] == schema_problems(heart, artifact)


def test_all_differences_are_reported_together(heart: FamilyConfig, artifact: Path) -> None:
    """A renamed column is both missing and extra, and hides nothing else."""

    def rename_and_retype(inputs: Inputs) -> None:
        inputs[0]["name"] = "years"
        inputs[1]["type"] = "string"

    edit_inputs(artifact, rename_and_retype)
    assert [
        "column 'age': missing in the signature, expected long",
        "column 'sex': string in the signature, expected long",
        "column 'years': in the signature, but no feature of heart-disease",
    ] == schema_problems(heart, artifact)


NO_FILE = "missing or not an MLmodel file"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, f"{NO_FILE}: cannot be read"),
        ("flavors: [", f"{NO_FILE}: 1: not readable as YAML"),
        ("\x00", f"{NO_FILE}: 1: not readable as YAML: a control character"),
        ("just text", f"{NO_FILE}: it has no section flavors"),
        ("flavors: {}", "KeyError: 'signature'"),
        ("flavors: {}\nsignature: {outputs: '[]'}", "KeyError: 'inputs'"),
        ("flavors: {}\nsignature: {inputs: null}", "TypeError"),
        ("flavors: {}\nsignature: {inputs: '[{'}", "JSONDecodeError"),
        ('flavors: {}\nsignature: {inputs: \'[{"type": "tensor", "tensor-spec": {}}]\'}', "KeyError: 'name'"),
        ("[" * 5000, f"{NO_FILE}: 1: sections in sections"),
    ],
)
def test_unreadable_signature(heart: FamilyConfig, tmp_path: Path, text: str | None, reason: str) -> None:
    """A model without readable signature, or with an unnamed tensor as input, cannot be compared: one line says so."""
    if text is not None:
        (tmp_path / "MLmodel").write_text(text)
    (problem,) = schema_problems(heart, tmp_path)
    assert problem.startswith(f"MLmodel: no readable signature with named columns ({reason}")
    assert "\n" not in problem


def test_types_of_the_features() -> None:
    """Whole numbers that are never missing are long; the target and an identifier are no features."""
    assert {"height": "double", "age": "double", "group": "long"} == signature_types(a_family())


@pytest.mark.parametrize(
    "columns",
    [
        dict(reversed(COLUMNS.items())),
        with_column("group", codes=[3, 1, 2]),
        with_column("group", codes=[1, 2, 2, 3]),
        with_column("height", unit="metres", description="in socks", hint="not in feet"),
        with_column("ill", codes=[0, 1, 2]),
        with_column("patient", description="number on the wrist band"),
        with_column("age", minimum=0.0),
    ],
    ids=["column order", "code order", "code twice", "documentation", "target", "identifier", "0 is 0.0"],
)
def test_same_feature_view(columns: dict[str, dict[str, Any]]) -> None:
    """The fingerprint is a fixed value that neither order nor documentation nor columns beside the features change."""
    assert VIEW == feature_schema_hash(a_family())
    assert VIEW == feature_schema_hash(a_family(columns))


@pytest.mark.parametrize(
    "columns",
    [
        {"stature" if name == "height" else name: column for name, column in COLUMNS.items()},
        COLUMNS | {"weight": {"type": "number"}},
        {name: column for name, column in COLUMNS.items() if name != "age"},
        with_column("age", type="number"),
        with_column("height", minimum=0.6),
        with_column("height", minimum=None),
        with_column("height", maximum=2.6),
        with_column("age", max_missing=0.2),
        with_column("group", codes=[1, 2]),
        with_column("group", codes=[1, 2, 4]),
        COLUMNS | {"height": COLUMNS["age"], "age": COLUMNS["height"]},
    ],
    ids=["name", "more", "fewer", "type", "min", "no min", "max", "missing", "fewer codes", "other code", "swapped"],
)
def test_other_feature_view(columns: dict[str, dict[str, Any]]) -> None:
    """Another name, type, bound, share of missing cells or code is another fingerprint."""
    assert VIEW != feature_schema_hash(a_family(columns))


@pytest.mark.system
def test_cleveland_data_is_in_order(heart: FamilyConfig) -> None:
    """The real data has no quality problem."""
    assert [] == data_problems(heart, REPOSITORY)


@pytest.mark.system
def test_made_data_is_in_order(tmp_path: Path) -> None:
    """The rows that the next tests spoil are good."""
    assert [] == data_problems(a_family(), write(tmp_path, ROWS))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (ROWS[:99], "99 rows, expected at least 100"),
        (
            [(*row[:4], int(n % 25 == 0)) for n, row in enumerate(ROWS)],
            "class 'ill > 0': 8 of 200 rows (4.0%), expected at least 5%",
        ),
        ([(*row[:4], 1) for row in ROWS], "class 'not ill > 0': 0 of 200 rows (0.0%), expected at least 5%"),
        (
            [*ROWS, *again(ROWS[:11])],
            "11 of 211 rows (5.2%) repeat an earlier row, expected at most 5%",
        ),
        ([(*row[:3], 2, row[4]) for row in ROWS], "column 'group': the same value in all 200 rows, so it says nothing"),
    ],
)
def test_quality_is_a_line_with_its_figure(tmp_path: Path, rows: list[tuple[Any, ...]], expected: str) -> None:
    """Too few rows, a class too rare, too many repeated rows and a constant column are each named and counted."""
    assert [expected] == data_problems(a_family(allow_duplicates=True), write(tmp_path, rows))


def test_limits_are_inclusive(tmp_path: Path) -> None:
    """100 rows, a class of 5 % and 5 % repeated rows are still in order."""
    rows = [(*row[:4], int(n < 5)) for n, row in enumerate(ROWS[:95])]
    family = a_family(allow_duplicates=True)
    assert [] == data_problems(family, write(tmp_path, [*rows, *again(rows[-5:])]))


def test_broken_contract_is_reported_whole(tmp_path: Path) -> None:
    """Every broken rule of the data contract is a problem of its own."""
    rows = [("p", 9.9, 20, 7, 0), *ROWS]
    problems = data_problems(a_family(), write(tmp_path, rows))
    assert ["column 'height': must be at most 2.5", "column 'group': must be one of 1, 2, 3"] == [
        problem.partition(": 1 of 201 rows")[0] for problem in problems
    ]


def test_missing_file(tmp_path: Path) -> None:
    """Without the file there is no evidence: a problem that names it."""
    (problem,) = data_problems(a_family(), tmp_path)
    assert f"{tmp_path / 'clinic.csv'}: no such file" in problem


@pytest.mark.system
def test_evaluator_answers_the_gates(heart: FamilyConfig, artifact: Path) -> None:
    """The gates reach all of this through the family's evaluator."""
    evaluator = HoldoutEvaluator(heart, REPOSITORY)
    assert feature_schema_hash(heart) == evaluator.feature_hash
    assert [] == evaluator.schema_problems(artifact)
    assert [] == evaluator.data_problems()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        (
            {"split": {"test_size": 0.2, "seed": 7}},
            "it was trained with split {test_size: 0.2, seed: 7}, the family's is",
        ),
        ({"split": None}, "its split is not recorded, the family's is {test_size: 0.2, seed: 42}"),
        ({"data_sha256": "ab" * 32}, "it was trained on other rows (sha256 abababababab, now c62392cce6a7)"),
    ],
)
def test_another_training_may_know_the_test_rows(
    heart: FamilyConfig, changes: dict[str, Any], expected: str | None
) -> None:
    """A version knows none of the test rows where it was trained with the same split of the same file."""
    trained = {"split": {"test_size": 0.2, "seed": 42}, "data_sha256": heart.data.sha256} | changes

    found = HoldoutEvaluator(heart, REPOSITORY).split_problems(trained)

    assert ([] if expected is None else [True]) == [str(expected) in line for line in found]
