"""What a training leaves in MLflow: a run and a registered version per candidate, one of them tagged best."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
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
from promotion.config.commit import current_commit
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
class RegisteredVersion:
    """A version that a training registered.

    Attributes:
        model: Registered model.
        number: Of the version.
        run_id: MLflow run that holds params, metrics and pictures.
        registration: What the journal is told of it.
    """

    model: str
    number: int
    run_id: str
    registration: Registration


@dataclass(frozen=True, slots=True)
class CandidateResult(RegisteredVersion):
    """One candidate as trained, examined and registered.

    Attributes:
        algorithm: Name in the family's configuration.
        cross_validation: By metric, one score a fold, shape (folds * repeats,).
        test: By metric, on the test split, with its 95 % bootstrap interval.
    """

    algorithm: str
    cross_validation: Mapping[str, FloatArray]
    test: Mapping[str, Interval]


class Round:
    """One training as MLflow and the journal see it: what all its runs and versions share.

    Args:
        config: The family.
        data_sha256: Digest of what was learned from.
        experiment: Id of the MLflow experiment the runs belong to.
        tags: Further tags of the runs.

    Attributes:
        timestamp: UTC, ISO 8601 with microseconds; names the round.
        commit: Of the code; None outside a git repository.
        trainers: The persons behind the training; empty when unknown.
    """

    def __init__(self, config: FamilyConfig, data_sha256: str, experiment: str, **tags: str) -> None:
        self.timestamp = datetime.now(UTC).isoformat(timespec="microseconds")
        self.commit = commit = current_commit(REPOSITORY)
        self.trainers = trainers(actor(), commit.author if commit else None, machine_accounts(config.approvals))
        self._family, self._experiment = config.family, experiment
        self._feature_hash = feature_schema_hash(config)
        hashes = {"data_sha256": data_sha256, "feature_schema_hash": self._feature_hash}
        self._tags = {ROUND_TAG: self.timestamp, **hashes, **tags}
        self._lineage = {
            "round": self.timestamp,
            "git_commit": commit.sha if commit else None,
            "git_dirty": commit.dirty if commit else None,
            "git_author": commit.author if commit else None,
            "data_path": config.data.path,
            "data_sha256": data_sha256,
        }
        if commit is not None:
            # MLflow's own name for it is what its user interface links.
            self._tags |= {"mlflow.source.git.commit": commit.sha, "git_commit": commit.sha}
            self._tags["git_dirty"] = str(commit.dirty).lower()

    def log(
        self,
        name: str,
        publish: Callable[[Any, Seal], int],
        *,
        run_name: str,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        beside: Mapping[str, float] | None = None,
        pictures: Mapping[str, bytes],
        lineage: Mapping[str, Any],
    ) -> RegisteredVersion:
        """Write one run, and sign and register its version.

        Args:
            name: Registered model.
            publish: Registers the run's version, whose complete files it shows to the seal; returns its number.
            run_name: Of the run.
            params: Of the model.
            metrics: Of the model, by name.
            beside: Further metrics of the run, which say nothing of this model.
            pictures: PNG files by name.
            lineage: Where the version comes from, beyond what the round knows.
        """
        import mlflow

        seal = Seal(Keys.from_environment())
        with mlflow.start_run(experiment_id=self._experiment, run_name=run_name, tags=self._tags) as run:
            mlflow.log_params(dict(params))
            number = publish(run, seal)
            mlflow.log_metrics({**metrics, **(beside or {})})
            with tempfile.TemporaryDirectory() as folder:
                for file, picture in pictures.items():
                    (Path(folder) / file).write_bytes(picture)
                mlflow.log_artifacts(folder)
        run_id = str(run.info.run_id)
        told = {name: str(value) for name, value in params.items()}
        registration = Registration(
            digest=seal.digest,
            signature=seal.signature,
            trainer=",".join(self.trainers) or None,
            feature_hash=self._feature_hash,
            metrics=metrics,
            lineage={"run_id": run_id, **self._lineage, **lineage, "params": told},
        )
        return RegisteredVersion(name, number, run_id, registration)

    def register(self, journal: Journal, versions: Sequence[RegisteredVersion], semver: str | None) -> str:
        """Tell the journal what was registered, all under one semantic version, and which is the best; returns it.

        Args:
            journal: Is told.
            versions: The best one first.
            semver: The semantic version; None for the next minor one.

        Raises:
            UsageError: `semver` is taken.
            JournalError: The journal cannot be written.
        """
        known = [(version, version.registration) for version in versions]
        training = TrainingRound(self.timestamp, versions[0])
        return journal.register(self._family, known, actor=actor(), semver=semver, training=training)


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


def log_candidate(
    training: Round,
    config: FamilyConfig,
    data: tuple[Dataset, Partition],
    algorithm: str,
    examined: Examined,
    folds: Mapping[str, FloatArray],
    others: Mapping[str, Mapping[str, FloatArray]],
) -> CandidateResult:
    """Write one candidate's run, sign its files and register its version.

    Args:
        training: The round it belongs to.
        config: The family.
        data: What was learned from, and its split.
        algorithm: Name in the family's configuration.
        examined: The fitted candidate.
        folds: By metric, its score on each fold.
        others: The same of the candidates that are not registered, by algorithm.
    """
    (dataset, part), test, name = data, examined.test, config.model_name(algorithm)
    params = examined.model.named_steps["estimator"].get_params(deep=False)
    card = CardFacts(
        algorithm=algorithm,
        params=params,
        cross_validation=folds,
        test=test,
        data_sha256=dataset.sha256,
        train_rows=len(part.train_target),
        test_rows=len(part.test_target),
        trainer=", ".join(training.trainers),
        timestamp=training.timestamp,
        commit=training.commit,
    )
    tags = {metric: f"{test[metric].value:.4f}" for metric in ("roc_auc", config.selection_metric) if metric in test}

    def publish(run: Any, seal: Seal) -> int:
        return log_and_register(
            run,
            examined.model,
            config,
            name,
            part.train_features,
            tags | {ROUND_TAG: training.timestamp},
            card=model_card(config, card),
            on_saved=seal,
        )

    version = training.log(
        name,
        publish,
        run_name=algorithm,
        params={"algorithm": algorithm, **params},
        metrics=_metrics(folds, examined),
        beside=_beaten(others),
        pictures=examined.pictures,
        lineage={"data_url": config.data.url, "split": config.split.recorded()},
    )
    return CandidateResult(version.model, version.number, version.run_id, version.registration, algorithm, folds, test)


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
    """
    import mlflow

    client = mlflow.MlflowClient(settings.tracking_uri, settings.registry_uri)
    client.set_model_version_tag(best.model, str(best.number), BEST_TAG, "true")
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
