"""Score a table with one version: load it, answer chunk by chunk, publish the table with its origin, tell MLflow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path
from typing import Any

import pandas as pd

from promotion.artifacts.files import artifact_digest, local_artifact
from promotion.artifacts.provenance import require_recorded
from promotion.config.family import FamilyConfig
from promotion.config.settings import Settings
from promotion.data.files import file_sha256
from promotion.data.tables import TableFile
from promotion.errors import DataError, RegistryError, UsageError
from promotion.evaluation.loading import load_artifact
from promotion.journal import clock
from promotion.journal.database import Database
from promotion.journal.journal import Journal
from promotion.prediction.inputs import AskedRows
from promotion.prediction.predict_rows import answer
from promotion.registry.contract import ModelVersion, Registry
from promotion.registry.tracking import connect, quiet, readable_failures

Predict = Callable[[pd.DataFrame], pd.DataFrame]
RowProgress = Callable[[float, int], None]
"""Told the share of the rows that are done, and how many these are."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A version that answers.

    Attributes:
        version: As the registry knows it.
        semver: Its semantic version, where the journal knows one.
        digest: sha256 of its artifact as it was loaded.
        model: Loaded from there.
        answer: Predicts checked rows, on the engine that was chosen.
        engine: Which one.
    """

    version: ModelVersion
    semver: str | None
    digest: str
    model: Any
    answer: Predict
    engine: str

    def origin(self) -> dict[str, Any]:
        """Who answered, as plain data."""
        return {
            "model": self.version.model,
            "version": self.version.number,
            "semver": self.semver,
            "stage": str(self.version.stage),
            "run_id": self.version.run_id,
            "artifact_digest": self.digest,
            "engine": self.engine,
        }


@dataclass(slots=True)
class Done:
    """What a prediction came to.

    Attributes:
        rows: How many were predicted.
        seconds: Reading, predicting and writing them.
        head: The first ones.
        first: First day, for rows that have one.
        last: Last day.
        document: Who answered what, as plain data.
        unlogged: Why MLflow has no record of it; empty when it has one, or none was wanted.
    """

    rows: int = 0
    seconds: float = 0.0
    head: pd.DataFrame | None = None
    first: pd.Timestamp | None = None
    last: pd.Timestamp | None = None
    document: dict[str, Any] = field(default_factory=dict)
    unlogged: str = ""

    def add(self, rows: pd.DataFrame) -> None:
        """Count rows that were predicted."""
        self.rows += len(rows)
        self.head = rows if self.head is None else self.head
        if "Date" in rows:
            low, high = rows["Date"].min(), rows["Date"].max()
            self.first = low if self.first is None else min(self.first, low)
            self.last = high if self.last is None else max(self.last, high)


@contextmanager
def loaded(
    registry: Registry, settings: Settings, config: FamilyConfig, version: ModelVersion, engine: str = "pandas"
) -> Iterator[Loaded]:
    """Load a version of a family, ready to answer inside the block.

    Raises:
        ArtifactTampered: Its files, or its registration, are not what the journal recorded.
        ArtifactRefused: The files are no model we load.
        UsageError: The engine is not installed.
        RegistryError: MLflow does not hand over the files.
    """
    journal = Journal(Database(settings.database_url))
    entry = journal.entry(version.model, version.number)
    with local_artifact(registry, version) as folder:
        digest = artifact_digest(folder)
        require_recorded(journal, version, lambda: digest)
        semver = entry.version if entry and entry.version != str(version.number) else None
        if not config.has_contract:
            yield Loaded(version, semver, digest, *_received(config, folder, settings.home, engine), engine)
            return
        model = load_artifact(folder)
        with _engine(engine, model, folder) as answering:
            yield Loaded(version, semver, digest, model, answering, engine)


def _received(config: FamilyConfig, folder: Path, home: Path, engine: str) -> tuple[Any, Predict]:
    from promotion.prediction.received import ReceivedAnswers

    if engine != "pandas":
        raise UsageError(f"{config.family!r} trains elsewhere: its models answer in a process here: leave --engine out")
    model = ReceivedAnswers(config, folder, home)
    return model, model.answer


@contextmanager
def _engine(name: str, model: Any, folder: Path) -> Iterator[Predict]:
    if name != "spark":
        yield lambda features: answer(model, features)
        return
    from promotion.prediction.spark import spark_answers

    with spark_answers(folder) as answering:
        yield answering


def predict_table(
    registry: Registry,
    settings: Settings,
    config: FamilyConfig,
    version: ModelVersion,
    asked: AskedRows,
    *,
    output: Path | None,
    engine: str,
    progress: RowProgress,
) -> Done:
    """Predict rows with one version, and record it where a table is written.

    Args:
        registry: Hands over the version's files.
        settings: Where journal and MLflow are.
        config: The version's family.
        version: Predicts.
        asked: The rows; looked at before the version is loaded.
        output: CSV or Parquet; None to see the first rows only, which nobody records.
        engine: `pandas` or `spark`.
        progress: Called after each chunk.

    Raises:
        DataError: Rows break their contract, or the table cannot be written; nothing was.
        PromotionError: The version cannot be loaded, as `loaded`.
    """
    asked.check()
    if output is None:
        with loaded(registry, settings, config, version, engine) as answering:
            done = score_chunks(answering, asked, None, progress)
            done.document = facts(answering, asked, done)
        return done
    with TableFile(output) as table, loaded(registry, settings, config, version, engine) as answering:
        done = score_chunks(answering, asked, table, progress)
        done.document = table.publish(facts(answering, asked, done))
    done.unlogged = _unlogged(config, settings, done)
    return done


def score_chunks(loaded: Loaded, asked: AskedRows, output: TableFile | None, progress: RowProgress) -> Done:
    """Answer all rows, in memory bounded by a chunk.

    Args:
        loaded: The version.
        asked: The rows.
        output: Gets a line a row: what names the row, the answer, the true one where it is known, and which version of
            which model, from which run, answered; None keeps only the first ones.
        progress: Called after each chunk.

    Raises:
        DataError: Rows break their contract, or cannot be written.
    """
    done = Done()
    begin = time.perf_counter()
    version = loaded.version
    for chunk in asked.chunks(loaded.model):
        rows = pd.concat([chunk.shown, loaded.answer(chunk.features)], axis="columns")
        if chunk.actual is not None:
            rows["actual"] = chunk.actual.to_numpy()
        if output is not None:
            output.write(rows.assign(model=version.model, version=version.number, run_id=version.run_id))
        done.add(rows)
        progress(chunk.done, done.rows)
    done.seconds = time.perf_counter() - begin
    return done


def facts(loaded: Loaded, asked: AskedRows, done: Done) -> dict[str, Any]:
    """What goes beside an output: who answered, to what, how much and when.

    Raises:
        DataError: The input cannot be read any more.
    """
    days = {"first": f"{done.first:%Y-%m-%d}", "last": f"{done.last:%Y-%m-%d}"} if done.first is not None else None
    return {
        **loaded.origin(),
        "rows": done.rows,
        "time_range": days,
        "input": asked.place if "://" in asked.place else str(asked.path),
        "input_sha256": file_sha256(asked.path),
        "data_sha256": asked.data_sha256,
        "notes": asked.notes,
        "predicted_at": clock.now().astimezone(UTC).isoformat(timespec="seconds"),
    }


def default_output(settings: Settings, version: ModelVersion) -> Path:
    """Where a forecast goes unless somebody says otherwise; the folder is there afterwards.

    Raises:
        DataError: The folder cannot be made.
    """
    path = settings.home / "reports" / "predictions" / f"{version.model}-v{version.number}.csv"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path.parent}: cannot be made: {error.strerror}; name a place with --output") from error
    return path


def experiment_of(config: FamilyConfig) -> str:
    """The MLflow experiment that holds a family's predictions."""
    return f"{config.family}-predictions"


