"""The prediction log and the second version: what is remembered, what is left out, and that no request waits for it."""

from __future__ import annotations

import io
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.promotion.serving import exporting
from tests.promotion.serving.conftest import Fitted, Serve, Served
from tests.promotion.serving.requests_by_protocol import Row, eventually, predict
from tests.promotion.serving.test_operations import samples

from promotion.serving.background import TASK_BYTES, Background
from promotion.serving.errors import ConfigurationError
from promotion.serving.prediction_log import share
from promotion.serving.scoring import Scorer
from promotion.serving.settings import ServerSettings


def lines(served: Served, path: Path) -> list[dict[str, Any]]:
    """What is in the log once everything queued is written."""
    served.answering.scorer.close(5)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_each_predicted_row_is_a_line(serve: Serve, linear: Fitted, tmp_path: Path) -> None:
    """With the features as they were scored, null where missing, and what was answered."""
    log = tmp_path / "new" / "predictions.jsonl"
    served = serve(linear.folder, PREDICTION_LOG=str(log))
    rows = exporting.records(linear.rows.sort_values("thal", na_position="first").head(3))
    response = served.post("/predict", {"rows": rows}, **{"X-Request-Id": "r-1"})
    written = lines(served, log)

    for position, (line, row, answer) in enumerate(zip(written, rows, response.json()["predictions"], strict=True)):
        features = line.pop("features")
        assert row == features
        assert pytest.approx(answer["probability"], abs=1e-6) == line.pop("probability")
        assert 0 < line.pop("latency_ms") < 1000
        assert line["time"].endswith("Z")
        assert 24 == len(line.pop("time"))
        assert {
            "request_id": "r-1",
            "row": position,
            "family": "heart-disease",
            "model": "heart-disease-logistic_regression",
            "version": 3,
            "role": "champion",
            "class": answer["class"],
            "label": answer["label"],
        } == line


def test_a_clients_key_is_in_the_log_by_a_pseudonym(serve: Serve, linear: Fitted, row: Row, tmp_path: Path) -> None:
    """The same for each of its requests, so that they can be counted together; the key itself is not written."""
    log = tmp_path / "log.jsonl"
    served = serve(linear.folder, PREDICTION_LOG=str(log))
    for key in ("patient-7", "patient-7", "patient-8"):
        served.post("/predict", {"rows": [row]}, **{"X-Request-Key": key})
    served.post("/predict", {"rows": [row]})

    first, again, other, none = (line.get("key") for line in lines(served, log))

    assert first == again != other
    assert (16, None) == (len(str(first)), none)
    assert "patient" not in log.read_text(encoding="utf-8")


@pytest.mark.system
def test_the_sample_depends_on_the_request_alone(serve: Serve, linear: Fitted, row: Row, tmp_path: Path) -> None:
    """A tenth of the requests, always the same ones; refused requests are never in it."""
    log = tmp_path / "log.jsonl"
    served = serve(linear.folder, PREDICTION_LOG=str(log), PREDICTION_LOG_SAMPLE="0.1")
    names = [f"request-{number}" for number in range(100)]
    for name in names:
        served.post("/predict", row, **{"X-Request-Id": name})
        served.post("/predict", {**row, "cp": 0}, **{"X-Request-Id": name})

    assert [name for name in names if share(name, b"sample") < 0.1] == [
        line["request_id"] for line in lines(served, log)
    ]


def test_the_log_is_set_aside_when_it_is_full(serve: Serve, linear: Fitted, row: Row, tmp_path: Path) -> None:
    """Lines stay whole, old files are kept up to the number given."""
    log = tmp_path / "log.jsonl"
    variables = {"PREDICTION_LOG_MAX_BYTES": "2000", "PREDICTION_LOG_BACKUPS": "2"}
    served = serve(linear.folder, PREDICTION_LOG=str(log), **variables)
    for _ in range(20):
        predict(served, [row])
    lines(served, log)
    files = sorted(tmp_path.iterdir())

    assert ["log.jsonl", "log.jsonl.1", "log.jsonl.2"] == [file.name for file in files]
    assert all(json.loads(line) for file in files for line in file.read_text().splitlines())
    assert all(file.stat().st_size <= 2000 for file in files)


def test_a_full_disk_costs_no_request(serve: Serve, linear: Fitted, row: Row) -> None:
    """The kernel's always-full device: requests are answered, what is lost is counted."""
    served = serve(linear.folder, PREDICTION_LOG="/dev/full")
    statuses = [predict(served, [row, row]).status_code for _ in range(3)]
    served.answering.scorer.close(5)

    assert [200] * 3 == statuses
    assert 6 == samples(served)["prediction_log_dropped_total", ()]


