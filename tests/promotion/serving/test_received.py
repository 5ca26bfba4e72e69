"""A served version that was trained elsewhere: texts and booleans go in, the model's own words or a number come out."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.promotion.evaluation.received.made import FEATURES, LinearRegression, customers, fitted
from tests.promotion.factories import a_manifest, seal_unsigned
from tests.promotion.serving.conftest import Serve
from tests.promotion.serving.exporting import write

from promotion.evaluation.received.translation import graph_of
from promotion.export.contract import CellType, Contract, FeatureRules
from promotion.export.documents import expected_document, schema_document
from promotion.export.onnx import served_graph
from promotion.serving.errors import ExportRefused
from promotion.serving.exported.folder import read_export
from promotion.serving.exported.model import open_model
from promotion.serving.exported.rows import RowReader, held_bytes

TYPES: list[CellType] = ["integer", "text", "boolean", "number", "integer"]


class ByPosition:
    """A pipeline whose classes are positions."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline

    def predict(self, rows: Any) -> Any:
        """Position of the class."""
        return self.predict_proba(rows).argmax(axis=1)

    def predict_proba(self, rows: Any) -> Any:
        """As the pipeline."""
        return self._pipeline.predict_proba(rows)


def exported(folder: Path, *, task: str) -> tuple[Path, Any]:
    """An export of a pipeline of texts, booleans and numbers; with the pipeline."""
    is_number = task == "regression"
    pipeline = fitted(last=LinearRegression(), target="paid") if is_number else fitted()
    rules = {name: FeatureRules(kind) for name, kind in zip(FEATURES, TYPES, strict=True)}
    contract = Contract(
        family="churn",
        columns=rules,
        target="paid" if is_number else "churned",
        classes=() if is_number else ("no", "yes"),
        numeric=frozenset({"age", "spent", "visits"}),
        instead="",
        answers=None if is_number else ["no", "yes"],
    )
    folder.mkdir()
    columns = [(name, name in contract.texts) for name in contract.features]
    graph = graph_of(pipeline, columns, "churn", precise=not is_number)  # in 64 bits and in 32
    (folder / "model.onnx").write_bytes(served_graph(graph, contract))
    asked = pipeline if is_number else ByPosition(pipeline)
    write(folder / "schema.json", schema_document(contract))
    write(folder / "expected.json", expected_document(contract, asked, customers()[FEATURES], 5))
    seal_unsigned(folder, a_manifest(task=task))
    return folder, pipeline


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Two classes that are words."""
    return exported(tmp_path_factory.mktemp("served") / "classes", task="binary-classification")


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A regression."""
    return exported(tmp_path_factory.mktemp("served") / "numbers", task="regression")


def test_words_go_in_and_come_out(serve: Serve, classes: tuple[Path, Any]) -> None:
    """Typed rows get the label's text; MLflow's clients what the registered model itself would say."""
    folder, pipeline = classes
    rows, server = customers()[FEATURES].head(40), serve(folder)
    sent = json.loads(rows.to_json(orient="records"))

    typed = server.post("/predict", {"rows": sent}).json()["predictions"]
    told = server.post("/invocations", {"dataframe_records": sent}).json()["predictions"]
    split = server.post("/invocations", {"dataframe_split": json.loads(rows.to_json(orient="split"))}).json()
    table = {"Content-Type": "text/csv"}
    comma = server.post("/invocations", rows.to_csv(index=False), **table).json()["predictions"]

    assert pipeline.predict(rows).tolist() == [answer["label"] for answer in typed] == told == comma
    assert told == split["predictions"]
    found = [answer["probabilities"]["yes"] for answer in typed]
    np.testing.assert_allclose(found, pipeline.predict_proba(rows)[:, 1], atol=1e-5)


