"""What an export holds where no row of the data may be in it: rows inside the contract that nobody ever was."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.training.candidates import build_pipeline
from promotion.config.evidence import ExportRules
from promotion.config.family import FamilyConfig, load_config
from promotion.config.settings import REPOSITORY
from promotion.data.datasets import Partition, load_dataset, split_dataset
from promotion.errors import GateRefused
from promotion.export.contract import Contract, FeatureRules, contract_of
from promotion.export.documents import ExportDocuments, documents_of, reference_document
from promotion.export.export import _write_engine
from promotion.export.generated import generated_rows, shared_statistics
from promotion.export.onnx import translate
from promotion.export.servable import ServableVersion
from promotion.serving.exported.folder import Schema
from promotion.serving.exported.rows import RowReader

SEEN = pd.DataFrame(
    {
        "age": [33.0, 41.0, 50.0, 62.0, 97.0] * 6,
        "visits": [0, 1, 2, 3, 40] * 6,
        "plan": [1.0, 2.0] * 15,
        "active": [True, False] * 15,
        "town": ["Bern"] * 20 + ["Ulm"] * 9 + ["Oberstdorf"],
        "gone": [np.nan] * 30,
    }
)
CONTRACT = Contract(
    family="clinic",
    columns={
        "age": FeatureRules("number", minimum=18, maximum=110),
        "visits": FeatureRules("integer"),
        "plan": FeatureRules("code", codes=[1, 2, 3]),
        "active": FeatureRules("boolean"),
        "town": FeatureRules("text"),
        "gone": FeatureRules("number", nullable=True),
    },
    target="ill",
    classes=["no", "yes"],
    numeric=frozenset({"age", "visits", "gone"}),
    instead="",
)


@pytest.fixture(scope="module")
def heart() -> tuple[FamilyConfig, ServableVersion, Partition]:
    """A version of our own training."""
    config = load_config(REPOSITORY / "config", "heart-disease")
    part = split_dataset(load_dataset(config, REPOSITORY), config)
    model = build_pipeline(config, "logistic_regression").fit(part.train_features, part.train_target)
    contract = contract_of(config)
    source = ServableVersion(
        contract, model, part.test_features, part.train_features, {}, "d" * 64, lambda: translate(model, contract)
    )
    return config, source, part


def statistics() -> dict[str, Any]:
    answered = np.tile([0.5, 0.5], (len(SEEN), 1))
    features: dict[str, Any] = reference_document(CONTRACT, SEEN, answered, {}, "")["features"]
    return features


def people(documents: ExportDocuments) -> set[tuple[Any, ...]]:
    return {tuple(row.values()) for row in documents.files["expected.json"]["rows"]}


def test_families_with_approvals_keep_their_rows_unless_told_otherwise() -> None:
    """Governed is generated; anybody else says so, and a governed family may say otherwise."""
    configs = {name: load_config(REPOSITORY / "config", name) for name in ("alzheimer_classifier", "heart-disease")}

    assert {"alzheimer_classifier": True, "heart-disease": False} == {
        name: config.exports_generated_rows for name, config in configs.items()
    }
    for rows, expected in (("generated", True), ("held-out", False)):
        for config in configs.values():
            stated = config.model_copy(update={"export": ExportRules.model_validate({"rows": rows})})
            assert expected is stated.exports_generated_rows


@pytest.mark.system
def test_no_stored_row_is_anybodys(heart: tuple[FamilyConfig, ServableVersion, Partition]) -> None:
    """Twenty rows the server takes, none of which is in the data; without the rule all but the emptied one are."""
    _, source, part = heart
    everybody = pd.concat([part.train_features, part.test_features])
    real = {tuple(None if pd.isna(cell) else cell for cell in row) for row in everybody.itertuples(index=False)}

    kept, ours = documents_of(source, generated=False), documents_of(source, generated=True)

    assert 19 == len(people(kept) & real)
    assert set() == people(ours) & real
    assert 20 == len(ours.files["expected.json"]["rows"])
    assert {0, 1} == set(ours.files["expected.json"]["labels"])
    assert ["held-out", "generated"] == [found.files["expected.json"]["origin"] for found in (kept, ours)]
    assert kept.origin.startswith("20 rows of the family's data (")
    assert "20 generated rows, which are nobody's" == ours.origin
    schema = Schema.model_validate(ours.files["schema.json"])
    RowReader(schema, 20).from_rows(ours.files["expected.json"]["rows"])


def test_statistics_keep_nothing_that_one_row_gave() -> None:
    """No smallest, no largest, no text of one's own; the counts and inner edges that drift is measured by stay."""
    before, after = statistics(), shared_statistics(CONTRACT, statistics())

    assert {"Bern": 20, "Ulm": 9} == after["town"]["texts"]
    assert 1 == after["town"]["others"]
    for name in ("age", "visits"):
        assert before[name]["counts"] == after[name]["counts"]
        assert before[name]["edges"][1:-1] == after[name]["edges"][1:-1]
        assert set() == {after[name]["edges"][0], after[name]["edges"][-1]} & set(SEEN[name])
        assert sorted(after[name]["edges"]) == after[name]["edges"]
        assert [None, None] == [after[name]["minimum"], after[name]["maximum"]]
    assert (18, 110) == (after["age"]["edges"][0], after["age"]["edges"][-1])
    assert before["plan"] == after["plan"]
    assert 97 == before["age"]["maximum"]


