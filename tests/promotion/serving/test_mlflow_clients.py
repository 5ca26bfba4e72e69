"""`/invocations` as clients of `mlflow models serve` use it: what that server takes is taken, errors look as there."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
from tests.promotion.serving import exporting
from tests.promotion.serving.conftest import Fitted, Served
from tests.promotion.serving.requests_by_protocol import Row, classes

CSV = {"Content-Type": "text/csv"}
JSON = "application/json"


@pytest.fixture
def table(linear: Fitted) -> pd.DataFrame:
    """Held-out rows, none of which misses a value."""
    return linear.rows.dropna().head(5)


def _split(frame: pd.DataFrame) -> dict[str, Any]:
    return json.loads(frame.to_json(orient="split"))  # type: ignore[no-any-return]


FORMS: dict[str, Any] = {
    "dataframe_split": _split,
    "dataframe_records": lambda frame: frame.to_dict(orient="records"),
    "instances": lambda frame: frame.to_dict(orient="records"),
    "inputs": lambda frame: frame.to_dict(orient="list"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.assign(weight=80, note="x"),
        lambda table: table.astype(str),
        lambda table: table.assign(age=table["age"].map("{:.0f}".format)),
        lambda table: table.assign(sex=table["sex"].astype(bool), fbs=table["fbs"].astype(bool)),
    ],
    ids=["more columns", "all texts", "a text", "booleans"],
)
def test_values_and_columns_are_taken_as_there(
    form: str, change: Any, server: Served, linear: Fitted, table: pd.DataFrame
) -> None:
    """Columns that the model lacks are ignored; texts that are numbers and booleans are numbers."""
    answer = server.post("/invocations", {form: FORMS[form](change(table))})

    assert 200 == answer.status_code, answer.text
    assert linear.pipeline.predict(table).tolist() == classes(answer)


@pytest.mark.parametrize("form", ["dataframe_records", "instances", "inputs"])
def test_one_object_is_one_row(form: str, server: Served, row: Row) -> None:
    """With the values as they are."""
    assert 1 == len(classes(server.post("/invocations", {form: row})))


@pytest.mark.parametrize("more", [{"params": {"temperature": 1}}, {"params": None}, {"signature_name": "x"}])
def test_what_the_model_does_not_use_is_ignored(more: Row, server: Served, row: Row) -> None:
    """Parameters, and keys nobody knows."""
    assert 200 == server.post("/invocations", {"instances": [row], **more}).status_code


def test_a_table_without_names_is_in_the_models_order(server: Served, linear: Fitted, table: pd.DataFrame) -> None:
    """As pandas writes a split of bare numbers."""
    answer = server.post("/invocations", {"dataframe_split": {"data": table.to_numpy().tolist()}})

    assert linear.pipeline.predict(table).tolist() == classes(answer)


@pytest.mark.parametrize("path", ["/invocations", "/predict"])
def test_a_byte_order_mark_is_no_content(path: str, server: Served, row: Row) -> None:
    """Before JSON as before CSV."""
    body = {"/invocations": {"instances": [row]}, "/predict": row}[path]

    assert 200 == server.post(path, b"\xef\xbb\xbf" + json.dumps(body).encode(), **{"Content-Type": JSON}).status_code


def test_csv_may_have_an_index(server: Served, linear: Fitted, table: pd.DataFrame) -> None:
    """The first column of `to_csv` has no name; other columns that the model lacks are ignored as well."""
    wanted = linear.pipeline.predict(table).tolist()

    assert wanted == classes(server.post("/invocations", table.to_csv(), **CSV))
    assert wanted == classes(server.post("/invocations", table.assign(note="a,b").to_csv(), **CSV))
    assert wanted == classes(server.post("/invocations", "\ufeff" + table.to_csv(lineterminator="\r\n"), **CSV))


@pytest.mark.parametrize("word", ["", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "<NA>", "#N/A"])
def test_pandas_words_for_missing(word: str, server: Served, linear: Fitted) -> None:
    """An empty cell in each of them; where nothing may be missing it is refused by the contract."""
    rows = linear.rows.head(5).assign(thal=float("nan"))
    body = rows.to_csv(index=False, na_rep=word)
    aged = rows.assign(age=float("nan")).to_csv(index=False, na_rep=word)

    assert linear.pipeline.predict(rows).tolist() == classes(server.post("/invocations", body, **CSV))
    assert 422 == server.post("/invocations", aged, **CSV).status_code


NOT_TAKEN: list[tuple[str, str, int, str, str]] = [
    ("this is,,,, not valid json", JSON, 400, "BAD_REQUEST", "not JSON"),
    ("1", JSON, 400, "BAD_REQUEST", "not a JSON object"),
    ('"1"', JSON, 400, "BAD_REQUEST", "not a JSON object"),
    ("[1]", JSON, 400, "BAD_REQUEST", "not a JSON object"),
    ('{"not": "a serialized dataframe"}', JSON, 400, "BAD_REQUEST", "exactly one of"),
    ('{"dataframe_records": [], "dataframe_split": {"data": []}}', JSON, 400, "BAD_REQUEST", "exactly one of"),
    ('{"dataframe_records": {"index": [0], "data": [[1]]}}', JSON, 400, "BAD_REQUEST", "not a list of rows"),
    ('{"dataframe_split": [{"age": 1}]}', JSON, 400, "BAD_REQUEST", "needs data"),
    ('{"dataframe_split": {"index": [1, 2], "data": [[1], [2], [3]]}}', JSON, 400, "BAD_REQUEST", "2 values in index"),
    ('{"dataframe_split": {"columns": ["0"], "data": [[0], [1]]}}', JSON, 400, "BAD_REQUEST", "age is missing"),
    ('{"instances": [{"age": "old"}]}', JSON, 400, "BAD_REQUEST", "row 0"),
    ("", "text/csv", 400, "BAD_REQUEST", "empty"),
    ("a,b\n1", "text/csv", 400, "BAD_REQUEST", "1 values for 2 columns"),
    ("{}", "not_a_supported_content_type", 415, "BAD_REQUEST", "application/json"),
    ("{}", "application/json; something=something", 415, "BAD_REQUEST", "charset=utf-8"),
    ("{}", "application/json; charset=utf-16", 415, "BAD_REQUEST", "charset=utf-8"),
]


@pytest.mark.parametrize(("body", "kind", "status", "code", "said"), NOT_TAKEN)
def test_errors_have_mlflows_form(body: str, kind: str, status: int, code: str, said: str, server: Served) -> None:
    """`error_code` and `message`, with the status that MLflow's server has for the same request."""
    answer = server.post("/invocations", body.encode(), **{"Content-Type": kind})
    content = answer.json()

    assert (status, code) == (answer.status_code, content["error_code"])
    assert said in content["message"]
    assert {"error", "problems", "request_id"} <= content.keys()


