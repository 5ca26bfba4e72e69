"""One model, one contract, three protocols: the same rows get the same answers and the same refusals."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from tests.promotion.serving import exporting
from tests.promotion.serving.conftest import Fitted, Serve, Served, _fitted
from tests.promotion.serving.requests_by_protocol import (
    MANY,
    MLFLOW,
    Row,
    Send,
    binary,
    classes,
    comma_separated,
    inference,
    matrix,
    positions,
    predict,
    predict_one,
    records,
)


@pytest.mark.parametrize("send", MANY, ids=lambda send: send.__name__)
def test_every_protocol_answers_as_the_pipeline(send: Send, server: Served, linear: Fitted) -> None:
    """Raw UCI codes and missing values go in; the classes are those of the fitted scikit-learn pipeline."""
    response = send(server, exporting.records(linear.rows))

    assert 200 == response.status_code, response.text
    assert linear.pipeline.predict(linear.rows).tolist() == classes(response)
    assert "3" == response.headers["X-Model-Version"]
    assert "champion" == response.headers["X-Model-Role"]


@pytest.mark.parametrize("name", ["linear", "forest", "native"])
@pytest.mark.system
def test_probabilities_are_the_pipelines(name: str, serve: Serve, request: pytest.FixtureRequest) -> None:
    """On every held-out row, for linear models, trees and models that are not converted."""
    fitted: Fitted = request.getfixturevalue(name)
    served = serve(fitted.folder)
    answers = predict(served, exporting.records(fitted.rows)).json()["predictions"]
    tensors = inference(served, exporting.records(fitted.rows)).json()["outputs"][1]
    wanted = fitted.pipeline.predict_proba(fitted.rows)

    np.testing.assert_allclose([list(answer["probabilities"].values()) for answer in answers], wanted, atol=1e-5)
    np.testing.assert_allclose([answer["probability"] for answer in answers], wanted[:, 1], atol=1e-5)
    np.testing.assert_allclose(np.reshape(tensors["data"], tensors["shape"]), wanted, atol=1e-5)


@pytest.mark.system
def test_several_classes_have_labels(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Iris: the label's text, its position, and the probability of the predicted class."""
    iris = _fitted(tmp_path_factory, "iris-classifier", "random_forest", model="iris-classifier")
    rows = exporting.records(iris.rows)
    answers = predict(serve(iris.folder), rows).json()["predictions"]
    wanted = iris.pipeline.predict_proba(iris.rows)

    names = ["setosa", "versicolor", "virginica"]
    assert [names[position] for position in wanted.argmax(axis=1)] == [answer["label"] for answer in answers]
    np.testing.assert_allclose([answer["probability"] for answer in answers], wanted.max(axis=1), atol=1e-5)
    assert names == list(answers[0]["probabilities"])


def test_one_row_is_an_object(server: Served, row: Row) -> None:
    """The answer says which version of which model gave it, and the request's identifier."""
    answer = predict_one(server, [row]).json()

    prediction = answer.pop("predictions")[0]
    assert {"label", "class", "probability", "probabilities"} == prediction.keys()
    assert {
        "family": "heart-disease",
        "model": "heart-disease-logistic_regression",
        "version": 3,
        "role": "champion",
        "request_id": answer["request_id"],
    } == answer


NUMBERS = [
    ("cp", 0, "1, 2, 3 or 4"),
    ("cp", 1.5, "1, 2, 3 or 4"),
    ("thal", 4, "3, 6 or 7, or null"),
    ("age", 0, "a whole number from 1 to 120 years"),
    ("age", 121, "a whole number from 1 to 120 years"),
    ("age", 63.5, "a whole number from 1 to 120 years"),
    ("age", 63.00000001, "a whole number from 1 to 120 years"),
    ("oldpeak", -0.1, "a number from 0 to 10 mm"),
]


@pytest.mark.parametrize("send", MANY, ids=lambda send: send.__name__)
@pytest.mark.parametrize(("field", "value", "allowed"), NUMBERS)
def test_a_number_that_is_not_allowed_is_named(
    send: Send, field: str, value: float, allowed: str, server: Served, row: Row
) -> None:
    """422 with the row, the field, what was sent and what the contract takes."""
    response = send(server, [row, {**row, field: value}])
    problem = response.json()["problems"][0]

    assert 422 == response.status_code, response.text
    assert (1, field, value, allowed) == (problem["row"], problem["field"], problem["value"], problem["allowed"])


