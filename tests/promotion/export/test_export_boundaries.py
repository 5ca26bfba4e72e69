"""What an export is made from: the digest that was verified, the evidence on record, and a place that may be taken."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from tests.promotion.evaluation.received.made import a_received_family
from tests.promotion.factories import ANNA, a_family, a_journal, a_version

from models.model_registry import EmptyStage
from promotion.artifacts.files import artifact_digest
from promotion.artifacts.trusted_types import TRUSTED_TYPES
from promotion.config.family import FamilyConfig, FamilyConfigs, load_config
from promotion.config.settings import REPOSITORY
from promotion.data.datasets import Partition, load_dataset, split_dataset
from promotion.errors import ArtifactTampered, UnknownFamily, UnknownModel, UsageError
from promotion.evaluation.loading import load_artifact
from promotion.evaluation.metrics import METRICS
from promotion.export.contract import contract_of
from promotion.export.documents import ExportDocuments, documents_of
from promotion.export.expected_answers import MAXIMUM_ROWS, registered_answers
from promotion.export.export import (
    _measured_now,
    _replace,
    _require_replaceable,
    _require_servable,
    _require_unchanged,
    _rows,
    _write_engine,
    export_version,
    exportable,
    version_to_export,
)
from promotion.export.folder import MANIFEST, ServingEngine
from promotion.export.manifest import manifest_of, recorded_metrics
from promotion.export.servable import ServableVersion
from promotion.gates.evidence import Interval
from promotion.journal.journal import Journal
from promotion.journal.records import Authority, Change, Entry, Registration
from promotion.registry.contract import ModelVersion, Registry
from promotion.registry.stages import Stage
from promotion.service import PromotionService

DIGEST = "ab" * 32
VERSION = a_version("tiny-forest", 2)


def other(digest: str) -> str:
    """The same with its last digit changed."""
    return digest[:-1] + ("0" if digest[-1] != "0" else "1")


# The files


@pytest.mark.parametrize("wrong", [other, lambda digest: digest[:12], lambda _digest: ""])
def test_what_is_exported_is_what_was_verified(tmp_path: Path, wrong: Any) -> None:
    """The copy's whole digest; a link in it is copied as a link, and then refused."""
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact" / "model").write_text("weights")
    digest = artifact_digest(tmp_path / "artifact")

    _require_unchanged(tmp_path / "artifact", digest, VERSION)
    with pytest.raises(ArtifactTampered, match="tiny-forest v2: its files changed while they were exported"):
        _require_unchanged(tmp_path / "artifact", wrong(digest), VERSION)


@pytest.mark.parametrize(("engine", "reason"), [("native", "--native exports what"), ("onnx", "not asked yet")])
def test_files_as_they_are_are_exported_of_what_is_trained_here(
    engine: ServingEngine, reason: str, tmp_path: Path
) -> None:
    """A version that was trained elsewhere is translated, or served by MLflow."""

    class Nothing:
        @property
        def gatherer(self) -> object:
            raise UsageError("not asked yet")

    with pytest.raises(UsageError, match=reason):
        export_version(
            cast("PromotionService", Nothing()),
            a_received_family(),
            VERSION,
            tmp_path / "out",
            engine=engine,
            report=print,
        )
    assert not (tmp_path / "out").exists()


