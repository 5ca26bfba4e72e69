"""Turn one version into a folder that serves without registry, MLflow or scikit-learn: verified, translated, proven."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from promotion.artifacts.files import MODEL_CARD, artifact_digest, local_artifact
from promotion.artifacts.trusted_types import BOOSTER_TYPES
from promotion.config.family import FamilyConfig
from promotion.errors import ArtifactTampered, GateRefused, PromotionError, UsageError
from promotion.export.folder import ATTESTATION, MANIFEST, Export, ServingEngine, open_export, seal
from promotion.export.manifest import manifest_of, recorded_metrics
from promotion.gates import run_gates
from promotion.gates.evidence import Interval
from promotion.journal.records import Entry
from promotion.lookup import EmptyStage, find_version
from promotion.registry.contract import ModelVersion
from promotion.registry.semver import is_semantic
from promotion.registry.stages import Stage
from promotion.service import PromotionService
from promotion.signing.keys import Keys

if TYPE_CHECKING:
    from promotion.data.datasets import Dataset, Partition
    from promotion.export.documents import ExportDocuments
    from promotion.export.onnx import Parity
    from promotion.export.servable import ServableVersion

GRAPH = "model.onnx"
NATIVE = "model"
"""Where the registered files lie in a native export."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did.

    Attributes:
        export: The folder.
        parity: How far the translation is from the registered model; None for a native export.
    """

    export: Export
    parity: Parity | None


def exportable(service: PromotionService, name: str) -> FamilyConfig:
    """The family of a name that a server can answer for.

    Args:
        service: Knows the families.
        name: A family, or one of its registered models.

    Raises:
        UsageError: It has no configuration, or it is asked in batches.
        UnknownFamily: Nobody knows the name.
    """
    family = name if name in service.configs else service.family(name)
    config = service.configs.get(family)
    if config is None:
        service.require_family(name)
        raise UsageError(
            f"{name!r} has no configuration, so nobody knows what it takes and answers: add config/{name}.yaml"
        )
    if config.is_forecast:
        raise UsageError(
            f"{family!r} foretells sales for all stores at once: it is asked in batches, not served row by row: "
            f"python src/models/predict.py --model-name {family} --input ROWS.csv --output PREDICTIONS.csv"
        )
    return config


def version_to_export(service: PromotionService, config: FamilyConfig, name: str, stage: str) -> ModelVersion:
    """The version a stage or a number means, of a family whose Production somebody vouches for.

    What was changed in MLflow is taken over first where the family allows it, so that what is deployed is on record.

    Args:
        service: Decides who is where.
        config: The family.
        name: The family, or one of its registered models.
        stage: A stage, MLflow's number, or a semantic version.

    Raises:
        Quarantined: The family's Production was changed past its rules.
        EmptyStage: Nothing is in that stage.
        UnknownVersion: There is no such version.
    """
    family = config.family
    service.require_sound(family)
    if not stage.isdecimal() and not is_semantic(stage):
        service.synchronise(family)
        if stage.lower() == Stage.PRODUCTION.value.lower():
            entry = service.journal.production(family)
            if entry is None or (config.owns(name) and name not in {family, entry.model}):
                serving = f"{entry} is" if entry else "nothing is; promote a version first"
                raise EmptyStage(f"no version of {name!r} is in Production: {serving}")
            return service.registry.version(entry.model, entry.number)
    return find_version(service.registry, name, stage)


def export_version(
    service: PromotionService,
    config: FamilyConfig,
    version: ModelVersion,
    output: Path,
    *,
    engine: ServingEngine,
    report: Callable[[str], None],
) -> Exported:
    """Write the folder a server needs, and nothing unless everything in it is proven.

    Args:
        service: Knows what was recorded of the version.
        config: Its family.
        version: Which.
        output: The folder; an earlier export there is replaced as a whole, and only once the new one is complete.
        engine: `onnx`, or `native` for the registered files as they are. Of a model that CatBoost writes no graph of,
            its own file is exported.
        report: Told each step.

    Raises:
        GateRefused: The files are not what was registered, not signed by a trusted key, not safe, or do not run; or the
            translation answers otherwise.
        DataError: The rows to prove it on cannot be read.
        RegistryError: The artifact store fails.
        UsageError: `output` holds something else than an export.
    """
    _require_replaceable(output)
    if engine == "native" and not config.has_contract:
        raise UsageError(
            f"--native exports what is trained here; leave it out, or serve {version} with MLflow's own server"
        )
    from promotion.export.documents import documents_of

    digest = _verified(service, config, version)
    report(f"verified: {version}, sha256 {digest[:12]}")
    with TemporaryDirectory(prefix="export-") as scratch, local_artifact(service.registry, version) as files:
        folder = Path(scratch) / "export"
        folder.mkdir()
        _require_unchanged(files, digest, version)
        with _source(service, config, version, files, report) as source:
            documents = documents_of(source, generated=config.exports_generated_rows)
            engine, parity = _write_engine(files, folder, source, documents, engine)
            if parity:
                told = f"{parity.rows} answers to held-out rows alike, largest difference {parity.difference:.1e}"
                report(f"proven: {told}")
            documents.write(folder)
            report(f"expected.json: {documents.origin}")
        card = files / MODEL_CARD
        if card.is_file():
            shutil.copyfile(card, folder / MODEL_CARD)
        if attestation := _attestation(service, config, version, report):
            (folder / ATTESTATION).write_text(attestation, encoding="utf-8")
        keys = Keys.from_environment()
        seal(folder, manifest_of(service.journal, config, version, digest, engine), keys)
        _replace(folder, output)
    return Exported(open_export(output, keys), parity)


@contextmanager
def _source(
    service: PromotionService,
    config: FamilyConfig,
    version: ModelVersion,
    files: Path,
    report: Callable[[str], None],
) -> Iterator[ServableVersion]:
    """What the export is made from: a pipeline of our own loaded here, any other asked in its process."""
    if not config.has_contract:
        from promotion.config.settings import Settings
        from promotion.export.received import received_version

        with received_version(config, version, files, Settings.from_environment().home) as source:
            yield source
        return
    from promotion.evaluation.loading import load_artifact
    from promotion.export.contract import contract_of
    from promotion.export.onnx import translate
    from promotion.export.servable import ServableVersion

    entry = service.journal.entry(version.model, version.number)
    dataset, part = _rows(service, config, entry, report)
    model, contract = load_artifact(files), contract_of(config)
    yield ServableVersion(
        contract=contract,
        model=model,
        rows=part.test_features,
        learned=part.train_features,
        metrics=recorded_metrics(service.journal, entry) or _measured_now(config, part, model),
        data_sha256=dataset.sha256,
        graph=lambda: translate(model, contract),
        segments=config.monitoring_policy.segments,
        measure=lambda places: _measured_now(config, part, model, places),
    )


def _verified(service: PromotionService, config: FamilyConfig, version: ModelVersion) -> str:
    """The artifact's digest, after the gates on integrity and schema that a rollback has to pass too."""
    context = service.gatherer.gather(
        config.family, version, config, target=Stage.PRODUCTION, from_stage=None, is_rollback=True
    )
    found = run_gates(config.family, context)
    if not found.passed:
        reasons = "; ".join(
            f"{gate.name}: {gate.measured}, required {gate.required} ({gate.why})" for gate in found.refusals
        )
        raise GateRefused(f"{version} is not exported: {reasons}", report=found.as_json())
    return str(found.digest)