OTHERS: list[tuple[str, object, str]] = [
    ("age", None, "a whole number from 1 to 120 years"),
    ("age", "sixty", "a whole number from 1 to 120 years"),
    ("sex", True, "0 or 1"),
    ("age", [1, 2], "a whole number from 1 to 120 years"),
    ("age", {}, "a whole number from 1 to 120 years"),
    ("chol", 10**400, "a whole number from 80 to 700 mg/dl"),
]


@pytest.mark.parametrize("send", [send for send in MANY if send is not binary], ids=lambda send: send.__name__)
@pytest.mark.parametrize(
    ("field", "value", "allowed"), OTHERS, ids=["null", "text", "boolean", "list", "object", "huge"]
)
def test_what_is_no_number_is_named(
    send: Send, field: str, value: object, allowed: str, server: Served, row: Row
) -> None:
    """Text, lists, numbers beyond all measure, and mostly booleans are not converted; nothing of the server leaks."""
    response = send(server, [row, {**row, field: value}])
    if value is True and send in MLFLOW and send is not comma_separated:
        assert 200 == response.status_code, response.text
        return
    problem = response.json()["problems"][0]

    # In CSV the number beyond all measure is infinity, which is a number.
    ours = send not in MLFLOW or value is None or (send is comma_separated and field == "chol")
    assert (422 if ours else 400) == response.status_code, response.text
    assert (1, field, allowed) == (problem["row"], problem["field"], problem["allowed"])
    assert not {"Traceback", "pydantic", "numpy"} & set(response.text.split())
    assert 1000 > len(response.text)


@pytest.mark.parametrize("send", [predict, predict_one, inference, matrix], ids=lambda send: send.__name__)
@pytest.mark.parametrize("value", ["63", True])
def test_what_could_be_converted_is_not(send: Send, value: object, server: Served, row: Row) -> None:
    """A number as text, or true for one, is a mistake of the client's that nobody shall guess about."""
    assert 422 == send(server, [{**row, "age": value}]).status_code


