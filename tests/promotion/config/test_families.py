"""What a family's file may say about its columns and its task, and what its data must hold for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from models.data.sources import make_missing
from promotion.config.family import FamilyConfig, load_config
from promotion.config.settings import REPOSITORY
from promotion.data.datasets import feature_schema_hash, load_dataset
from promotion.errors import ConfigError, DataError
from promotion.prediction.inputs import FileRows

IRIS, ALZHEIMER, HEART = "iris-classifier", "alzheimer_classifier", "heart-disease"
Edit = Callable[[dict[str, Any]], object]


def config_with(folder: Path, family: str, edit: Edit) -> FamilyConfig:
    document = yaml.safe_load((REPOSITORY / "config" / f"{family}.yaml").read_text(encoding="utf-8"))
    edit(document)
    (folder / f"{family}.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return load_config(folder, family)


@pytest.fixture
def iris() -> FamilyConfig:
    return load_config(REPOSITORY / "config", IRIS)


@pytest.fixture
def alzheimer() -> FamilyConfig:
    return load_config(REPOSITORY / "config", ALZHEIMER)


def lines(config: FamilyConfig, home: Path) -> list[str]:
    """The family's generated file, as lines."""
    make_missing(config, home)
    return (home / config.data.path).read_text(encoding="utf-8").splitlines()


