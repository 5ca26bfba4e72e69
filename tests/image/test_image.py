"""The image, built and run by a real Docker engine: small, without rights, and answering as the registered model."""

from __future__ import annotations

import hashlib
import json
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import requests
import yaml
from tests.image.conftest import FAMILY, RECEIVED, Built, call, docker

from models.training.candidates import build_pipeline
from promotion.config.family import load_config
from promotion.containers.build import SBOM
from promotion.containers.docker import content_of, exported_files, inspect
from promotion.containers.trial import HARDENED, running
from promotion.data.datasets import load_dataset, split_dataset
from promotion.export.contract import contract_of
from promotion.export.documents import expected_document
from promotion.export.onnx import translate
from promotion.signing.dsse import payload_digest

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

MEGABYTE = 1e6
PACKAGES = "import importlib.metadata as m; print(*sorted(d.name.lower() for d in m.distributions()))"

VISITS = {
    "family": "visits",
    "task": "binary-classification",
    "registered_model": "visits-{algorithm}",
    "data": {
        "path": "data/visits.csv",
        "columns": {
            "visit count": {"type": "integer", "minimum": 0},
            "plan": {"type": "label", "labels": ["free", "plus", "größer"], "unknown": "other", "max_missing": 0.1},
            "is member": {"type": "boolean", "max_missing": 0.1},
            "since": {"type": "date"},
            "spent": {"type": "number", "max_missing": 0.1},
            "again": {"type": "label", "labels": ["no", "yes"]},
        },
    },
    "target": {"column": "again", "positive_above": 0},
    "cross_validation": {"folds": 2, "repeats": 1},
}


def visits(count: int = 300) -> pd.DataFrame:
    """Rows of every kind of column, some cells empty."""
    random = np.random.default_rng(3)
    rows = pd.DataFrame(
        {
            "visit count": random.integers(0, 40, count),
            "plan": random.choice(["free", "plus", "größer"], count),
            "is member": random.choice(["yes", "no"], count),
            "since": (np.datetime64("2020-01-01") + random.integers(0, 1500, count)).astype(str),
            "spent": random.normal(50, 20, count).round(2),
        }
    )
    likely = rows["visit count"] / 20 + (rows["plan"] == "plus") - (rows["is member"] == "no")
    again = likely + random.normal(0, 0.5, count)
    rows["again"] = np.where(again > again.median(), "yes", "no")
    for step, name in ((17, "plan"), (23, "spent"), (29, "is member")):
        rows.loc[::step, name] = None
    return rows


def answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=2).ok
    except requests.RequestException:
        return False


def test_it_answers_as_the_registered_model_and_stops_when_asked(built: Built) -> None:
    """The command Jenkins calls: every held-out row, at both addresses, then SIGTERM."""
    done = built.call("scripts/test-image.py", "--model", FAMILY, "--image", built.reference, "--json")

    assert 0 == done.returncode, done.stderr
    found = json.loads(done.stdout)
    assert 110 < found["rows"] <= 122
    assert 1e-5 > found["difference"]
    assert 10 > found["ready_seconds"]


@pytest.mark.timeout(1800)
def test_somebody_elses_model_with_categories_answers_from_catboosts_own_file(received: Built) -> None:
    """No graph holds them; the image holds catboost, and every row of the holdout is answered as by the model."""
    done = received.call("scripts/test-image.py", "--model", RECEIVED, "--image", received.reference, "--json")

    assert 0 == done.returncode, done.stderr
    found = json.loads(done.stdout)
    assert 300 == found["rows"]
    assert 1e-5 > found["difference"]
    assert "catboost" in docker("run", "--rm", "--entrypoint", "python", received.reference, "-c", PACKAGES).split()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("algorithm", ["logistic_regression", "catboost"])