def _attestation(
    service: PromotionService, config: FamilyConfig, version: ModelVersion, report: Callable[[str], None]
) -> str | None:
    """What the version's promotion rested on; None where it was not promoted, or where the file is not at hand."""
    entry = service.journal.entry(version.model, version.number)
    event = service.attestations.promotion_of(config.family, entry) if service.attestations and entry else None
    if event is None or service.attestations is None:
        return None
    try:
        return service.attestations.text(event)
    except PromotionError as error:
        report(f"⚠️ NO ATTESTATION in the export, so production takes no image of it: {error}")
        return None


def _require_unchanged(files: Path, digest: str, version: ModelVersion) -> None:
    """What was verified may have been changed before it was copied."""
    if artifact_digest(files) != digest:
        raise ArtifactTampered(
            f"{version}: its files changed while they were exported: export again, and ask who writes there"
        )


def _rows(
    service: PromotionService, config: FamilyConfig, entry: Entry | None, report: Callable[[str], None]
) -> tuple[Dataset, Partition]:
    from promotion.config.settings import Settings
    from promotion.data.datasets import load_dataset, split_dataset

    dataset = load_dataset(config, Settings.from_environment().home)
    registration = service.journal.registration(entry.id) if entry else None
    trained_on = registration.lineage.get("data_sha256") if registration else None
    if trained_on != dataset.sha256:
        report(
            f"⚠️ {config.data.path} is not what the version was trained on (sha256 {dataset.sha256[:12]}, trained on "
            f"{str(trained_on or 'unknown')[:12]}): the reference statistics are those of the file as it is now"
        )
    return dataset, split_dataset(dataset, config)