class OneModel:
    """A registry whose every version has the same files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def artifact_uri(self, _version: ModelVersion) -> str:
        """On this machine."""
        return self._folder.as_uri()


@pytest.mark.system
def test_only_the_exported_version_is_asked(fitted_model: Path) -> None:
    """Its files' whole digest must be the one that was exported; the answers are to held-out rows, twice."""
    registry = cast("Registry", OneModel(fitted_model))
    config = load_config(REPOSITORY / "config", "heart-disease")
    digest = artifact_digest(fitted_model)

    found = registered_answers(registry, config, VERSION, digest, REPOSITORY)

    assert 110 < len(found["rows"]) <= 122 <= MAXIMUM_ROWS
    assert len(found["rows"]) == len(found["labels"]) == len(found["probabilities"])
    assert any(row["thal"] is None for row in found["rows"])
    assert any(row["thal"] is not None for row in found["rows"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("promotion.export.expected_answers.MAXIMUM_ROWS", 100)
        fewer = registered_answers(registry, config, VERSION, digest, REPOSITORY)["rows"]
    assert (100, False, True) == (len(fewer), None in fewer[49].values(), None in fewer[50].values())
    for wrong in (other(digest), digest[:12], ""):
        with pytest.raises(ArtifactTampered, match=rf"sha256 {digest[:12]}, expected {wrong[:12]}: this is not"):
            registered_answers(registry, config, VERSION, wrong, REPOSITORY)


# The place


def test_only_an_export_or_nothing_is_replaced(tmp_path: Path) -> None:
    """A new name, an empty folder, an earlier export; neither a file, nor a link, nor somebody else's folder."""
    for name in ("empty", "export", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "export" / MANIFEST).write_text("{}")
    (tmp_path / "other" / "thesis").write_text("precious")
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "export")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")

    for name in ("new", "empty", "export"):
        _require_replaceable(tmp_path / name)
    for name in ("file", "link", "nowhere"):
        with pytest.raises(UsageError, match=rf"{name}: not a folder"):
            _require_replaceable(tmp_path / name)
    with pytest.raises(UsageError, match="other: holds something else than an export"):
        _require_replaceable(tmp_path / "other")


def test_a_complete_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    """Nothing of the old one stays, and nothing beside it; folders on the way are made."""
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "new").write_text("1")
    place = tmp_path / "deep" / "down" / "export"

    for _ in range(2):
        _replace(tmp_path / "made", place)
        assert ["new"] == [path.name for path in place.iterdir()]
        (place / "old").write_text("0")

    assert ["export"] == [path.name for path in place.parent.iterdir()]
    assert "1" == (tmp_path / "made" / "new").read_text()


# The record


def registered(journal: Journal, number: int, metrics: Mapping[str, float] | None = None, **lineage: Any) -> Entry:
    """A version our training registered."""
    registration = Registration(DIGEST, None, "tina", "f" * 64, metrics or {}, lineage)
    version = replace(a_version("tiny-forest", number), run_id="recorded")
    journal.register("tiny", [(version, registration)], actor="tina", semver=None)
    entry = journal.entry("tiny-forest", number)
    assert entry is not None
    return entry


def moved(journal: Journal, to: Stage, *, serving: int | None = None) -> str:
    """Move version 2 on the evidence of a report of its own; the report's digest."""
    report = journal.save_report(
        family="tiny",
        version=VERSION,
        target=to,
        passed=True,
        report={"passed": True, "to": to.value, "times": len(journal.history())},
        evidence="e" * 64,
        actor="anna",
    )
    authority = Authority("promote", "anna", "better", report, details={"evidence": "e" * 64})
    journal.move("tiny", [Change(VERSION, to)], authority, expected_production=serving)
    return journal.report(report).digest