def test_the_contracts_advice_is_passed_on(server: Served, row: Row) -> None:
    """Who sends Kaggle's recoding of `cp` is told so."""
    assert "Kaggle's recoding" in predict(server, [{**row, "cp": 0}]).json()["error"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(number: str, server: Served, row: Row) -> None:
    """Python's JSON writes NaN and Infinity; a typed row takes neither, even where a value may be missing."""
    body = json.dumps({**row, "thal": 123456}).replace("123456", number)
    response = server.post("/predict", body)

    assert 422 == response.status_code
    assert "thal" == response.json()["problems"][0]["field"]


@pytest.mark.system
def test_large_batches_are_read_by_the_same_rules(serve: Serve, linear: Fitted) -> None:
    """Columns that numpy accepts at once: the same classes, and a bad value deep inside is named all the same."""
    served = serve(linear.folder)
    rows = exporting.records(linear.rows) * 10
    wanted = linear.pipeline.predict(linear.rows).tolist() * 10
    for send in MANY:
        assert wanted == classes(send(served, rows)), send.__name__
    for send in MANY:
        problem = send(served, [*rows[:400], {**rows[0], "thal": 5}, *rows]).json()["problems"][0]
        assert (400, "thal", 5) == (problem["row"], problem["field"], problem["value"]), send.__name__


@pytest.mark.parametrize(
    "send", [send for send in MANY if send not in {binary, comma_separated}], ids=lambda send: send.__name__
)
@pytest.mark.parametrize(("field", "value"), [("sex", True), ("age", "63"), ("age", None)])
def test_large_batches_are_refused_by_the_same_rules(
    send: Send, field: str, value: object, serve: Serve, linear: Fitted, row: Row
) -> None:
    """What numpy would convert, deep inside, is named as in a small batch."""
    rows = [row] * 400 + [{**row, field: value}, row]
    if send in MLFLOW and value is not None:
        assert [200, 200] == [send(serve(linear.folder), part).status_code for part in (rows[400:], rows)]
        return
    small, large = (send(serve(linear.folder), part).json()["problems"][0] for part in (rows[400:], rows))

    assert {**small, "row": 400, "message": large["message"]} == large
    assert field == large["field"]


def test_a_large_batch_with_a_row_of_another_shape(serve: Serve, linear: Fitted, row: Row) -> None:
    """A row with a column too many or too few among hundreds of good ones is named; MLflow's clients may have more."""
    served = serve(linear.folder)
    less = {name: value for name, value in row.items() if name != "chol"}
    for send in (predict, records):
        for odd, field in (({**row, "weight": 80}, "weight"), (less, "chol")):
            answer = send(served, [row] * 300 + [odd])
            if send is records and field == "weight":
                assert 301 == len(classes(answer))
                continue
            problem = answer.json()["problems"][0]
            assert (300, field) == (problem["row"], problem["field"]), send.__name__


@pytest.mark.parametrize("value", ["1" + "0" * 5000, '"' + "x" * 100_000 + '"', "[" * 5000 + "]" * 5000, "1e300"])
def test_monstrous_values_are_not_echoed(value: str, serve: Serve, linear: Fitted, row: Row) -> None:
    """A number of five thousand digits, a text of a hundred thousand, lists in lists: a short refusal."""
    body = json.dumps({**row, "chol": 123456}).replace("123456", value)
    wrapped = {"/predict": body, "/invocations": f'{{"instances": [{body}]}}'}
    served = serve(linear.folder)
    for path, content in wrapped.items():
        response = served.post(path, content, **{"Content-Type": "application/json"})
        assert response.status_code in {400, 422}
        assert 1000 > len(response.content)


def test_a_row_of_thousands_of_mistakes_is_summed_up(serve: Serve, linear: Fitted, row: Row) -> None:
    """Nobody reads a list of them, and making it would keep the server busy."""
    response = serve(linear.folder).post("/predict", {**row, **{f"x{number}": 0 for number in range(5000)}})

    assert (422, []) == (response.status_code, response.json()["problems"])
    assert "a row with 5000 mistakes" in response.json()["error"]


def test_pandas_clients_may_say_nan(server: Served, row: Row) -> None:
    """MLflow's own client sends NaN for a missing value; infinity is no missing value."""
    marked = {**row, "thal": 123456}
    for content in (
        {"dataframe_split": {"columns": list(row), "data": [list(marked.values())]}},
        {"dataframe_records": [marked]},
        {"instances": [marked]},
        {"inputs": {name: [value] for name, value in marked.items()}},
    ):
        body = json.dumps(content)

        assert 200 == server.post("/invocations", body.replace("123456", "NaN")).status_code, body
        assert 422 == server.post("/invocations", body.replace("123456", "Infinity")).status_code, body


@pytest.mark.parametrize("count", [1, 300])
def test_nan_is_null_where_nothing_may_be_missing(count: int, serve: Serve, linear: Fitted, row: Row) -> None:
    """However many rows there are, and whether they are objects or lists."""
    served = serve(linear.folder)
    body = json.dumps({"dataframe_records": [{**row, "age": 123456}] * count}).replace("123456", "NaN")
    split = {"columns": list(row), "data": [list({**row, "age": 123456}.values())] * count}
    for content in (body, json.dumps({"dataframe_split": split}).replace("123456", "NaN")):
        problem = served.post("/invocations", content).json()["problems"][0]
        assert (0, "age", None) == (problem["row"], problem["field"], problem["value"])


@pytest.mark.parametrize(
    "send", [send for send in MANY if send not in {positions, matrix}], ids=lambda send: send.__name__
)
def test_columns_are_exactly_the_familys(send: Send, server: Served, row: Row) -> None:
    """A column too many or too few is named with those there are; the order is free. MLflow's may have more."""
    less = {name: value for name, value in row.items() if name != "chol"}
    unknown, absent = send(server, [{**row, "weight": 80}]), send(server, [less])

    if send in MLFLOW:
        assert (200, 400) == (unknown.status_code, absent.status_code)
    else:
        assert (422, 422) == (unknown.status_code, absent.status_code)
        assert "weight" in unknown.json()["error"]
        assert "weight" == unknown.json()["problems"][0]["field"]
    assert "chol is missing" in absent.json()["error"]
    assert 200 == send(server, [dict(reversed(row.items()))]).status_code


def test_the_first_bad_row_is_told_completely(server: Served, row: Row) -> None:
    """All of its fields at once; later rows are not looked at, so that a large bad batch costs nothing."""
    response = predict(server, [row, {**row, "cp": 0, "sex": 5}, {**row, "age": 0}])

    assert [(1, "sex"), (1, "cp")] == [(problem["row"], problem["field"]) for problem in response.json()["problems"]]


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/predict", "{", 400, "not JSON"),
        ("/predict", "", 400, "not JSON"),
        ("/predict", "[]", 422, "the body is not an object"),
        ("/predict", "3", 422, "the body is not an object"),
        ("/predict", '{"rows": []}', 422, "no rows"),
        ("/predict", '{"rows": {}}', 422, "not a list of rows"),
        ("/predict", '{"rows": [3]}', 422, "row 0 is not an object"),
        ("/invocations", "{", 400, "not JSON"),
        ("/invocations", "[]", 400, "not a JSON object"),
        ("/invocations", "{}", 400, "exactly one of dataframe_split"),
        ("/invocations", '{"instances": [], "inputs": []}', 400, "exactly one of"),
        ("/invocations", '{"instances": []}', 400, "no rows"),
        ("/invocations", '{"instances": 3}', 400, "not a list of rows"),
        ("/invocations", '{"instances": [[1, 2]]}', 400, "2 values for 13 columns"),
        ("/invocations", '{"instances": [[1], 2]}', 400, "not a list of rows"),
        ("/invocations", '{"dataframe_split": {"data": []}}', 400, "no rows"),
        ("/invocations", '{"dataframe_split": {"columns": [1], "data": []}}', 400, "not a list of names"),
        ("/invocations", '{"dataframe_split": {"columns": ["age", "age"], "data": []}}', 400, "named twice"),
        ("/invocations", '{"inputs": {"age": [1, 2]}}', 400, "sex is missing"),
        ("/v2/models/heart-disease/infer", "{}", 400, "expected inputs"),
        ("/v2/models/heart-disease/infer", '{"inputs": [3]}', 400, "not a tensor"),
        ("/v2/models/heart-disease/infer", '{"inputs": [{"name": "age"}]}', 400, "no numeric datatype"),
        (
            "/v2/models/heart-disease/infer",
            '{"inputs": [{"name": "age", "datatype": "FP32", "shape": [1]}]}',
            400,
            "neither data nor a binary_data_size",
        ),
        (
            "/v2/models/heart-disease/infer",
            '{"inputs": [{"name": "age", "datatype": "FP32", "shape": [2], "data": [1]}]}',
            400,
            "another shape",
        ),
        (
            "/v2/models/heart-disease/infer",
            '{"inputs": [{"name": "age", "datatype": "BYTES", "shape": [1], "data": ["1"]}]}',
            400,
            "no numeric datatype",
        ),
        ("/v2/models/heart-disease/infer", '{"inputs": [{}], "outputs": [{"name": "x"}]}', 400, "outputs"),
        ("/v2/models/heart-disease/infer", '{"inputs": [{}], "id": 3}', 400, "id is not a text"),
        (
            "/v2/models/heart-disease/infer",
            '{"inputs": [{"name": "age", "datatype": "FP32", "shape": [2], "data": [[1], 2]}]}',
            400,
            "mixes values and lists",
        ),
        (
            "/v2/models/heart-disease/infer",
            '{"inputs": [{"name": "age", "datatype": "FP32", "shape": [1], "data": 1}]}',
            400,
            "data that is not a list",
        ),
        ("/v2/models/unknown/infer", "{}", 404, "no such model"),
        ("/v2/models/heart-disease/versions/4/infer", "{}", 404, "no such model"),
    ],
)
def test_what_is_no_request_is_refused_in_one_line(
    path: str, body: str, status: int, words: str, server: Served
) -> None:
    """The line says what was expected."""
    response = server.post(path, body, **{"Content-Type": "application/json"})

    assert status == response.status_code, response.text
    assert words in response.json()["error"]
    assert response.json()["request_id"] == response.headers["X-Request-Id"]


