"""Columns may have any name: what stands in a file's header is what requests, logs and messages say."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.promotion.houses import renamed

from models.training.candidates import build_pipeline
from models.training.plots import draw_importance
from promotion.config.training import Column
from promotion.data.datasets import checked_features, load_dataset, split_dataset
from promotion.evaluation.signature import data_problems
from promotion.export.contract import contract_of
from promotion.export.documents import emptied, reference_document, schema_document
from promotion.export.onnx import prove, translate
from promotion.monitoring.finding import Finding
from promotion.prediction.inputs import FileRows
from promotion.serving.exported.folder import Schema
from promotion.serving.exported.rows import RowReader, iterate_rows
from promotion.serving.protocols.inference import DATATYPE_OF, InferenceProtocol
from promotion.serving.protocols.mlflow import MlflowProtocol

ODD = (
    *("self", "class", "lambda", "row", "Row", "key", "label", "value", "model/x", "fed/columns", "prediction"),
    *("1", "1.5", "0x1", "None", "nan", "NA", "true", "yes", "~", "-", "a.b", "a: b", "a,b", "a|b", "50 %", "%s"),
    *(
        "$x_$",
        "it's",
        'a "quote"',
        "living area (m²) / %",
        "two  blanks",
        "two blanks",
        "日本",
        "😀",
        "a\\b",
        "x" * 140,
    ),
)
NAMES = st.lists(
    st.one_of(st.sampled_from(ODD), st.text("aAé日😀 /-.%:,;'\"`|$#{}[]<>&\\_1", min_size=1, max_size=9)),
    min_size=8,
    max_size=8,
    unique=True,
)


@pytest.mark.system
@settings(max_examples=12, deadline=None, derandomize=True)
@given(NAMES)
def test_any_name_is_read_alike_at_every_door(names: list[str]) -> None:
    """The same cells in a file and by every protocol, and each column is known to the monitor."""
    with TemporaryDirectory() as folder:
        home = Path(folder)
        config, cells = renamed(names, home)
        dataset = load_dataset(config, home)
        assert names[:-1] == list(dataset.features) == config.features
        pd.testing.assert_frame_equal(
            checked_features(config, cells.drop(columns=names[-1]), home / "rows.csv"), dataset.features
        )
        contract = contract_of(config)
        schema = Schema.model_validate(schema_document(contract))
        reader = RowReader(schema, 10)
        row = dict(zip(names, [70.5, 1, "loft", "north", True, None, "1972-02-29"], strict=False))
        matrix = reader.from_json(json.dumps(row).encode())
        text = io.StringIO()
        csv.writer(text).writerows([row, ["" if cell is None else cell for cell in row.values()]])
        protocol, json_type = MlflowProtocol(reader), {"content-type": "application/json"}
        kinds = [DATATYPE_OF.get(feature.type, "FP64") for feature in schema.features]
        tensors = [
            {"name": name, "shape": [1], "datatype": kind, "data": [cell]}
            for (name, cell), kind in zip(row.items(), kinds, strict=True)
        ]
        for asked in (
            protocol.read(text.getvalue().encode(), {"content-type": "text/csv"}),
            protocol.read(json.dumps({"dataframe_records": [row]}).encode(), json_type),
            InferenceProtocol(reader).read(json.dumps({"inputs": tensors}).encode(), json_type),
        ):
            assert list(iterate_rows(asked.matrix, schema.names)) == list(iterate_rows(matrix, schema.names))
        document = reference_document(contract, dataset.features, dataset.target, {}, "0")
        assert set(names[:-1]) == document["features"].keys()


def test_a_finding_without_data_says_why_whatever_its_column_is_called() -> None:
    """A name may have a colon; what follows the name is the reason."""
    since = pd.Timestamp(0, tz="UTC").to_pydatetime()
    finding = Finding("drift:a: b", None, "", None, None, None, since, 0, "drift of a: b: not enough data, no rows")
    assert "not enough data, no rows" == finding.reason


def test_an_identifier_may_be_called_as_the_answers_are(tmp_path: Path) -> None:
    """It stands beside them under a name of its own."""
    config, cells = renamed([*ODD[:7], "target"], tmp_path)
    columns = {"row": Column(type="identifier"), **{f"f{name}": it for name, it in config.data.columns.items()}}
    config = config.model_copy(update={"data": config.data.model_copy(update={"columns": columns})})
    config = config.model_copy(update={"target": config.target.model_copy(update={"column": "ftarget"})})
    cells.rename(columns=lambda name: f"f{name}").assign(row=range(120)).to_csv(tmp_path / "rows.csv", index=False)
    asked = next(FileRows(config, tmp_path / "rows.csv").chunks(None))
    assert ["row", "row (of the file)"] == list(asked.shown)


@pytest.mark.system
@pytest.mark.parametrize("start", range(0, len(ODD) - 7, 7))
def test_any_name_is_learned_drawn_and_translated(tmp_path: Path, start: int) -> None:
    """A model of such columns answers as its graph does, and its pictures name them."""
    names = [*ODD[start : start + 7], "target"]
    config, _ = renamed(names, tmp_path, 200)
    dataset = load_dataset(config, tmp_path)
    assert [] == data_problems(config, tmp_path)
    part = split_dataset(dataset, config)
    model = build_pipeline(config, "ridge").fit(part.train_features, part.train_target)
    contract = contract_of(config)
    rows = pd.concat([part.test_features, emptied(contract, part.test_features)], ignore_index=True)
    assert len(rows) == prove(translate(model, contract), model, contract, rows).rows
    assert draw_importance("title", names, np.ones((8, 3)), "rmse").startswith(b"\x89PNG")
