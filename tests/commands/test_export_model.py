"""`scripts/export-model.py`: the folder a deployment is built from, or one line that says why there is none."""

from __future__ import annotations

import filecmp
import json
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from tests.commands.conftest import LOGISTIC, Promote
from tests.promotion.factories import Store

from models.model_registry import load_model
from promotion.config.settings import REPOSITORY
from promotion.export.folder import open_export
from promotion.export.onnx import answers
from promotion.registry.stages import Stage
from promotion.signing.keys import Keys

pytestmark = pytest.mark.system

Export = Callable[..., Result]
NAMES = [
    "MODEL_CARD.md",
    "expected.json",
    "manifest.json",
    "manifest.sig",
    "model.onnx",
    "promotion.intoto.jsonl",
    "reference.json",
    "schema.json",
]


@pytest.fixture
def export() -> Export:
    """Call the command without paying for a new process."""
    main = runpy.run_path(str(REPOSITORY / "scripts" / "export-model.py"), run_name="export_model")["main"]
    return lambda *arguments: CliRunner().invoke(main, arguments)


@pytest.fixture
def serving(trained: Store, promote: Promote) -> Store:
    """The trained family with its version in Production."""
    assert 0 == promote("--auto", "--model", "heart-disease").exit_code
    return trained


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_production_becomes_a_folder_that_answers_alike(serving: Store, export: Export) -> None:
    """Every file of the contract, signed; the graph answers the recorded rows as the registered model does."""
    result = export("--model", "heart-disease", "--json")

    assert 0 == result.exit_code, result.stderr
    folder = serving.home / "build" / "export" / "heart-disease"
    assert NAMES == files(folder)
    found = open_export(folder, Keys.from_environment())
    journal = serving.service().journal
    entry = journal.production("heart-disease")
    assert entry is not None
    registration, event = journal.registration(entry.id), journal.arrival("heart-disease", Stage.PRODUCTION, entry.id)
    assert registration is not None
    assert event is not None
    assert event.gate_report_id is not None
    assert json.loads(result.stdout)["digest"] == found.digest
    assert (LOGISTIC, 2, "1.0.0", "Production") == (
        found.manifest.model,
        found.manifest.version,
        found.manifest.semver,
        found.manifest.stage,
    )
    assert entry.digest == found.manifest.artifact_digest
    assert journal.report(event.gate_report_id).digest == found.manifest.gate_report
    expected = json.loads((folder / "expected.json").read_text())
    rows = pd.DataFrame(expected["rows"], dtype=np.float64)
    label, probability = answers((folder / "model.onnx").read_bytes(), rows)
    assert 20 == len(rows)
    assert expected["labels"] == label.tolist() == load_model("heart-disease").predict(rows).tolist()
    assert np.allclose(expected["probabilities"], probability, rtol=0, atol=1e-5)
    metrics = json.loads((folder / "reference.json").read_text())["metrics"]
    assert registration.metrics["roc_auc_low"] == metrics["roc_auc"]["low"]


def test_the_same_version_gives_the_same_bytes(serving: Store, export: Export, tmp_path: Path) -> None:
    """Only the signature differs; and an earlier export is replaced as a whole."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second, second):
        assert 0 == export("--model", "heart-disease", "--output", str(folder)).exit_code

    same, different, _ = filecmp.cmpfiles(first, second, NAMES, shallow=False)

    assert [name for name in NAMES if name != "manifest.sig"] == same
    assert ["manifest.sig"] == different
    assert [] == [path for path in tmp_path.iterdir() if path.name.startswith(".export-")]


def test_native_is_loud_and_keeps_the_registered_files(serving: Store, export: Export, tmp_path: Path) -> None:
    """The skops folder instead of a graph, and nobody can overlook it."""
    result = export("--model", "heart-disease", "--native", "--output", str(tmp_path / "out"), "--json")

    assert 0 == result.exit_code
    assert "NATIVE" in result.stderr
    assert "native" == json.loads(result.stdout)["manifest"]["engine"]
    assert (tmp_path / "out" / "model" / "model.skops").is_file()
    assert not (tmp_path / "out" / "model.onnx").exists()


def test_a_changed_artifact_is_refused(serving: Store, export: Export, tmp_path: Path) -> None:
    """Not a byte is written of a version whose files are not what was signed."""
    version = serving.registry.version(LOGISTIC, 2)
    artifact = Path(serving.registry.artifact_uri(version).removeprefix("file://"))
    card = artifact / "MODEL_CARD.md"
    original = card.read_text()
    try:
        card.write_text(original + "and more\n")
        result = export("--model", "heart-disease", "--output", str(tmp_path / "out"))
    finally:
        card.write_text(original)

    assert 3 == result.exit_code
    assert "artifact changed" in result.stderr
    assert "changed MODEL_CARD.md" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--model", "rossmann-ensemble"], "asked in batches"),
        (["--model", "nope"], "unknown family 'nope'"),
        (["--model", "heart-disease", "--stage", "Staging"], "is in Staging"),
        (["--model", "heart-disease", "--stage", "Prod"], "unknown stage 'Prod'"),
        (["--model", "heart-disease", "--version", "9"], "version 9"),
        (["--model", "heart-disease", "--version", "2", "--stage", "Production"], "exclude each other"),
        (["--model", "heart-disease"], "no version of 'heart-disease' is in Production"),
    ],
)
def test_what_cannot_be_exported(trained: Store, export: Export, arguments: list[str], part: str) -> None:
    """One line and exit code 2."""
    result = export(*arguments)

    assert 2 == result.exit_code
    assert part in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_a_folder_of_somebody_elses_is_not_deleted(serving: Store, export: Export, tmp_path: Path) -> None:
    """Only an earlier export, or nothing, may be replaced."""
    (tmp_path / "thesis.txt").write_text("precious")

    result = export("--model", "heart-disease", "--output", str(tmp_path))

    assert 2 == result.exit_code
    assert "holds something else than an export" in result.stderr
    assert "precious" == (tmp_path / "thesis.txt").read_text()


def test_other_data_than_it_was_trained_on_is_said(serving: Store, export: Export, tmp_path: Path) -> None:
    """The statistics are then those of another file; the answers are proven all the same."""
    path = serving.home / "data" / "heart-disease.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-3]) + "\n")

    result = export("--model", "heart-disease", "--output", str(tmp_path / "out"))

    assert 0 == result.exit_code, result.stderr
    assert "is not what the version was trained on" in result.stderr


def test_a_quarantined_family_is_not_exported(governed: Store, export: Export) -> None:
    """A version somebody put into Production past the approvals is not deployed."""
    family = "alzheimer_classifier"
    version = governed.service().candidate(family)
    governed.registry.set_stage(family, version.number, Stage.PRODUCTION)

    result = export("--model", family)

    assert 3 == result.exit_code
    assert "quarantined" in result.stderr
