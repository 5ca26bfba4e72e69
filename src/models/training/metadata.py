"""The one-page record of the latest training that other tools read: which version, how good, and where it is now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from models.training.candidates import ALGORITHMS
from models.training.challenge import ChallengeOutcome
from models.training.training import TrainingResult
from promotion.data.files import write_whole
from promotion.errors import PromotionError
from promotion.registry.stages import Stage


def metadata_of(result: TrainingResult, outcome: ChallengeOutcome | None) -> dict[str, Any]:
    """The best version of a training as plain data.

    Args:
        result: Of the training.
        outcome: Of the attempt to promote; None when there was none.

    Returns:
        First who it is, how good, whether it serves, and its hyper-parameters; then its lineage.
    """
    best = result.candidates[0]
    plan = outcome.plan if outcome else None
    kind = ALGORITHMS[best.algorithm].estimator(result.task)
    champion = (plan.candidate if outcome and outcome.promoted else plan.production) if plan else None
    stage = outcome.stage if outcome else Stage.NONE
    shown = "accuracy" if "accuracy" in best.test else result.metric
    return {
        "run_id": best.run_id,
        "model_name": best.model,
        "version": best.number,
        f"train_{shown}": result.train[shown],
        f"test_{shown}": best.test[shown].value,
        "promoted_to_production": outcome is not None and outcome.promoted,
        "model_type": kind.removesuffix("Classifier").removesuffix("Regressor"),
        "params": dict(result.params),
        "family": result.family,
        "stage": str(stage) if stage else None,
        "scenario": outcome.scenario if outcome else None,
        "production": str(champion) if champion else None,
        "semver": result.semver,
        "digest": plan.report.digest if plan else None,
        "trained_at": result.round,
        "git_commit": result.commit.sha if result.commit else None,
        "git_dirty": result.commit.dirty if result.commit else None,
        "data_sha256": result.data_sha256,
        "data_invented": bool(result.invented),
        "train_rows": result.rows[0],
        "test_rows": result.rows[1],
    }


def write_metadata(document: dict[str, Any], path: Path) -> None:
    """Write the record whole or not at all.

    Raises:
        PromotionError: It cannot be written; the training it describes is registered all the same.
    """
    try:
        write_whole(path, json.dumps(document, indent=2) + "\n")
    except OSError as error:
        raise PromotionError(f"{path}: cannot be written: {error.strerror}; the version is registered") from error
