"""What a training of the ensemble leaves: a run, a signed version, and its entry in the journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from models.forecast.data.sales import Sales
from models.forecast.rows import INPUT_COLUMNS
from models.forecast.training.learning import Learned, LearningPlan
from models.forecast.training.model_card import ensemble_card
from models.forecast.training.packaging import save_ensemble
from models.forecast.training.plots import draw_error_by_store, draw_learning_curves
from models.training.packaging import EXAMPLE_ROWS, publish
from models.training.recording import RegisteredVersion, Round, Seal
from promotion.auto import ROUND_TAG
from promotion.config.family import FamilyConfig
from promotion.config.settings import Settings
from promotion.gates.evidence import Interval
from promotion.journal.journal import Journal
from promotion.registry.tracking import connect, quiet, readable_failures


@dataclass(frozen=True, slots=True)
class ExaminedEnsemble:
    """An ensemble as it was learned and examined.

    Attributes:
        data: What was learned from.
        plan: How.
        learned: The ensemble.
        rows: The holdout with its sales and, in column `forecast`, what the ensemble foretold.
        holdout: Metrics on it, by name: of days that nothing was learned from.
        interval: 95 % interval of its RMSPE.
        invented: Says so if a generator made the data; empty for real data.
    """

    data: Sales
    plan: LearningPlan
    learned: Learned
    rows: pd.DataFrame
    holdout: Mapping[str, float]
    interval: Interval
    invented: str


@dataclass(frozen=True, slots=True)
class EnsembleResult:
    """What a training did.

    Attributes:
        examined: The ensemble.
        version: The registered version.
        semver: Its semantic version.
        timestamp: When, UTC, ISO 8601.
    """

    examined: ExaminedEnsemble
    version: RegisteredVersion
    semver: str
    timestamp: str


def record_ensemble(
    config: FamilyConfig, settings: Settings, journal: Journal, examined: ExaminedEnsemble, *, semver: str | None
) -> EnsembleResult:
    """Write the run, sign and register the version, and tell the journal.

    Raises:
        UsageError: `semver` is taken.
        RegistryError: MLflow does not take it.
        JournalError: The journal cannot be written.
    """
    data, learned, model = examined.data, examined.learned, config.registered_model
    dvc = dvc_hash(settings.home / config.data.path, settings.home)
    training = Round(config, data.sha256, connect(config, settings), **({"data_dvc": dvc} if dvc else {}))
    metrics = _metrics(examined)
    example = examined.rows[list(INPUT_COLUMNS)].head(EXAMPLE_ROWS)

    def register(run: Any, seal: Seal) -> int:
        return publish(
            run,
            model,
            {"rmspe": f"{metrics['rmspe']:.4f}", ROUND_TAG: training.timestamp},
            save=partial(save_ensemble, learned.ensemble, config, example),
            card=ensemble_card(config, examined, training),
            on_saved=seal,
        )

    with quiet(), readable_failures(settings.tracking_uri):
        version = training.log(
            model,
            register,
            run_name=model,
            params=_params(examined),
            metrics=metrics,
            pictures={
                "learning_curves.png": draw_learning_curves(model, learned.folds),
                "error_by_store.png": draw_error_by_store(model, examined.rows),
            },
            lineage={"data_dvc": dvc, "data_invented": bool(examined.invented), "holdout": learned.window.label},
        )
    return EnsembleResult(examined, version, training.register(journal, [version], semver), training.timestamp)


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


def _params(examined: ExaminedEnsemble) -> dict[str, str]:
    plan = examined.plan
    shared = ("horizon", "folds", "half_life", "warm_up", "fold_rows", "final_rows", "patience", "seed")
    params = {name: str(getattr(plan, name)) for name in shared}
    params |= {f"{name}.{key}": str(value) for name, view in plan.views.items() for key, value in view}
    for member in examined.learned.ensemble.members:
        params |= {f"{member.name}.{name}": str(value) for name, value in plan.params[member.name].items()}
        params[f"{member.name}.rounds"] = str(member.booster.rounds)
        params[f"{member.name}.weight"] = f"{examined.learned.ensemble.weights[member.name]:.6f}"
    return params


def _metrics(examined: ExaminedEnsemble) -> dict[str, float]:
    metrics = {**examined.holdout, "rmspe_low": examined.interval.low, "rmspe_high": examined.interval.high}
    for name, scores in examined.learned.cross_validation().items():
        metrics |= {f"cv_{name}_rmspe_{place + 1}": value for place, value in enumerate(scores)}
        metrics[f"cv_{name}_rmspe_mean"] = float(np.mean(scores))
    return metrics