def test_what_only_the_contract_refuses_is_told_apart(server: Served, row: Row) -> None:
    """422: MLflow would have scored it."""
    answer = server.post("/invocations", {"instances": [{**row, "cp": 0}]})

    assert (422, "INVALID_PARAMETER_VALUE") == (answer.status_code, answer.json()["error_code"])
    assert "error_code" not in server.post("/predict", {**row, "cp": 0}).json()


@pytest.mark.parametrize(
    "kind", ["application/json; charset=UTF-8", 'application/json;charset="utf-8"', "", "application/json;"]
)
def test_utf_8_may_be_said(kind: str, server: Served, row: Row) -> None:
    """In any of the ways in which clients say it."""
    body = json.dumps({"instances": [row]}).encode()

    assert 200 == server.post("/invocations", body, **{"Content-Type": kind}).status_code


def test_the_version_is_text_for_who_takes_text_only(server: Served) -> None:
    """And JSON for everybody else."""
    assert "3" == server.get("/version", Accept="text/plain").text
    assert all(
        3 == server.get("/version", Accept=accept).json()["version"] for accept in ("*/*", "text/plain, */*", "")
    )


def test_many_rows_are_as_lenient_as_few(server: Served, linear: Fitted, row: Row) -> None:
    """One text among numbers that are otherwise taken all at once."""
    rows = exporting.records(linear.rows.dropna().head(1)) * 80
    rows[70] = {**row, "age": "63", "note": "x"}

    assert 80 == len(classes(server.post("/invocations", {"dataframe_records": rows})))
