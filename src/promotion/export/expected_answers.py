"""What the registered model itself says to held-out rows, for whoever tries a deployment of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from promotion.artifacts.files import artifact_digest, local_artifact
from promotion.config.family import FamilyConfig
from promotion.data.datasets import load_dataset, split_dataset
from promotion.errors import ArtifactTampered
from promotion.evaluation.loading import load_artifact
from promotion.export.contract import Contract, contract_of
from promotion.export.documents import emptied, expected_document
from promotion.registry.contract import ModelVersion, Registry

MAXIMUM_ROWS = 1000


def registered_answers(
    registry: Registry, config: FamilyConfig, version: ModelVersion, digest: str, home: Path
) -> dict[str, Any]:
    """Ask a registered version the family's held-out rows, and each once more with every cell empty that may be.

    Args:
        registry: Has the version's files.
        config: Its family.
        version: Which.
        digest: sha256 its files must have.
        home: Folder the data's path is relative to.

    Returns:
        As `promotion.export.documents.expected_document`, at most `MAXIMUM_ROWS` rows; the `classes` by name, and what
        MLflow's clients are told of each in `answers`.

    Raises:
        ArtifactTampered: The registered files are others.
        DataError: The rows cannot be read.
        RegistryError: The artifact store fails.
    """
    with local_artifact(registry, version) as folder:
        found = artifact_digest(folder)
        if found != digest:
            raise ArtifactTampered(
                f"{version}: its files have sha256 {found[:12]}, expected {digest[:12]}: this is not the version that "
                "was exported: export it and build the image again"
            )
        if config.has_contract:
            features = split_dataset(load_dataset(config, home), config).test_features
            return _asked(contract_of(config), load_artifact(folder), features)
        from promotion.export.received import received_version

        with received_version(config, version, folder, home) as source:
            return _asked(source.contract, source.model, source.rows)


def _asked(contract: Contract, model: Any, features: pd.DataFrame) -> dict[str, Any]:
    features = features.head(MAXIMUM_ROWS // 2)
    rows = pd.concat([features, emptied(contract, features)], ignore_index=True)
    told = {"classes": contract.names, "answers": contract.answers}
    return {**expected_document(contract, model, rows, MAXIMUM_ROWS), **told}