def test_a_family_with_texts_truths_and_days_answers_over_http_as_its_model_does_here(
    tmp_path: Path, algorithm: str
) -> None:
    """Columns with blanks in their names, a text nobody has seen, empty cells: the held-out rows, and those."""
    rows = visits()
    (tmp_path / "data").mkdir()
    rows.to_csv(tmp_path / "data" / "visits.csv", index=False)
    (tmp_path / "config").mkdir()
    family = VISITS | {"candidates": {algorithm: {}}}
    (tmp_path / "config" / "visits.yaml").write_text(yaml.safe_dump(family, allow_unicode=True))
    odd = rows.drop(columns="again").head(40)
    odd.loc[0, "plan"] = "never heard of"
    odd.loc[1, ["plan", "is member", "spent"]] = None
    odd.to_csv(tmp_path / "odd.csv", index=False)
    asked = ["--input", str(tmp_path / "odd.csv"), "--output", str(tmp_path / "here.csv")]
    for script, *arguments in (
        ("src/models/train.py", "--model", "visits"),
        ("scripts/promote-model.py", f"visits-{algorithm}", "1", "--reason", "as an image"),
        ("src/models/predict.py", "--model", "visits", *asked),
        ("scripts/export-model.py", "--model", "visits"),
        ("scripts/build-image.py", "--model", "visits", "--json"),
    ):
        done = call(tmp_path, script, *arguments)
        assert 0 == done.returncode, f"{script}: {done.stdout}{done.stderr}"
    image = json.loads(done.stdout)["image"]
    tried = call(tmp_path, "scripts/test-image.py", "--model", "visits", "--image", image)
    assert 0 == tried.returncode, tried.stderr
    here = pd.read_csv(tmp_path / "here.csv")

    with running(image) as container:
        records = json.loads(odd.to_json(orient="records"))
        deadline = time.monotonic() + 60
        while not answers(f"{container.url}/ready"):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        truths = [row | {"is member": row["is member"] and row["is member"] == "yes"} for row in records]
        answer = requests.post(f"{container.url}/predict", json={"rows": truths}, timeout=30)
        assert answer.ok, answer.text
        typed = answer.json()["predictions"]
        records_body = {"dataframe_records": records}
        invoked = requests.post(f"{container.url}/invocations", json=records_body, timeout=30).json()["predictions"]

    assert here["prediction"].tolist() == invoked
    assert here["probability"].tolist() == pytest.approx(
        [list(row["probabilities"].values())[1] for row in typed], abs=1e-5
    )
    assert 10 < sum(invoked) < 30


def test_its_name_and_labels_say_what_is_in_it(built: Built) -> None:
    """Tag: version and commit, never latest. Labels: the manifest's, and the manifest's own digest."""
    manifest = json.loads((built.export / "manifest.json").read_text())
    image = inspect(built.reference)

    assert re.fullmatch(r"heart-disease:1\.0\.0-[0-9a-f]{12}(-dirty)?-[0-9a-f]{12}", built.reference)
    assert manifest["model"] == image.labels["io.promotion.model"]
    assert str(manifest["version"]) == image.labels["io.promotion.version"]
    assert manifest["run_id"] == image.labels["io.promotion.run-id"]
    assert manifest["artifact_digest"] == image.labels["io.promotion.digest"]
    assert manifest["gate_report"] == image.labels["io.promotion.gate-report"]
    digest = hashlib.sha256((built.export / "manifest.json").read_bytes()).hexdigest()
    assert digest == image.labels["io.promotion.manifest"]
    assert "1.0.0" == image.labels["org.opencontainers.image.version"]
    assert image.labels["org.opencontainers.image.revision"].startswith(built.reference.split("-")[2])


def test_it_carries_its_proofs(built: Built) -> None:
    """Bill of materials and attestation are files inside, their digests and what it is built on stand on labels."""
    image = inspect(built.reference)
    with exported_files(built.reference) as files:
        listed = json.loads(content_of(files, SBOM))
        attestation = content_of(files, "model/promotion.intoto.jsonl").decode()

    assert image.labels["io.promotion.attestation"] == payload_digest(attestation)
    assert "CycloneDX" == listed["bomFormat"]
    assert {"onnxruntime", "python", "libc6"} <= {item["name"] for item in listed["components"]}
    base = inspect("python:3.11-slim")
    used = {digest.partition("@")[2] for digest in base.digests} or {base.id}
    assert image.labels["org.opencontainers.image.base.digest"] in used
    assert "python:3.11-slim" == image.labels["org.opencontainers.image.base.name"]


def test_building_the_same_again_makes_the_same_image(built: Built) -> None:
    """Time and all: what was built here is not built again."""
    done = built.call("scripts/build-image.py", "--model", FAMILY, "--json")

    assert 0 == done.returncode, done.stderr
    assert built.document["id"] == json.loads(done.stdout)["id"]


def test_a_shell_that_was_added_is_found_out(built: Built, tmp_path: Path) -> None:
    """By whoever tries the image: exit 1, before it is started."""
    (tmp_path / "sh").write_text("")
    container, forged = docker("create", built.reference), f"{built.reference}-shell"
    try:
        docker("cp", str(tmp_path / "sh"), f"{container}:/usr/bin/sh")
        docker("commit", container, forged)

        done = built.call("scripts/test-image.py", "--model", FAMILY, "--image", forged)
    finally:
        docker("rm", "--force", container)
        docker("rmi", "--force", forged)

    assert 1 == done.returncode
    assert "holds /usr/bin/sh, which no server needs" in done.stderr


