"""What a training of the ensemble leaves: a run, a signed version, and its entry in the journal."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from models.forecast.data.sales import Sales
from models.forecast.rows import INPUT_COLUMNS
from models.forecast.training.learning import Learned, LearningPlan
from models.forecast.training.model_card import ForecastFacts, ensemble_card
from models.forecast.training.packaging import save_ensemble
from models.forecast.training.plots import draw_error_by_store, draw_learning_curves
from models.training.packaging import EXAMPLE_ROWS, publish
from models.training.recording import Seal
from promotion.approvals.people import actor, trainers
from promotion.auto import ROUND_TAG
from promotion.config.commit import Commit, current_commit
from promotion.config.family import FamilyConfig
from promotion.config.policy import machine_accounts
from promotion.config.settings import REPOSITORY, Settings
from promotion.data.datasets import feature_schema_hash
from promotion.gates.evidence import Interval
from promotion.journal.journal import Journal
from promotion.journal.records import Registration, TrainingRound
from promotion.registry.tracking import connect, quiet, readable_failures
from promotion.signing.keys import Keys


@dataclass(frozen=True, slots=True)
class RegisteredEnsemble:
    """What is to be recorded.

    Attributes:
        data: What was learned from.
        plan: How.
        learned: The ensemble.
        rows: The holdout with its sales and, in column `forecast`, what the ensemble foretold.
        metrics: On the holdout, by name.
        interval: 95 % interval of the holdout's RMSPE.
        invented: Says so if a generator made the data.
    """

    data: Sales
    plan: LearningPlan
    learned: Learned
    rows: Any
    metrics: Mapping[str, float]
    interval: Interval
    invented: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """The registered version.

    Attributes:
        model: Registered model.
        number: MLflow's number of the version.
        semver: Its semantic version.
        run_id: MLflow run that holds params, metrics and pictures.
        timestamp: When, UTC, ISO 8601.
    """

    model: str
    number: int
    semver: str
    run_id: str
    timestamp: str


def record_ensemble(
    config: FamilyConfig, settings: Settings, journal: Journal, outcome: RegisteredEnsemble, *, semver: str | None
) -> Recorded:
    """Write the run, sign and register the version, and tell the journal.

    Raises:
        UsageError: `semver` is taken.
        RegistryError: MLflow does not take it.
        JournalError: The journal cannot be written.
    """
    import mlflow

    experiment = connect(config, settings)
    timestamp = datetime.now(UTC).isoformat(timespec="microseconds")
    commit = current_commit(REPOSITORY)
    persons = trainers(
        actor(),
        commit.author if commit else None,
        machine_accounts(config.approvals),
    )
    model, learned = config.registered_model, outcome.learned
    facts = ForecastFacts(
        data=outcome.data,
        plan=outcome.plan,
        learned=learned,
        holdout=outcome.metrics,
        interval=outcome.interval,
        holdout_rows=len(outcome.rows),
        invented=outcome.invented,
        trainer=", ".join(persons),
        timestamp=timestamp,
        commit=commit,
    )
    lineage = _lineage(config, settings, outcome, commit) | {"round": timestamp}
    params, metrics = _params(outcome), _metrics(outcome)
    tags = {
        ROUND_TAG: timestamp,
        "data_sha256": outcome.data.sha256,
        "feature_schema_hash": feature_schema_hash(config),
    }
    if lineage["data_dvc"]:
        tags["data_dvc"] = lineage["data_dvc"]
    if commit is not None:
        tags |= {
            "mlflow.source.git.commit": commit.sha,
            "git_commit": commit.sha,
            "git_dirty": str(commit.dirty).lower(),
        }
    seal = Seal(Keys.from_environment())
    example = outcome.rows[list(INPUT_COLUMNS)].head(EXAMPLE_ROWS)
    with (
        quiet(),
        readable_failures(settings.tracking_uri),
        mlflow.start_run(experiment_id=experiment, run_name=model, tags=tags) as run,
    ):
        mlflow.log_params(params)
        mlflow.log_metrics(metrics)
        _log_pictures(model, outcome)
        number = publish(
            run,
            model,
            {"rmspe": f"{metrics['rmspe']:.4f}", ROUND_TAG: timestamp},
            save=partial(save_ensemble, learned.ensemble, config, example),
            card=ensemble_card(config, facts),
            on_saved=seal,
        )
    run_id = str(run.info.run_id)
    registration = Registration(
        digest=seal.digest,
        signature=seal.signature,
        trainer=",".join(persons) or None,
        feature_hash=feature_schema_hash(config),
        metrics=metrics,
        lineage=lineage | {"run_id": run_id, "params": params},
    )
    unnumbered = Recorded(model, number, "", run_id, timestamp)
    training = TrainingRound(timestamp, unnumbered)
    given = journal.register(
        config.family, [(unnumbered, registration)], actor=actor(), semver=semver, training=training
    )
    return Recorded(model, number, given, run_id, timestamp)


def dvc_hash(path: Path, home: Path) -> str | None:
    """The hash DVC knows a file or a folder above it by; None when it is not under DVC.

    Args:
        path: The data file.
        home: Where to stop looking upwards.
    """
    for candidate in (path, *path.parents):
        pointer = candidate.with_name(f"{candidate.name}.dvc")
        if pointer.is_file():
            try:
                tracked = yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"][0]
                return str(tracked["md5"])
            except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError):
                return None
        if candidate == home:
            return None
    return None


def _log_pictures(model: str, outcome: RegisteredEnsemble) -> None:
    import mlflow

    pictures = {
        "learning_curves.png": draw_learning_curves(model, outcome.learned.folds),
        "error_by_store.png": draw_error_by_store(model, outcome.rows),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, picture in pictures.items():
            (Path(folder) / name).write_bytes(picture)
        mlflow.log_artifacts(folder)


def _params(outcome: RegisteredEnsemble) -> dict[str, str]:
    plan = outcome.plan
    shared = ("horizon", "folds", "half_life", "warm_up", "fold_rows", "final_rows", "patience", "seed")
    params = {name: str(getattr(plan, name)) for name in shared}
    params |= {f"{name}.{key}": str(value) for name, view in plan.views.items() for key, value in view}
    for member in outcome.learned.ensemble.members:
        params |= {f"{member.name}.{name}": str(value) for name, value in plan.params[member.name].items()}
        params[f"{member.name}.rounds"] = str(member.booster.rounds)
        params[f"{member.name}.weight"] = f"{outcome.learned.ensemble.weights[member.name]:.6f}"
    return params


def _metrics(outcome: RegisteredEnsemble) -> dict[str, float]:
    metrics = {**outcome.metrics, "rmspe_low": outcome.interval.low, "rmspe_high": outcome.interval.high}
    for name, scores in outcome.learned.cross_validation().items():
        metrics |= {f"cv_{name}_rmspe_{place + 1}": value for place, value in enumerate(scores)}
        metrics[f"cv_{name}_rmspe_mean"] = float(np.mean(scores))
    return metrics


def _lineage(
    config: FamilyConfig, settings: Settings, outcome: RegisteredEnsemble, commit: Commit | None
) -> dict[str, Any]:
    return {
        "git_commit": commit.sha if commit else None,
        "git_dirty": commit.dirty if commit else None,
        "git_author": commit.author if commit else None,
        "data_path": config.data.path,
        "data_sha256": outcome.data.sha256,
        "data_dvc": dvc_hash(settings.home / config.data.path, settings.home),
        "data_invented": bool(outcome.invented),
        "holdout": outcome.learned.window.label,
    }