class FullSoon(io.FileIO):
    """A file on a disk that takes half of what is written, when it is told to."""

    is_full = False

    def write(self, content: Any) -> int:
        """As the kernel: the number of bytes taken."""
        return super().write(content[: len(content) // 2] if self.is_full else content)


def test_no_half_line_stays(serve: Serve, linear: Fitted, row: Row, tmp_path: Path) -> None:
    """What a full disk took of a batch is taken back; the lines before it and after it are whole."""
    log = tmp_path / "log.jsonl"
    served = serve(linear.folder, PREDICTION_LOG=str(log))
    writer = served.answering.scorer._log
    assert writer is not None
    writer._file.flush()
    old = writer._file.stream
    assert old is not None
    old.close()
    writer._file.stream = file = FullSoon(log, "ab")  # type: ignore[assignment]
    for number, is_full in enumerate([False, True, True, False]):
        file.is_full = is_full
        served.post("/predict", {"rows": [row] * 3}, **{"X-Request-Id": str(number)})
        assert eventually(lambda: 0 == writer._background._waiting)

    assert ["0"] * 3 + ["3"] * 3 == [line["request_id"] for line in lines(served, log)]
    assert 6 == samples(served)["prediction_log_dropped_total", ()]


def test_a_log_that_cannot_be_opened_is_told_at_start(linear: Fitted, tmp_path: Path) -> None:
    """One line instead of a server that records nothing."""
    (tmp_path / "file").write_text("")
    settings = ServerSettings.from_environment(
        {"MODEL_DIR": str(linear.folder), "PREDICTION_LOG": str(tmp_path / "file/log")}
    )

    with pytest.raises(ConfigurationError, match=r"PREDICTION_LOG: .* cannot be written"):
        Scorer(settings)


def test_work_that_does_not_fit_is_dropped_and_counted() -> None:
    """The queue is bounded in memory; when the thread comes back to it, there is room again."""
    lost: list[int] = []
    gate, done = threading.Event(), threading.Event()
    background = Background("test", lost.append, 3 * TASK_BYTES)
    background.submit(gate.wait, 6, TASK_BYTES)  # type: ignore[arg-type]
    background.submit(done.set, 4, 0)
    background.submit(done.set, 1, 0)
    gate.set()
    done.wait(5)
    background.close(5)

    assert [1] == lost


def test_a_task_that_fails_does_not_end_the_thread() -> None:
    """The next task is done all the same."""
    lost: list[int] = []
    done = threading.Event()
    background = Background("test", lost.append)
    background.submit(lambda: 1 / 0, 3, 0)  # type: ignore[arg-type]
    background.submit(done.set, 1, 0)
    background.close(5)

    assert done.is_set()
    assert [3] == lost


def test_a_shadow_scores_the_same_rows_and_answers_nobody(
    serve: Serve, linear: Fitted, forest: Fitted, tmp_path: Path
) -> None:
    """Its predictions are in the metrics and in the log under its own role; answers are the champion's."""
    log = tmp_path / "log.jsonl"
    served = serve(linear.folder, SHADOW_MODEL=str(forest.folder), PREDICTION_LOG=str(log))
    rows = exporting.records(linear.rows)
    answer = predict(served, rows).json()
    scored = eventually(lambda: len(rows) == samples(served).get(("prediction_probability_count", ("shadow", "7"))))
    shadow = [line for line in lines(served, log) if line["role"] == "shadow"]

    assert scored
    assert ("champion", 3) == (answer["role"], answer["version"])
    assert forest.pipeline.predict(linear.rows).tolist() == [line["class"] for line in shadow]
    assert {7} == {line["version"] for line in shadow}
    assert ("shadow", 7) == (
        served.get("/version").json()["challenger"]["role"],
        served.get("/version").json()["challenger"]["version"],
    )
    assert 404 == served.get("/v2/models/heart-disease-random_forest").status_code


@pytest.mark.system
def test_a_split_is_sticky_and_close_to_its_share(serve: Serve, linear: Fitted, forest: Fitted, row: Row) -> None:
    """A key is always answered by the same version, and the answer says by which, in every protocol."""
    served = serve(linear.folder, AB_MODEL=str(forest.folder), AB_PERCENT="30", CHALLENGER_TIMEOUT_MS="60000")
    roles: dict[str, set[str]] = {}
    for number in [*range(150), *range(150)]:
        key = f"patient-{number}"
        response = served.post("/predict", row, **{"X-Request-Key": key})
        assert response.headers["X-Model-Role"] == response.json()["role"]
        roles.setdefault(key, set()).add(response.json()["role"])

    assert all(1 == len(seen) for seen in roles.values())
    assert 0.2 < sum(seen == {"challenger"} for seen in roles.values()) / 150 < 0.4
    inputs = [{"name": name, "shape": [1], "datatype": "FP32", "data": [value]} for name, value in row.items()]
    chosen = served.post("/v2/models/heart-disease/versions/7/infer", {"inputs": inputs}).json()
    assert ("heart-disease-random_forest", "7") == (chosen["model_name"], chosen["model_version"])
    assert ["3", "7"] == served.get("/v2/models/heart-disease").json()["versions"]


@pytest.mark.parametrize(("percent", "role"), [("0", "champion"), ("100", "challenger")])
def test_the_ends_of_a_split(percent: str, role: str, serve: Serve, linear: Fitted, forest: Fitted, row: Row) -> None:
    """Nobody, or everybody."""
    served = serve(linear.folder, AB_MODEL=str(forest.folder), AB_PERCENT=percent)

    assert {role} == {predict(served, [row]).json()["role"] for _ in range(20)}


def test_only_versions_of_one_contract_are_compared(linear: Fitted, tmp_path: Path) -> None:
    """A challenger that allows other values would be asked what it was not made for."""
    other = shutil.copytree(linear.folder, tmp_path / "other")
    schema = json.loads((other / "schema.json").read_text())
    schema["features"][0]["maximum"] = 110
    exporting.write(other / "schema.json", schema)
    exporting.reseal(other)
    settings = ServerSettings.from_environment({"MODEL_DIR": str(linear.folder), "SHADOW_MODEL": str(other)})

    with pytest.raises(ConfigurationError, match="has other features than heart-disease-logistic_regression 3"):
        Scorer(settings)