def test_columns_of_different_lengths(server: Served, row: Row) -> None:
    """`inputs` must be a table."""
    content = {"inputs": {name: [value] * (2 if name == "age" else 1) for name, value in row.items()}}

    assert "different lengths" in server.post("/invocations", content).json()["error"]


def test_csv_refusals_name_the_cell(server: Served, row: Row) -> None:
    """Text in a cell, a line too short, not UTF-8, nothing at all."""
    header, kind = ",".join(row), {"Content-Type": "text/csv; charset=utf-8"}
    values = ",".join(map(str, row.values()))

    assert "age is 'old'" in comma_separated(server, [{**row, "age": "old"}]).json()["error"]
    assert "row 0 has 1 values" in server.post("/invocations", f"{header}\n3\n", **kind).json()["error"]
    assert "not CSV" in server.post("/invocations", b"\xff\xfe\x00", **kind).json()["error"]
    assert "empty" in server.post("/invocations", "", **kind).json()["error"]
    assert 200 == server.post("/invocations", f"\ufeff{header}\r\n{values}\r\n\r\n".encode(), **kind).status_code


def test_limits_on_rows_and_bytes(server: Served, row: Row) -> None:
    """413 for a batch or a body that is too large, declared or not; the row at the limit is answered."""
    assert 200 == records(server, [row] * 100).status_code
    assert "101 rows; at most 100" in positions(server, [row] * 101).json()["error"]
    assert [413, 413] == [send(server, [row] * 101).status_code for send in (predict, records)]
    assert 413 == server.post("/predict", "x" * 50_001).status_code


