"""Register a model through `log_and_register` and print its digest before the upload, after it, and its files.

Runs in a process of its own: MLflow reads address and login from the environment once.
"""

from __future__ import annotations

import mlflow

from models.training.candidates import build_pipeline
from models.training.packaging import log_and_register
from promotion.artifacts.files import artifact_digest, local_artifact
from promotion.config.family import load_config
from promotion.config.settings import Settings
from promotion.data.datasets import load_dataset, split_dataset
from promotion.registry.open import open_registry
from promotion.registry.tracking import connect, quiet

NAME = "heart-disease-published"

if __name__ == "__main__":
    settings = Settings.from_environment()
    config = load_config(settings.config_folder, "heart-disease")
    parts = split_dataset(load_dataset(config, settings.home), config)
    model = build_pipeline(config, "logistic_regression").fit(parts.train_features, parts.train_target)
    digests: list[str] = []
    with quiet(), mlflow.start_run(experiment_id=connect(config, settings)) as run:
        number = log_and_register(
            run,
            model,
            config,
            NAME,
            parts.train_features,
            {},
            card="# für α – ω\n",
            on_saved=lambda folder: digests.append(artifact_digest(folder)),
        )
    registry = open_registry(settings)
    with local_artifact(registry, registry.version(NAME, number)) as folder:
        digests.append(artifact_digest(folder))
        digests.append(" ".join(sorted(path.name for path in folder.rglob("*"))))
    print("\n".join(digests))  # noqa: T201  # the answer to the test
