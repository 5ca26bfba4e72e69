"""What an earlier layout of this project registered and exported is still loaded, served and deployed.

`made_earlier/` holds a sales ensemble of three invented stores, an export of heart-disease, and the record of its
promotion as it was taken out of a journal, as they were written.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.promotion.serving.conftest import Serve

from promotion.audit import verify_journal
from promotion.audit.export import ExportSource
from promotion.delivery.export import read_expected
from promotion.delivery.records import Image
from promotion.errors import ArtifactTampered
from promotion.evaluation.loading import load_artifact
from promotion.export.folder import open_export
from promotion.prediction.predict_rows import answer
from promotion.signing.keys import Keys

MADE = Path(__file__).parent / "made_earlier"
ENSEMBLE, EXPORT = MADE / "ensemble", MADE / "export"
EUROS = [4908.617072104134, 3312.9904864389705, 3510.0805625421926]


def test_a_registered_ensemble_answers_as_it_did() -> None:
    """Our own reader runs none of the code in the folder."""
    example = json.loads((ENSEMBLE / "input_example.json").read_text(encoding="utf-8"))
    rows = pd.DataFrame(example["data"], columns=example["columns"])

    found = answer(load_artifact(ENSEMBLE), rows.assign(Date=pd.to_datetime(rows["Date"])))

    np.testing.assert_allclose(EUROS, found["prediction"], rtol=1e-9)


@pytest.mark.system
@pytest.mark.parametrize("also", ["", "import promotion.errors, models.forecast.ensemble; "], ids=["alone", "beside"])
def test_mlflow_loads_a_registered_ensemble(also: str, tmp_path: Path) -> None:
    """By the code it brings: where this project is not imported, and in a process that has imported it."""
    folder = shutil.copytree(ENSEMBLE, tmp_path / "model")
    program = (
        f"{also}import sys, json, mlflow, pandas as pd\n"
        "example = json.load(open(sys.argv[1] + '/input_example.json'))\n"
        "rows = pd.DataFrame(example['data'], columns=example['columns'])\n"
        "print(list(map(float, mlflow.pyfunc.load_model(sys.argv[1]).predict(rows))))"
    )

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(folder)],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stderr
    np.testing.assert_allclose(EUROS, json.loads(done.stdout), rtol=1e-9)


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    """Keys of a machine that trusts whoever exported it."""
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    shutil.copy(MADE / "exporter.pub.pem", trusted)
    monkeypatch.setenv("PROMOTION_TRUSTED_KEYS", str(trusted))
    return Keys.from_environment()


def test_an_export_is_verified_as_it_was(keys: Keys, tmp_path: Path) -> None:
    """Its signature holds, and a changed file is still named."""
    assert "heart-disease-logistic_regression" == open_export(EXPORT, keys).manifest.model

    changed = shutil.copytree(EXPORT, tmp_path / "changed")
    with (changed / "schema.json").open("a") as file:
        file.write(" ")
    with pytest.raises(ArtifactTampered, match=r"changed schema\.json"):
        open_export(changed, keys)


def test_an_export_is_served_with_the_answers_it_was_proven_with(serve: Serve) -> None:
    """The present server reads the folder, and answers what `expected.json` says."""
    expected = json.loads((EXPORT / "expected.json").read_text(encoding="utf-8"))

    answered = serve(EXPORT).post("/invocations", {"dataframe_records": expected["rows"]}).json()

    assert expected["labels"] == answered["predictions"]


def test_an_image_of_that_export_is_checked_against_it() -> None:
    """What a deployment asks of the pods is read from the folder that the image's labels name."""
    labels = {
        "family": "heart-disease",
        "model": "heart-disease-logistic_regression",
        "version": "1",
        "digest": "0" * 64,
        "manifest": hashlib.sha256((EXPORT / "manifest.json").read_bytes()).hexdigest(),
    }
    image = Image.from_labels("heart-disease:1.0.0", {f"io.promotion.{name}": text for name, text in labels.items()})

    assert 0 < len(read_expected(EXPORT, image).rows)


def test_a_record_taken_out_earlier_is_sound(keys: Keys) -> None:
    """Its events, its signed checkpoint and its rows are read as they were, without what was added since."""
    source = ExportSource(MADE / "journal.jsonl")

    report = verify_journal(source, source.checkpoints, keys.trusted())

    assert [] == report.findings
    assert (5, {"signed": 1}) == (report.events, report.checkpoints)