def test_a_body_without_length_is_limited_as_well(server: Served) -> None:
    """Chunked bodies are counted while they arrive."""
    import requests

    response = requests.post(f"{server.url}/predict", data=(b"x" * 10_000 for _ in range(10)), timeout=10)

    assert 413 == response.status_code
    assert "larger than 50000 bytes" in response.json()["error"]


@pytest.mark.parametrize("path", ["/predict", "/invocations", "/v2/models/heart-disease/infer"])
def test_other_media_types_are_refused(path: str, server: Served) -> None:
    """415 before anything is read out of the body."""
    assert 415 == server.post(path, "a: 1", **{"Content-Type": "application/yaml"}).status_code
    assert 415 == server.post(path, "{}", **{"Content-Encoding": "br"}).status_code


def test_numpy_accepts_exactly_what_pydantic_accepts(server: Served) -> None:
    """The fast way through and the authority agree on every feature and on values around each limit."""
    from promotion.serving.exported.rows import accepts

    reader = server.answering.reader
    rng = np.random.default_rng(1)
    for feature in reader.schema.features:
        edges = [
            limit + step for limit in (feature.minimum, feature.maximum) if limit is not None for step in (-1, 0, 1)
        ]
        near: list[Any] = [*edges, *(feature.codes or ()), 0.5, 0, -1, 1e300, np.inf, -np.inf, *rng.normal(3, 3, 20)]
        for value in map(float, near):
            column = [None if feature.nullable else value, value]
            numbers = np.array(column, dtype=np.float64)
            try:
                reader._columns[feature.name].validate_python(column)
            except ValueError:
                assert not accepts(feature, numbers), (feature.name, value)
            else:
                assert accepts(feature, numbers), (feature.name, value)


def test_binary_tensors_come_back_as_bytes(server: Served, linear: Fitted) -> None:
    """With `binary_data_output` the answer holds raw numbers too."""
    rows = linear.rows.dropna().astype("float32")
    inputs = [
        {"name": name, "shape": [len(rows), 1], "datatype": "FP32", "parameters": {"binary_data_size": 4 * len(rows)}}
        for name in rows
    ]
    head = json.dumps({"parameters": {"binary_data_output": True}, "inputs": inputs}).encode()
    body = head + rows.to_numpy("<f4").T.tobytes()
    response = server.post(
        "/v2/models/heart-disease/infer", body, **{"Inference-Header-Content-Length": str(len(head))}
    )
    length = int(response.headers["Inference-Header-Content-Length"])
    outputs = json.loads(response.content[:length])["outputs"]
    size = outputs[0]["parameters"]["binary_data_size"]
    probabilities = np.frombuffer(response.content[length + size :], dtype="<f4").reshape(outputs[1]["shape"])

    np.testing.assert_allclose(probabilities, linear.pipeline.predict_proba(linear.rows.dropna()), atol=1e-5)


