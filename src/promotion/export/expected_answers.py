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
        As `promotion.export.documents.expected_document`, at most `MAXIMUM_ROWS` rows.

    Raises:
        ArtifactTampered: The registered files are others.
        DataError: The rows cannot be read.
        RegistryError: The artifact store fails.
    """
    features = split_dataset(load_dataset(config, home), config).test_features.head(MAXIMUM_ROWS // 2)
    rows = pd.concat([features, emptied(config, features)], ignore_index=True)
    with local_artifact(registry, version) as folder:
        found = artifact_digest(folder)
        if found != digest:
            raise ArtifactTampered(
                f"{version}: its files have sha256 {found[:12]}, expected {digest[:12]}: this is not the version that "
                "was exported: export it and build the image again"
            )
        return expected_document(config, load_artifact(folder), rows, MAXIMUM_ROWS)
