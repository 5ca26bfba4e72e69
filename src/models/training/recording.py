"""What a training leaves in MLflow: a run and a registered version per candidate, one of them tagged best."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models.training.model_card import CardFacts, model_card
from models.training.packaging import log_and_register
from models.training.selection import Examined
from promotion.approvals.people import actor, trainers
from promotion.artifacts.files import artifact_digest
from promotion.artifacts.signature import sign_artifact
from promotion.auto import BEST_TAG, ROUND_TAG, newest_round
from promotion.config.commit import Commit, current_commit
from promotion.config.family import FamilyConfig
from promotion.config.policy import machine_accounts
from promotion.config.settings import REPOSITORY, Settings
from promotion.data.arrays import FloatArray
from promotion.data.datasets import Dataset, Partition, feature_schema_hash
from promotion.gates.evidence import Interval
from promotion.journal.journal import Journal
from promotion.journal.records import Registration, TrainingRound
from promotion.signing.keys import Keys


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
        registration: What the journal is told of it.
    """

    algorithm: str
    cross_validation: Mapping[str, FloatArray]
    test: Mapping[str, Interval]
    model: str
    version: int
    run_id: str
    registration: Registration

    @property
    def number(self) -> int:
        """The registered version's number, by the name the journal uses."""
        return self.version


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
        trainers: The persons behind the training; empty when unknown.
    """

    def __init__(self, config: FamilyConfig, dataset: Dataset, part: Partition, experiment: str) -> None:
        self.timestamp = datetime.now(UTC).isoformat(timespec="microseconds")
        self.commit = current_commit(REPOSITORY)
        self.trainers = trainers(
            actor(),
            self.commit.author if self.commit else None,
            machine_accounts(config.approvals),
        )
        self._config = config
        self._dataset = dataset
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

    def log(
        self,
        algorithm: str,
        examined: Examined,
        folds: Mapping[str, FloatArray],
        others: Mapping[str, Mapping[str, FloatArray]],
    ) -> CandidateResult:
        """Write one candidate's run, sign its files and register its version.

        Args:
            algorithm: Name in the family's configuration.
            examined: The fitted candidate.
            folds: By metric, its score on each fold.
            others: The same of the candidates that are not registered, by algorithm.
        """
        import mlflow

        config, test = self._config, examined.test
        params = {"algorithm": algorithm, **examined.model.named_steps["estimator"].get_params(deep=False)}
        tags = {name: f"{test[name].value:.4f}" for name in ("roc_auc", config.selection_metric) if name in test}
        seal = Seal(Keys.from_environment())
        with mlflow.start_run(experiment_id=self._experiment, run_name=algorithm, tags=self._tags) as run:
            mlflow.log_params(params)
            version = log_and_register(
                run,
                examined.model,
                config,
                config.model_name(algorithm),
                self._part.train_features,
                tags | {ROUND_TAG: self.timestamp},
                card=model_card(config, self._facts(algorithm, params, test, folds)),
                on_saved=seal,
            )
            metrics = _metrics(folds, examined)
            mlflow.log_metrics(metrics | _beaten(others))
            with tempfile.TemporaryDirectory() as folder:
                for name, picture in examined.pictures.items():
                    (Path(folder) / name).write_bytes(picture)
                mlflow.log_artifacts(folder)
        run_id = run.info.run_id
        registration = Registration(
            digest=seal.digest,
            signature=seal.signature,
            trainer=",".join(self.trainers) or None,
            feature_hash=feature_schema_hash(config),
            metrics=metrics,
            lineage=self._lineage(run_id, params),
        )
        return CandidateResult(algorithm, folds, test, config.model_name(algorithm), version, run_id, registration)

    def register(self, journal: Journal, results: Sequence[CandidateResult], semver: str | None) -> str:
        """Tell the journal what was registered, all under one semantic version, and which is the best; returns it.

        Args:
            journal: Is told.
            results: The best one first.
            semver: The semantic version; None for the next minor one.

        Raises:
            UsageError: `semver` is taken.
            JournalError: The journal cannot be written.
        """
        known = [(result, result.registration) for result in results]
        training = TrainingRound(self.timestamp, results[0])
        return journal.register(self._config.family, known, actor=actor(), semver=semver, training=training)

    def _facts(
        self, algorithm: str, params: Mapping[str, Any], test: Mapping[str, Interval], folds: Mapping[str, FloatArray]
    ) -> CardFacts:
        return CardFacts(
            algorithm=algorithm,
            params={name: value for name, value in params.items() if name != "algorithm"},
            cross_validation=folds,
            test=test,
            data_sha256=self._dataset.sha256,
            train_rows=len(self._part.train_target),
            test_rows=len(self._part.test_target),
            trainer=", ".join(self.trainers),
            timestamp=self.timestamp,
            commit=self.commit,
        )

    def _lineage(self, run_id: str, params: Mapping[str, Any]) -> dict[str, Any]:
        config = self._config
        return {
            "run_id": run_id,
            "round": self.timestamp,
            "git_commit": self.commit.sha if self.commit else None,
            "git_dirty": self.commit.dirty if self.commit else None,
            "git_author": self.commit.author if self.commit else None,
            "data_path": config.data.path,
            "data_url": config.data.url,
            "data_sha256": self._dataset.sha256,
            "split": config.split.recorded(),
            "params": {name: str(value) for name, value in params.items()},
        }


class Seal:
    """Digests and signs a version's files the moment they are complete, before anybody else can touch them."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self.digest = ""
        self.signature: str | None = None

    def __call__(self, folder: Path) -> None:
        """Look at the complete folder."""
        self.digest = artifact_digest(folder)
        self.signature = sign_artifact(folder, self._keys)


def _metrics(folds: Mapping[str, FloatArray], examined: Examined) -> dict[str, float]:
    test = examined.test
    logged = {f"train_{name}": value for name, value in examined.train.items()}
    for name in test:
        logged[f"test_{name}"] = test[name].value
        logged[f"cv_{name}_mean"] = float(folds[name].mean())
        logged[f"cv_{name}_std"] = float(folds[name].std(ddof=1))
        logged[name] = test[name].value
        logged[f"{name}_low"], logged[f"{name}_high"] = test[name].low, test[name].high
    return logged


def _beaten(others: Mapping[str, Mapping[str, FloatArray]]) -> dict[str, float]:
    """What the candidates reached that lost the cross-validation and have no run of their own."""
    return {
        f"not_registered.{algorithm}.cv_{metric}_mean": float(scores.mean())
        for algorithm, folds in others.items()
        for metric, scores in folds.items()
    }


def crown(config: FamilyConfig, settings: Settings, journal: Journal, best: CandidateResult) -> None:
    """Tag the best version, and it alone in the whole family.

    Two trainings may finish together: each tags its best and then leaves only the tag of the round that the journal
    has last, so whoever looks last leaves exactly one.

    Args:
        config: The family.
        settings: Where the registry is.
        journal: Knows the newest round.
        best: The winner of this one.
    """
    import mlflow

    client = mlflow.MlflowClient(settings.tracking_uri, settings.registry_uri)
    client.set_model_version_tag(best.model, str(best.version), BEST_TAG, "true")
    newest = {version.place for version in newest_round(journal, config) if version.is_best}
    for version in _tagged_best(client, config):
        if (version.name, int(version.version)) not in newest:
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