@pytest.mark.parametrize(
    ("length", "size", "words"),
    [
        ("x", 4, "not a length"),
        ("9999", 4, "not a length"),
        (None, 5, "what follows"),
        (None, 0, "belong to no tensor"),
    ],
)
def test_binary_sizes_must_fit(length: str | None, size: int, words: str, server: Served) -> None:
    """A header or a size that does not match the body is refused."""
    tensor = {"name": "age", "shape": [size // 4], "datatype": "FP32", "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {"Inference-Header-Content-Length": length or str(len(head))}
    response = server.post("/v2/models/heart-disease/infer", head + b"\0" * 4, **headers)

    assert 400 == response.status_code
    assert words in response.json()["error"]


def test_inference_metadata(server: Served) -> None:
    """Health, server and model resources answer as the protocol says; a model goes by its family's name as well."""
    metadata = server.get("/v2/models/heart-disease").json()

    assert {"live": True} == server.get("/v2/health/live").json()
    assert {"ready": True} == server.get("/v2/health/ready").json()
    assert ["binary_tensor_data"] == server.get("/v2").json()["extensions"]
    assert ("heart-disease", ["3"]) == (metadata["name"], metadata["versions"])
    registered = "heart-disease-logistic_regression"
    assert {**metadata, "name": registered} == server.get(f"/v2/models/{registered}/versions/3").json()
    for name in ("heart-disease", registered):
        assert {"name": name, "ready": True} == server.get(f"/v2/models/{name}/versions/3/ready").json()
    assert 404 == server.get("/v2/models/heart-disease/versions/2").status_code
    assert 404 == server.get("/v2/models/other/ready").status_code


def test_inference_answers_what_was_asked_for(server: Served, row: Row) -> None:
    """The client's id comes back, and only the outputs it named."""
    inputs = [{"name": name, "shape": [1], "datatype": "FP64", "data": [value]} for name, value in row.items()]
    content = {"id": "42", "inputs": inputs, "outputs": [{"name": "probabilities"}]}
    answer = server.post("/v2/models/heart-disease/versions/3/infer", content).json()

    assert ("42", "3", {"role": "champion"}) == (answer["id"], answer["model_version"], answer["parameters"])
    assert ["probabilities"] == [output["name"] for output in answer["outputs"]]


@pytest.mark.parametrize("level", ["request", "input", "output"])
def test_keys_the_protocol_lacks_are_ignored_and_told_once(
    level: str, serve: Serve, linear: Fitted, row: Row, caplog: pytest.LogCaptureFixture
) -> None:
    """KServe's client repeats the model's name in each request; the answer is the same, the log says it once."""
    server = serve(linear.folder)
    inputs = [{"name": name, "shape": [1], "datatype": "FP64", "data": [value]} for name, value in row.items()]
    content: dict[str, Any] = {"id": "42", "inputs": inputs, "outputs": [{"name": "label"}]}
    path = "/v2/models/heart-disease/infer"
    plain = server.post(path, content).json()
    assert [] == caplog.messages
    {"request": content, "input": inputs[1], "output": content["outputs"][0]}[level]["x\n\x1b[31m"] = "heart-disease"

    assert [plain, plain] == [server.post(path, content).json() for _ in range(2)]
    (told,) = caplog.messages
    assert rf"ignoring 'x\n\x1b[31m' of the {level}, which the Open Inference Protocol does not have" in told


@pytest.mark.system
def test_mlflows_own_client_is_answered(server: Served, linear: Fitted) -> None:
    """The client class that MLflow uses for its own scoring server, with a data frame that has missing values."""
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    client = ScoringServerClient("127.0.0.1", int(server.url.rpartition(":")[2]))
    client.wait_server_ready(timeout=5)
    answers = client.invoke(linear.rows).get_predictions()

    assert linear.pipeline.predict(linear.rows).tolist() == answers[0].tolist()
