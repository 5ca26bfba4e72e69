"""What a training leaves in MLflow: a run and a registered version per candidate, one of them tagged best."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models.datasets import Dataset, Partition, feature_schema_hash
from models.evaluation import METRICS, FloatArray
from models.lineage import Commit, current_commit
from models.packaging import log_and_register
from models.selection import Examined
from promotion.auto import BEST_TAG, ROUND_TAG
from promotion.config import FamilyConfig
from promotion.evidence import Interval
from promotion.settings import REPOSITORY, Settings


@dataclass(frozen=True, slots=True)
class CandidateResult:
    """One candidate as trained, examined and registered.

    Attributes:
        algorithm: Name in the family's configuration.
        cross_validation: By metric, one score a fold, shape (folds * repeats,).
        test: By metric, on the test split, with its 95 % bootstrap interval.
        model: Registered model.
        version: Number of the registered version.
        run_id: MLflow run that holds params, metrics and pictures.
    """

    algorithm: str
    cross_validation: Mapping[str, FloatArray]
    test: Mapping[str, Interval]
    model: str
    version: int
    run_id: str


class Round:
    """One training as MLflow sees it: what all its runs and versions share.

    Args:
        config: The family.
        dataset: What was learned from.
        part: Its split.
        experiment: Id of the MLflow experiment the runs belong to.

    Attributes:
        timestamp: UTC, ISO 8601 with microseconds; names the round.
        commit: Of the code; None outside a git repository.
    """

    def __init__(self, config: FamilyConfig, dataset: Dataset, part: Partition, experiment: str) -> None:
        self.timestamp = datetime.now(UTC).isoformat(timespec="microseconds")
        self.commit = current_commit(REPOSITORY)
        self._config = config
        self._part = part
        self._experiment = experiment
        self._tags = {
            ROUND_TAG: self.timestamp,
            "data_sha256": dataset.sha256,
            "feature_schema_hash": feature_schema_hash(config),
        }
        if self.commit is not None:
            # MLflow's own name for it is what its user interface links.
            self._tags |= {"mlflow.source.git.commit": self.commit.sha, "git_commit": self.commit.sha}
            self._tags["git_dirty"] = str(self.commit.dirty).lower()

    def log(self, algorithm: str, examined: Examined, folds: Mapping[str, FloatArray]) -> CandidateResult:
        """Write one candidate's run and register its version."""
        import mlflow

        config = self._config
        test = examined.test
        params = {"algorithm": algorithm, **examined.model.named_steps["estimator"].get_params(deep=False)}
        tags = {name: f"{test[name].value:.4f}" for name in ("roc_auc", config.selection_metric)}
        with mlflow.start_run(experiment_id=self._experiment, run_name=algorithm, tags=self._tags) as run:
            mlflow.log_params(params)
            version = log_and_register(
                run,
                examined.model,
                config,
                config.model_name(algorithm),
                self._part.train_features,
                tags | {ROUND_TAG: self.timestamp},
            )
            mlflow.log_metrics(_metrics(folds, test))
            with tempfile.TemporaryDirectory() as folder:
                for name, picture in examined.pictures.items():
                    (Path(folder) / name).write_bytes(picture)
                mlflow.log_artifacts(folder)
        return CandidateResult(algorithm, folds, test, config.model_name(algorithm), version, run.info.run_id)


def _metrics(folds: Mapping[str, FloatArray], test: Mapping[str, Interval]) -> dict[str, float]:
    logged: dict[str, float] = {}
    for name in METRICS:
        logged[f"cv_{name}_mean"] = float(folds[name].mean())
        logged[f"cv_{name}_std"] = float(folds[name].std(ddof=1))
        logged[name] = test[name].value
        logged[f"{name}_low"], logged[f"{name}_high"] = test[name].low, test[name].high
    return logged


def crown(config: FamilyConfig, settings: Settings, best: CandidateResult, round_: str) -> None:
    """Tag the best version, and it alone in the whole family.

    Two trainings may finish together: each looks again after tagging and leaves only the newest round's tag, so
    whoever looks last leaves exactly one.

    Args:
        config: The family.
        settings: Where the registry is.
        best: The winner.
        round_: Timestamp of its training.
    """
    import mlflow

    client = mlflow.MlflowClient(settings.tracking_uri, settings.registry_uri)
    for version in _tagged_best(client, config):
        client.delete_model_version_tag(version.name, str(version.version), BEST_TAG)
    client.set_model_version_tag(best.model, str(best.version), BEST_TAG, "true")
    holders = _tagged_best(client, config)
    newest = max((version.tags.get(ROUND_TAG, "") for version in holders), default=round_)
    for version in holders:
        if version.tags.get(ROUND_TAG, "") != newest:
            client.delete_model_version_tag(version.name, str(version.version), BEST_TAG)


def _tagged_best(client: Any, config: FamilyConfig) -> list[Any]:
    """Every version of the family's registered models that carries the tag, whatever its value."""
    found: list[Any] = []
    token = None
    while True:
        page = client.search_model_versions(f"tags.`{BEST_TAG}` LIKE '%'", max_results=1000, page_token=token)
        found += [version for version in page if config.owns(version.name)]
        token = page.token
        if not token:
            return found