def test_it_is_small_and_carries_no_training_code(built: Built) -> None:
    """At most 250 MB unpacked; nothing that trains, tracks, unpickles or installs beside the server."""
    packages = set(docker("run", "--rm", "--entrypoint", "python", built.reference, "-c", PACKAGES).split())

    assert 250 * MEGABYTE >= inspect(built.reference).size
    assert {"fastapi", "numpy", "onnxruntime", "uvicorn"} <= packages
    assert set() == packages & {"mlflow", "scikit-learn", "skops", "joblib", "cloudpickle", "pandas", "scipy", "pip"}


def test_it_runs_as_nobody_and_cannot_write(built: Built) -> None:
    """User 10001, no capabilities, a file system it cannot change."""
    code = "import os; print(os.getuid(), os.getgid(), open('/proc/self/status').read().split('CapEff:')[1].split()[0])"
    try_to_write = "import pathlib; pathlib.Path('/model/x').write_text('x')"

    said = docker("run", "--rm", *HARDENED, "--entrypoint", "python", built.reference, "-c", code)

    assert "10001 10001 0000000000000000" == said
    with pytest.raises(Exception, match="non-zero exit status 1"):
        docker("run", "--rm", *HARDENED, "--entrypoint", "python", built.reference, "-c", try_to_write)


def test_its_health_check_works_without_a_shell(built: Built) -> None:
    """Docker calls it healthy, by the command in the image; asked more often here than in service."""
    with running(built.reference, "--health-interval", "1s") as container:
        deadline = time.monotonic() + 60
        while (status := docker("inspect", "--format", "{{.State.Health.Status}}", container.id)) == "starting":
            assert time.monotonic() < deadline
            time.sleep(0.2)

    assert "healthy" == status
    assert ["CMD", "python", "-m", "promotion.serving.healthcheck"] == json.loads(
        docker("image", "inspect", "--format", "{{json .Config.Healthcheck.Test}}", built.reference)
    )


def test_a_changed_model_file_does_not_start(built: Built, tmp_path: Path) -> None:
    """Not a byte may differ from the manifest: one line, exit code 3."""
    changed = tmp_path / "model.onnx"
    changed.write_bytes((built.export / "model.onnx").read_bytes() + b"\x00")
    container = docker("create", built.reference)
    try:
        docker("cp", str(changed), f"{container}:/model/model.onnx")
        docker("start", container)
        docker("wait", container)

        assert "3" == docker("inspect", "--format", "{{.State.ExitCode}}", container)
    finally:
        docker("rm", "--force", container)


def test_another_model_under_the_same_labels_is_found_out(built: Built, tmp_path: Path) -> None:
    """An image whose manifest agrees with its files but whose answers are not the registered model's: exit 1."""
    config = load_config(built.home / "config", FAMILY)
    part = split_dataset(load_dataset(config, built.home), config)
    other = build_pipeline(config, "random_forest").fit(part.test_features, part.test_target)
    (tmp_path / "model.onnx").write_bytes(translate(other, contract_of(config)))
    expected = expected_document(contract_of(config), other, part.test_features, 5)
    (tmp_path / "expected.json").write_text(json.dumps(expected))
    document = json.loads((built.export / "manifest.json").read_text())
    for path in sorted(tmp_path.iterdir()):
        document["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    forged = f"{built.reference}-forged"
    container = docker("create", built.reference)
    try:
        for path in tmp_path.iterdir():
            docker("cp", str(path), f"{container}:/model/{path.name}")
        docker("commit", container, forged)

        done = built.call("scripts/test-image.py", "--model", FAMILY, "--image", forged)
    finally:
        docker("rm", "--force", container)
        docker("rmi", "--force", forged)

    assert 1 == done.returncode, done.stderr
    assert "the registered model says" in done.stderr.splitlines()[-1]


def test_an_image_of_somebody_elses_is_refused(built: Built) -> None:
    """Without our labels nobody knows which version to compare with: exit code 2."""
    done = built.call("scripts/test-image.py", "--model", FAMILY, "--image", "python:3.11-slim")

    assert 2 == done.returncode
    assert "scripts/build-image.py did not build it" in done.stderr