def test_a_manifest_says_what_is_on_record(tmp_path: Path) -> None:
    """The newest report of its way into Production, else into Staging; stage, version and commit as recorded."""
    journal, config = a_journal(tmp_path), a_family()
    entry = registered(journal, 2, git_commit="c" * 40)

    nowhere = manifest_of(journal, config, VERSION, DIGEST, "onnx")
    assert (None, "None", "1.0.0", "c" * 40) == (nowhere.gate_report, nowhere.stage, nowhere.semver, nowhere.git_sha)
    assert ("tiny", "tiny-forest", 2, DIGEST, "binary-classification", "onnx", [], {}) == (
        nowhere.family,
        nowhere.model,
        nowhere.version,
        nowhere.artifact_digest,
        nowhere.task,
        nowhere.engine,
        nowhere.trusted,
        nowhere.files,
    )
    staged = moved(journal, Stage.STAGING)
    assert (staged, "Staging") == (
        (found := manifest_of(journal, config, VERSION, DIGEST, "onnx")).gate_report,
        found.stage,
    )
    served = moved(journal, Stage.PRODUCTION)
    assert served == manifest_of(journal, config, VERSION, DIGEST, "onnx").gate_report
    again = moved(journal, Stage.STAGING, serving=entry.id)
    assert served == manifest_of(journal, config, VERSION, DIGEST, "onnx").gate_report != again
    journal.record("tiny", VERSION, Authority("note", "anna", "looked at it"))
    newest = moved(journal, Stage.PRODUCTION)
    assert newest == manifest_of(journal, config, VERSION, DIGEST, "native").gate_report != served
    assert sorted(TRUSTED_TYPES) == manifest_of(journal, config, VERSION, DIGEST, "native").trusted


def test_a_move_without_a_report_leaves_none(tmp_path: Path) -> None:
    """As one that was adopted from outside; the earlier one that had a report counts."""
    journal, config = a_journal(tmp_path), a_family()
    journal.move("tiny", [Change(VERSION, Stage.PRODUCTION)], ANNA, expected_production=None)

    assert manifest_of(journal, config, VERSION, DIGEST, "onnx").gate_report is None


def test_a_version_nobody_recorded_has_what_the_registry_says(tmp_path: Path) -> None:
    """Its run and its stage; no semantic version, no report, no commit."""
    journal, config = a_journal(tmp_path), a_family()
    shown = a_version("tiny-forest", 2, Stage.ARCHIVED)

    found = manifest_of(journal, config, shown, DIGEST, "onnx")
    assert ("run-2", "Archived", None, None, None) == (
        found.run_id,
        found.stage,
        found.semver,
        found.gate_report,
        found.git_sha,
    )
    assert "" == manifest_of(journal, config, replace(shown, run_id=None), DIGEST, "onnx").run_id
    registered(journal, 2)
    assert "recorded" == manifest_of(journal, config, replace(shown, run_id=None), DIGEST, "onnx").run_id
    assert "run-2" == manifest_of(journal, config, shown, DIGEST, "onnx").run_id
    assert manifest_of(journal, config, shown, DIGEST, "onnx").git_sha is None
    journal.move("tiny", [Change(a_version("tiny-forest", 3), Stage.STAGING)], ANNA, expected_production=None)
    unnamed = manifest_of(journal, config, a_version("tiny-forest", 3), DIGEST, "onnx")
    assert (None, "Staging") == (unnamed.semver, unnamed.stage)


COMPLETE = {
    key: 0.5 + place / 100
    for place, name in enumerate(METRICS)
    for key in (f"test_{name}", f"{name}_low", f"{name}_high")
}


def test_recorded_metrics_are_all_or_none(tmp_path: Path) -> None:
    """Value and both ends of each; with one missing they are measured anew."""
    journal = a_journal(tmp_path)

    whole = recorded_metrics(journal, registered(journal, 1, COMPLETE | {"latency": 3.0}))
    assert {name: Interval(*[0.5 + place / 100] * 3) for place, name in enumerate(METRICS)} == whole
    for number, missing in enumerate(COMPLETE, start=2):
        part = {name: value for name, value in COMPLETE.items() if name != missing}
        assert {} == recorded_metrics(journal, registered(journal, number, part))
    assert {} == recorded_metrics(journal, None)
    journal.move("tiny", [Change(a_version("tiny-linear", 1), Stage.STAGING)], ANNA, expected_production=None)
    assert {} == recorded_metrics(journal, journal.entry("tiny-linear", 1))


# The data