def log_prediction(config: FamilyConfig, settings: Settings, document: dict[str, Any], seconds: float) -> None:
    """Record in MLflow which version predicted what; the predictions are valid without.

    Raises:
        RegistryError: MLflow does not take it.
    """
    experiment = connect(config, settings, experiment_of(config))
    import mlflow
    from mlflow.entities import Metric, Param, RunTag

    names = (
        "model",
        "version",
        "semver",
        "stage",
        "run_id",
        "artifact_digest",
        "engine",
        "input_sha256",
        "data_sha256",
    )
    named = {name: str(document[name]) for name in names if document[name] is not None}
    at = int(clock.now().timestamp() * 1000)
    values = {"rows": float(document["rows"]), "seconds": seconds}
    with quiet(), readable_failures(settings.tracking_uri):
        client = mlflow.MlflowClient(settings.tracking_uri, settings.registry_uri)
        run = client.create_run(experiment, run_name=f"{document['model']} v{document['version']}").info.run_id
        client.log_batch(
            run,
            metrics=[Metric(name, value, at, 0) for name, value in values.items()],
            params=[Param(name, text) for name, text in named.items()],
            tags=[RunTag(name, text) for name, text in named.items()],
        )
        client.log_dict(run, document, f"{document['output']}.json")
        client.set_terminated(run)


def _unlogged(config: FamilyConfig, settings: Settings, done: Done) -> str:
    """Record a prediction as `log_prediction` does; why it could not be, empty when it was."""
    try:
        log_prediction(config, settings, done.document, done.seconds)
    except RegistryError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  # whatever a registry does, the predictions are there and right
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return ""