def _write_engine(
    files: Path, folder: Path, source: ServableVersion, documents: ExportDocuments, engine: ServingEngine
) -> tuple[ServingEngine, Parity | None]:
    """Put into the folder what answers; returns what that is, and what it was proven with."""
    if engine == "native":
        _require_servable(source.model)
        # What MLflow keeps as an example are rows that were trained on.
        hidden = None if documents.generated is None else shutil.ignore_patterns("*input_example*")
        shutil.copytree(files, folder / NATIVE, ignore=hidden)
        return engine, None
    import pandas as pd

    from promotion.export.catboost_file import is_catboost_file, unseen_categories, write_catboost_file
    from promotion.export.documents import emptied
    from promotion.export.onnx import prove

    graph, contract = source.graph(), source.contract
    rows = pd.concat([source.rows, emptied(contract, source.rows)], ignore_index=True)
    if is_file := is_catboost_file(graph):
        rows = pd.concat([rows, unseen_categories(contract, source.rows)], ignore_index=True)
    parity = prove(graph, source.model, contract, rows)
    if documents.generated is not None:
        prove(graph, source.model, contract, documents.generated)
    if is_file:
        write_catboost_file(graph, folder / NATIVE)
        return "catboost", parity
    (folder / GRAPH).write_bytes(graph)
    return "onnx", parity


def _measured_now(
    config: FamilyConfig, part: Partition, model: Any, places: Any = slice(None)
) -> Mapping[str, Interval]:
    from promotion.evaluation.metrics import intervals, response_of

    rows = part.test_features.iloc[places]
    return intervals(part.test_target[places], response_of(model, rows, len(config.classes)), config.split.seed)


def _require_servable(model: Any) -> None:
    """Refuse what the server of registered files has no library for."""
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    library = type(last).__module__.partition(".")[0]
    if library in {name.partition(".")[0] for name in BOOSTER_TYPES}:
        raise UsageError(f"--native: no server holds {library}: leave it out, and the model becomes ONNX")


def _require_replaceable(output: Path) -> None:
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise UsageError(f"{output}: not a folder: name one that does not exist yet, or an earlier export")
    if output.is_dir() and any(output.iterdir()) and not (output / MANIFEST).is_file():
        raise UsageError(f"{output}: holds something else than an export, which would be deleted: name another folder")


def _replace(folder: Path, output: Path) -> None:
    """Put the complete folder in its place: whoever reads finds the old one, the new one, or for a moment none."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=output.parent, prefix=".export-") as beside:
        new, old = Path(beside) / "new", Path(beside) / "old"
        shutil.copytree(folder, new)
        if output.exists():
            output.rename(old)
        new.rename(output)