@pytest.mark.parametrize("trained_on", ["same", "0" * 64, "f" * 64, "prefix", None])
def test_other_data_than_it_was_trained_on_is_said(tmp_path: Path, trained_on: str | None) -> None:
    """By the whole digest; what nobody recorded is other data too. The rows come from the file as it is."""
    config = load_config(REPOSITORY / "config", "heart-disease")
    digest = load_dataset(config, REPOSITORY).sha256
    recorded = {"same": digest, "prefix": digest[:12]}.get(str(trained_on), trained_on)
    service = a_service(tmp_path, config)
    said: list[str] = []

    entry = registered(service.journal, 2, data_sha256=recorded) if recorded else None
    dataset, part = _rows(service, config, entry, said.append)

    assert digest == dataset.sha256
    assert 61 == len(part.test_features)
    shown = (
        f"⚠️ data/heart-disease.csv is not what the version was trained on (sha256 {digest[:12]}, trained on "
        f"{(recorded or 'unknown')[:12]}): the reference statistics are those of the file as it is now"
    )
    assert ([] if trained_on == "same" else [shown]) == said


def a_source(config: FamilyConfig, part: Partition, model: Any, metrics: Any, digest: str) -> ServableVersion:
    """A version of our own training, ready to be exported."""
    rows = part.test_features
    return ServableVersion(contract_of(config), model, rows, part.train_features, metrics, digest, lambda: b"")


@pytest.mark.system
def test_documents_hold_what_was_recorded_or_is_measured_now(tmp_path: Path, fitted_model: Path) -> None:
    """The recorded metrics where all of them were; twenty rows, the first with every cell empty that may be."""
    config = load_config(REPOSITORY / "config", "heart-disease")
    service, model = a_service(tmp_path, config), load_artifact(fitted_model)
    dataset = load_dataset(config, REPOSITORY)
    part = split_dataset(dataset, config)
    found = {}
    for name, entry in (("recorded", registered(service.journal, 2, COMPLETE)), ("now", None)):
        folder = tmp_path / name
        folder.mkdir()
        metrics = recorded_metrics(service.journal, entry) or _measured_now(config, part, model)
        documents_of(a_source(config, part, model, metrics, dataset.sha256), generated=False).write(folder)
        assert ["expected.json", "reference.json", "schema.json"] == sorted(path.name for path in folder.iterdir())
        found[name] = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.iterdir()}

    recorded, now = (found[name]["reference"]["metrics"] for name in ("recorded", "now"))
    assert {name: 0.5 + place / 100 for place, name in enumerate(METRICS)} == {
        name: metric["low"] for name, metric in recorded.items()
    }
    assert set(METRICS) == set(now)
    assert all(metric["low"] < metric["value"] <= metric["high"] for metric in now.values())
    assert recorded.keys() == now.keys()
    expected = found["now"]["expected"]
    assert 20 == len(expected["rows"]) == len(expected["labels"])
    assert [True, *[False] * 19] == [row["thal"] is None and row["ca"] is None for row in expected["rows"]]
    assert found["now"]["expected"] == found["recorded"]["expected"]


# The version


class Shown:
    """A registry whose every version is in no stage, and that knows every model but one."""

    def model(self, name: str) -> None:
        """Whether there is such a model."""
        if name == "nobody":
            raise UnknownModel("no registered model 'nobody'")

    def version(self, model: str, number: int) -> ModelVersion:
        """As MLflow would show it."""
        return a_version(model, number)


class Sound(PromotionService):
    """A service whose family somebody vouches for; remembers that it was asked."""

    asked: list[str]

    def require_sound(self, family: str) -> None:
        """It is."""
        self.asked.append(f"sound {family}")

    def synchronise(self, family: str, *, repair: bool = False) -> str:
        """It is."""
        self.asked.append(f"synchronise {family}{repair or ''}")
        return ""


def a_service(folder: Path, *configs: FamilyConfig) -> Sound:
    """Families and a journal."""
    known = FamilyConfigs({config.family: config for config in configs})
    service = Sound(a_journal(folder), cast("Registry", Shown()), known, cast("Any", None))
    service.asked = []
    return service