def test_rows_are_inside_the_contract_and_of_the_models_types() -> None:
    """Every kind of column, one of them never filled; the same rows each time, and of the middle of the data."""
    features = shared_statistics(CONTRACT, statistics())

    rows = generated_rows(CONTRACT, features, SEEN, 500)

    assert rows.equals(generated_rows(CONTRACT, features, SEEN, 500))
    assert SEEN.dtypes.to_dict() == rows.dtypes.to_dict()
    assert rows["age"].between(33, 97).all()
    assert 400 < rows["age"].nunique()
    assert rows["visits"].between(0, 40).all()
    assert {1.0, 2.0} == set(rows["plan"])
    assert {True, False} == set(rows["active"])
    assert {"Bern", "Ulm"} == set(rows["town"])
    assert rows["gone"].isna().all()
    assert (rows["age"] == rows["age"].astype(np.float32)).all()


@pytest.mark.parametrize(
    ("rules", "found", "expected"),
    [
        (FeatureRules("text"), {"texts": {}, "others": 9}, {"generated"}),
        (FeatureRules("number", minimum=2.5), {"edges": [], "counts": []}, {2.5}),
        (FeatureRules("number"), {"edges": [7.0, 7.0], "counts": [30]}, {7.0}),
        (FeatureRules("integer", minimum=0.5, maximum=1.5), {"edges": [0.0, 9.0], "counts": [4]}, {1}),
        (FeatureRules("number", maximum=0.1), {"edges": [0.1, 0.2], "counts": [4]}, {0.1}),
        (FeatureRules("code", codes=[1234567, 2]), {"codes": {"1.23457e+06": 8}}, {1234567}),
        (FeatureRules("number"), {"edges": [0.0, 1.0, 2.0, 3.0], "counts": [5, 0, 5]}, None),
    ],
)
def test_columns_that_say_little(rules: FeatureRules, found: dict[str, Any], expected: set[Any] | None) -> None:
    """One text a row, no value at all, one value, bounds between whole numbers, a float that rounds past its bound."""
    kind = object if rules.type == "text" else float
    contract = Contract("x", {"it": rules}, "y", [], frozenset({"it"}), "")

    rows = generated_rows(contract, {"it": found}, pd.DataFrame({"it": pd.Series([], dtype=kind)}), 50)["it"]

    assert set(rows) == expected if expected else rows.map(math.isfinite).all()


@pytest.mark.system
def test_the_translation_is_proven_on_real_rows_all_the_same(
    heart: tuple[FamilyConfig, ServableVersion, Partition], tmp_path: Path
) -> None:
    """A graph that is right about every generated row and wrong about a real one is not exported."""
    _, source, _ = heart
    documents = documents_of(source, generated=True)
    _engine, parity = _write_engine(tmp_path, tmp_path, source, documents, "onnx")
    assert parity is not None
    assert 122 == parity.rows

    class WrongAboutRealRows:
        def predict_proba(self, rows: pd.DataFrame) -> Any:
            answered = source.model.predict_proba(rows)
            return answered if documents.generated is not None and rows.equals(documents.generated) else 1 - answered

        def predict(self, rows: pd.DataFrame) -> Any:
            return self.predict_proba(rows).argmax(axis=1)

    wrong = ServableVersion(
        source.contract, WrongAboutRealRows(), source.rows, source.learned, {}, "d" * 64, source.graph
    )
    with pytest.raises(GateRefused, match="row"):
        _write_engine(tmp_path, tmp_path, wrong, documents, "onnx")


@pytest.mark.system
def test_the_registered_files_go_without_their_example(
    heart: tuple[FamilyConfig, ServableVersion, Partition], tmp_path: Path
) -> None:
    """MLflow's input example is rows of the training data; it stays behind where a family may not show any."""
    _, source, _ = heart
    files = tmp_path / "files"
    files.mkdir()
    for name in ("MLmodel", "model.skops", "input_example.json", "serving_input_example.json"):
        (files / name).write_text(json.dumps(name))

    kept: dict[bool, list[str]] = {}
    for generated in (False, True):
        folder = tmp_path / str(generated)
        folder.mkdir()
        _write_engine(files, folder, source, documents_of(source, generated=generated), "native")
        kept[generated] = sorted(path.name for path in (folder / "model").iterdir())

    assert ["MLmodel", "model.skops"] == kept[True]
    assert 4 == len(kept[False])