def test_people_read_the_names_that_the_family_gives(serve: Serve, classes: tuple[Path, Any], tmp_path: Path) -> None:
    """At the root, in the documents and in answers; MLflow's clients get the values all the same."""
    folder = shutil.copytree(classes[0], tmp_path / "named")
    write(folder / "schema.json", json.loads((folder / "schema.json").read_text()) | {"labels": ["stays", "leaves"]})
    seal_unsigned(folder, a_manifest())
    server, row = serve(folder), json.loads(customers()[FEATURES].head(1).to_json(orient="records"))[0]
    described = server.get("/openapi.json").json()
    told = described["paths"]["/invocations"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]

    assert ["stays", "leaves"] == server.get("/").json()["classes"]
    assert "predicts churned: stays or leaves." in described["info"]["description"]
    assert "no is stays, yes is leaves" in told["properties"]["predictions"]["items"]["description"]
    asked = described["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]["anyOf"][0]
    assert 1e38 < asked["properties"]["spent"]["maximum"] == -asked["properties"]["spent"]["minimum"] < 1e39
    assert {"stays", "leaves"} == server.post("/predict", row).json()["predictions"][0]["probabilities"].keys()
    assert server.post("/invocations", {"instances": [row]}).json()["predictions"][0] in {"no", "yes"}


@pytest.mark.parametrize("value", ["true", "t", "yes", "1", "", 2, 0.5, None, [True]])
def test_no_text_is_a_boolean(value: object, serve: Serve, classes: tuple[Path, Any]) -> None:
    """As the documents say; 0 and 1 are. MLflow's clients may send texts."""
    server, row = serve(classes[0]), json.loads(customers()[FEATURES].head(1).to_json(orient="records"))[0]
    asked = server.get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"]["content"]
    described = asked["application/json"]["schema"]["anyOf"][0]["properties"]["is_member"]
    answer = server.post("/predict", row | {"is_member": value})
    taken = server.post("/invocations", {"instances": [row | {"is_member": value}]}).status_code

    assert (["boolean", "integer"], [True, False, 0, 1]) == (described["type"], described["enum"])
    assert (422, "is_member") == (answer.status_code, answer.json()["problems"][0]["field"])
    assert (200 == taken) == (isinstance(value, str) and bool(value))


def test_a_boolean_may_be_a_number(serve: Serve, classes: tuple[Path, Any]) -> None:
    """One row or many."""
    server, row = serve(classes[0]), json.loads(customers()[FEATURES].head(1).to_json(orient="records"))[0]
    told = [
        server.post("/predict", {"rows": [row | {"is_member": value}] * count}).json()["predictions"][0]
        for value in (True, 1, 1.0)
        for count in (1, 50)
    ]

    found = [answer["probability"] for answer in told]
    np.testing.assert_allclose(found, found[0], atol=1e-6)


def test_a_tensor_of_texts(serve: Serve, classes: tuple[Path, Any]) -> None:
    """BYTES and BOOL of the Open Inference Protocol, and the model's description says so."""
    folder, pipeline = classes
    rows, server = customers()[FEATURES].head(3), serve(folder)
    kinds = {"plan": "BYTES", "is_member": "BOOL", "spent": "FP64"}
    inputs = [
        {"name": name, "shape": [3], "datatype": kinds.get(name, "INT64"), "data": rows[name].tolist()}
        for name in rows.columns
    ]
    answer = server.post("/v2/models/churn/infer", {"inputs": inputs}).json()["outputs"]
    described = server.get("/v2/models/churn").json()["inputs"]
    packed = {
        name: b"".join(len(text).to_bytes(4, "little") + text.encode() for text in values)
        if kinds.get(str(name)) == "BYTES"
        else np.array(values, dtype={"BOOL": "?", "FP64": "<f8"}.get(kinds.get(str(name), ""), "<i8")).tobytes()
        for name, values in rows.to_dict(orient="list").items()
    }
    behind = [
        {
            **{key: it[key] for key in ("name", "shape", "datatype")},
            "parameters": {"binary_data_size": len(packed[it["name"]])},
        }
        for it in inputs
    ]
    head = json.dumps({"inputs": behind}).encode()
    sent = b"".join([head, *packed.values()])
    length = {"Inference-Header-Content-Length": str(len(head))}
    assert answer == server.post("/v2/models/churn/infer", sent, **length).json()["outputs"]
    texts = packed["plan"]
    for changed in (b"\xff" + texts[1:], texts[:-1] + b"\xff"):
        wrong = sent.replace(texts, changed)
        assert 400 == server.post("/v2/models/churn/infer", wrong, **length).status_code

    assert [["no", "yes"][place] for place in answer[0]["data"]] == pipeline.predict(rows).tolist()
    assert ["INT64", "BYTES", "BOOL", "FP32", "INT64"] == [item["datatype"] for item in described]


def test_a_number_comes_out(serve: Serve, numbers: tuple[Path, Any], tmp_path: Path) -> None:
    """In every protocol, and into the log."""
    folder, pipeline = numbers
    log = tmp_path / "predictions.jsonl"
    rows, server = customers()[FEATURES].head(4), serve(folder, PREDICTION_LOG=str(log))
    sent, wanted = json.loads(rows.to_json(orient="records")), pipeline.predict(rows)

    typed = server.post("/predict", {"rows": sent}).json()["predictions"]
    told = server.post("/invocations", {"dataframe_records": sent}).json()["predictions"]
    inputs = [
        {
            "name": name,
            "shape": [4],
            "datatype": {"plan": "BYTES", "is_member": "BOOL"}.get(name, "FP64"),
            "data": rows[name].tolist(),
        }
        for name in rows.columns
    ]
    tensor = server.post("/v2/models/churn/infer", {"inputs": inputs}).json()["outputs"]

    for found in ([answer["value"] for answer in typed], told, tensor[0]["data"]):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert ["value"] == [item["name"] for item in tensor]
    assert 'predictions_total{label="value"' in server.get("/metrics").text
    server.answering.close()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    np.testing.assert_allclose([line["prediction"] for line in lines[:4]], wanted, rtol=1e-5)
    assert sent[0]["plan"] == lines[0]["features"]["plan"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"plan": 3}, "row 0: plan is 3; allowed: a text"),
        ({"plan": None}, "row 0: plan is None; allowed: a text"),
        ({"is_member": "perhaps"}, "row 0: is_member is 'perhaps'; allowed: true or false"),
        ({"age": "old"}, "row 0: age is 'old'; allowed: a whole number"),
        ({"age": 2.6e-42}, "row 0: age is 2.6e-42; allowed: a whole number"),
        ({"spent": 1e100}, "row 0: spent is 1e+100; allowed: a number"),
    ],
)
def test_another_cell_is_refused(serve: Serve, classes: tuple[Path, Any], change: Any, said: str) -> None:
    """With what is allowed."""
    row = json.loads(customers()[FEATURES].head(1).to_json(orient="records"))[0]
    answer = serve(classes[0]).post("/predict", row | change)

    assert 422 == answer.status_code
    assert said in answer.json()["error"]


def test_a_text_costs_its_own_length(classes: tuple[Path, Any]) -> None:
    """One long text among many rows takes no more memory than it has characters; it counts where rows wait."""
    export = read_export(classes[0])
    rows = [dict(export.expected.rows[0]) for _ in range(2000)]
    short = RowReader(export.data_schema, len(rows)).from_rows(rows)
    rows[7]["plan"] = "x" * 100_000
    matrix = RowReader(export.data_schema, len(rows)).from_rows(rows)
    model = open_model(export, "champion")
    tracemalloc.start()
    model.predict(matrix)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 10_000_000
    assert 99_000 < held_bytes(matrix) - held_bytes(short) < 101_000


def test_another_number_at_the_start_is_refused(numbers: tuple[Path, Any], tmp_path: Path) -> None:
    """Nothing is served that computes otherwise here."""
    folder = shutil.copytree(numbers[0], tmp_path / "changed")
    document = json.loads((folder / "expected.json").read_text())
    document["values"][0] += 1
    write(folder / "expected.json", document)
    seal_unsigned(folder, a_manifest(task="regression"))
    with pytest.raises(ExportRefused, match="answers differently here"):
        open_model(read_export(folder), "champion")