def refusal(config: FamilyConfig, home: Path, content: list[str]) -> str:
    (home / config.data.path).write_text("\n".join([*content, ""]), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_dataset(config, home)
    return str(caught.value)


@pytest.mark.parametrize(
    ("family", "edit", "expected"),
    [
        (HEART, lambda it: it["target"].pop("positive_above"), "target.positive_above: missing; say above which value"),
        (IRIS, lambda it: it["target"].update(positive_above=0), "needs a column of type label or code with 3 or more"),
        (IRIS, lambda it: it["data"]["columns"]["species"]["labels"].pop(), "type label or code with 3 or more values"),
        (IRIS, lambda it: it["data"]["columns"]["species"].pop("labels"), "a column of type label lists its labels"),
        (IRIS, lambda it: it["data"].update(url="https://host/iris.csv"), "url and generator exclude each other"),
        (IRIS, lambda it: it["candidates"].update(logistic_regression={}), "params_file: overlays a single candidate"),
        *(
            (
                HEART,
                lambda it, kind=kind: it["data"]["columns"].update(num={"type": kind}),
                f"target.column: column 'num' is of type {kind}, which has no classes; correct the column",
            )
            for kind in ("date", "identifier", "ignored")
        ),
        (
            IRIS,
            lambda it: it["data"]["columns"]["sepal_width"].update(unknown="other"),
            "unknown: only a column of type label knows others; remove it",
        ),
        (
            IRIS,
            lambda it: it["data"]["columns"]["species"].update(unknown="other"),
            "data.columns.species.unknown: every class is known; remove it",
        ),
        (
            IRIS,
            lambda it: (
                it["data"]["columns"].update(colour={"type": "label", "labels": ["red", "blue"]}),
                it["numeric"].append("colour"),
            ),
            "numeric: column 'colour' holds texts; remove it",
        ),
        (
            IRIS,
            lambda it: it.update(task="regression", selection_metric="rmse"),
            "target.column: a regression needs a column of type number or integer, 'species' is of type label",
        ),
        (
            HEART,
            lambda it: it.update(task="regression", target={"column": "oldpeak"}, numeric=[]),
            "selection_metric: expected one of rmse, mae, mape, r2, which measure task regression, found 'roc_auc'",
        ),
        (
            HEART,
            lambda it: it.update(task="regression", selection_metric="rmse"),
            "target.positive_above: a regression predicts the number itself; remove it",
        ),
        (ALZHEIMER, lambda it: it["numeric"].append("PatientID"), "numeric: column 'PatientID' is no feature"),
        (ALZHEIMER, lambda it: it["numeric"].append("Diagnosis"), "numeric: column 'Diagnosis' is no feature"),
    ],
)
def test_a_contradiction_names_file_and_key(family: str, edit: Edit, expected: str, tmp_path: Path) -> None:
    """A task, a target, a column or a source that cannot be is one line naming the file and the key."""
    with pytest.raises(ConfigError) as caught:
        config_with(tmp_path, family, edit)
    assert f"{family}.yaml" in str(caught.value)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_become_classes(iris: FamilyConfig, tmp_path: Path) -> None:
    """The species are classes 0, 1, 2 in the config's order, 50 rows each; they are no feature."""
    lines(iris, tmp_path)
    dataset = load_dataset(iris, tmp_path)
    assert ["setosa", "versicolor", "virginica"] == iris.classes
    assert [50, 50, 50] == np.bincount(dataset.target).tolist()
    assert (150, 4) == dataset.features.shape
    assert np.int64 == dataset.target.dtype


def test_codes_become_classes(tmp_path: Path) -> None:
    """Where the target is coded, a class is the code's position: codes need not begin at 0 nor be dense."""

    def edit(document: dict[str, Any]) -> None:
        document["data"]["columns"]["species"] = {"type": "code", "codes": [7, 3, 5]}

    config = config_with(tmp_path, IRIS, edit)
    (tmp_path / "data").mkdir()
    header, *rows = lines(load_config(REPOSITORY / "config", IRIS), tmp_path / "source")
    codes = {"setosa": "3", "versicolor": "5", "virginica": "7"}
    recoded = [row.rpartition(",")[0] + "," + codes[row.rpartition(",")[2]] for row in rows]
    (tmp_path / config.data.path).write_text("\n".join([header, *recoded, ""]), encoding="utf-8")
    assert ["7", "3", "5"] == config.classes
    assert [1] * 50 + [2] * 50 + [0] * 50 == load_dataset(config, tmp_path).target.tolist()


def test_an_unknown_label_is_refused(iris: FamilyConfig, tmp_path: Path) -> None:
    """A species nobody knows, and a missing one, are named with their lines."""
    content = lines(iris, tmp_path)
    content[4] = content[4].replace("setosa", "Setosa")
    content[6] = content[6].removesuffix("setosa")
    summary, *details = refusal(iris, tmp_path, content).splitlines()
    assert "breaks the data contract in 2 ways" in summary
    assert [
        "- column 'species': must be one of setosa, versicolor, virginica: 1 of 150 rows, first: line 5 ('Setosa')",
        "- column 'species': must not be empty: 1 of 150 rows, first: line 7",
    ] == sorted(line.partition(" (max_missing")[0] for line in details)


@pytest.mark.system
def test_identifiers_and_ignored_columns_are_no_features(alzheimer: FamilyConfig, tmp_path: Path) -> None:
    """The patient's number and the doctor are asked for and not learned from, nor are they part of what is fed."""
    lines(alzheimer, tmp_path)
    features = load_dataset(alzheimer, tmp_path).features
    assert 32 == features.shape[1]
    assert not {"PatientID", "DoctorInCharge", "Diagnosis"} & set(features.columns)
    without = config_with(tmp_path, ALZHEIMER, lambda it: it["data"]["columns"].pop("DoctorInCharge"))
    assert feature_schema_hash(without) == feature_schema_hash(alzheimer)


@pytest.mark.system
def test_identifiers_are_present_and_unique(alzheimer: FamilyConfig, tmp_path: Path) -> None:
    """A file without the two columns, a repeated number and an empty one are each refused; any doctor is accepted."""
    content = lines(alzheimer, tmp_path)
    content[1] = content[1].replace("XXXConfid", "")
    content[2] = content[2].replace("4752", "4751", 1)
    content[3] = content[3].removeprefix("4753")
    message = refusal(alzheimer, tmp_path, content)
    assert "- column 'PatientID': repeats an earlier identifier: 1 of 2149 rows, first: line 3 ('4751')" in message
    assert "- column 'PatientID': must not be empty: 1 of 2149 rows, first: line 4" in message
    assert "DoctorInCharge" not in message
    stripped = [line.partition(",")[2].rpartition(",")[0] for line in content]
    message = refusal(alzheimer, tmp_path, stripped)
    assert "- column 'PatientID': missing; add it" in message
    assert "- column 'DoctorInCharge': missing; add it" in message


@pytest.mark.system
def test_the_same_patient_under_two_numbers_is_a_repeated_row(alzheimer: FamilyConfig, tmp_path: Path) -> None:
    """A new number does not make a copied row another patient."""
    content = lines(alzheimer, tmp_path)
    content.append(content[1].replace("4751", "9999", 1))
    assert "rows: repeats an earlier row: 1 of 2150 rows, first: line 2151" in refusal(alzheimer, tmp_path, content)


@pytest.mark.system
def test_rows_to_predict_need_only_features(alzheimer: FamilyConfig, tmp_path: Path) -> None:
    """Number, doctor and diagnosis may be there or not."""
    content = lines(alzheimer, tmp_path)[:4]
    bare = [line.partition(",")[2].rpartition(",")[0].rpartition(",")[0] for line in content]
    for name, rows in (("whole.csv", content), ("bare.csv", bare)):
        (tmp_path / name).write_text("\n".join([*rows, ""]), encoding="utf-8")
        (chunk,) = FileRows(alzheimer, tmp_path / name).chunks(None)
        assert alzheimer.features == list(chunk.features.columns)