@pytest.mark.parametrize(
    ("name", "stage", "serving", "expected"),
    [
        ("tiny", "Production", "tiny-forest", "tiny-forest v1"),
        ("tiny", "production", "tiny-forest", "tiny-forest v1"),
        ("tiny-forest", "PRODUCTION", "tiny-forest", "tiny-forest v1"),
        ("tiny-linear", "Production", "tiny-forest", "is in Production: tiny-forest v1 is$"),
        ("tiny", "Production", None, "no version of 'tiny' is in Production: nothing is; promote a version first"),
        ("tiny-forest", "Production", None, "no version of 'tiny-forest' is in Production: nothing is"),
    ],
)
def test_the_version_in_production_is_the_journals(
    tmp_path: Path, name: str, stage: str, serving: str | None, expected: str
) -> None:
    """By the family's name or by its own; of another model of the family nothing is there."""
    config = a_family()
    service = a_service(tmp_path, config)
    if serving:
        change = Change(a_version(serving, 1), Stage.PRODUCTION)
        service.journal.move("tiny", [change], ANNA, expected_production=None)

    if expected.endswith("v1"):
        assert expected == str(version_to_export(service, config, name, stage))
    else:
        with pytest.raises(EmptyStage, match=expected):
            version_to_export(service, config, name, stage)
    assert ["sound tiny", "synchronise tiny"] == service.asked


@pytest.mark.parametrize(
    ("stage", "is_synchronised"),
    [("2", False), ("1.2.0", False), ("Staging", True), ("Archived", True), ("1.2", True)],
)
def test_only_a_stage_depends_on_what_somebody_moved(tmp_path: Path, stage: str, *, is_synchronised: bool) -> None:
    """A version that is named is that version, whatever was changed outside; the family must be sound all the same."""
    config = a_family()
    service = a_service(tmp_path, config)

    with pytest.raises(UsageError):
        version_to_export(service, config, "nobody", stage)

    assert ["sound tiny", *(["synchronise tiny"] if is_synchronised else [])] == service.asked


def test_what_can_be_exported(tmp_path: Path) -> None:
    """A family or one of its models; not a forecast, not a name without configuration."""
    forecast = load_config(REPOSITORY / "config", "rossmann-ensemble")
    service = a_service(tmp_path, a_family(), forecast)
    service.journal.move("churn", [Change(a_version("churn", 1), Stage.STAGING)], ANNA, expected_production=None)

    assert "tiny" == exportable(service, "tiny").family == exportable(service, "tiny-forest").family
    with pytest.raises(UsageError, match="'rossmann-ensemble' foretells sales for all stores at once"):
        exportable(service, "rossmann-ensemble")
    with pytest.raises(UsageError, match=r"'churn' has no configuration.*add config/churn\.yaml"):
        exportable(service, "churn")
    with pytest.raises(UnknownFamily, match="unknown family 'nobody'"):
        exportable(a_service(tmp_path, a_family()), "nobody")


@pytest.mark.parametrize("library", ["catboost", "lightgbm", "xgboost"])
@pytest.mark.parametrize("steps", [1, 2], ids=["bare", "in a pipeline"])
def test_no_server_holds_a_boosters_library_for_files_as_they_are(tmp_path: Path, library: str, steps: int) -> None:
    """Its graph is what is served; nothing is written, and the line says what to leave out."""
    booster = type("Booster", (), {"__module__": f"{library}.sklearn"})()
    model = booster if steps == 1 else Pipeline([("before", "passthrough"), ("last", booster)])
    source = cast("ServableVersion", SimpleNamespace(model=model))
    with pytest.raises(UsageError, match=rf"^--native: no server holds {library}: leave it out, and the model becomes"):
        _write_engine(tmp_path, tmp_path / "out", source, cast("ExportDocuments", None), "native")
    assert not (tmp_path / "out").exists()
    _require_servable(Pipeline([("before", "passthrough"), ("last", LogisticRegression())]))
