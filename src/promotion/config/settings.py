"""Where everything is: one home folder, and the environment variables that move a part of it elsewhere."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

REPOSITORY = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Settings:
    """The places one process works with.

    Attributes:
        home: Folder that holds `config/`, `data/` and the default stores.
        tracking_uri: MLflow tracking store.
        registry_uri: MLflow model registry; the tracking store unless set apart.
        database_url: SQLAlchemy URL of the promotion journal.
    """

    home: Path
    tracking_uri: str
    registry_uri: str
    database_url: str

    @classmethod
    def from_environment(cls) -> Self:
        """Read `PROMOTION_HOME`, `MLFLOW_TRACKING_URI`, `MLFLOW_REGISTRY_URI` and `PROMOTION_DATABASE_URL`.

        Each is optional; without any, everything lives in the repository: `mlflow.db`, `mlartifacts/`, `promotion.db`.
        """
        home = Path(os.environ.get("PROMOTION_HOME") or REPOSITORY).resolve()
        tracking_uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}"
        return cls(
            home=home,
            tracking_uri=tracking_uri,
            registry_uri=os.environ.get("MLFLOW_REGISTRY_URI") or tracking_uri,
            database_url=os.environ.get("PROMOTION_DATABASE_URL") or f"sqlite:///{home / 'promotion.db'}",
        )

    @property
    def config_folder(self) -> Path:
        """One YAML file per family."""
        return self.home / "config"

    @property
    def artifact_folder(self) -> Path:
        """Where run and model artifacts go when the tracking store is the default SQLite file."""
        return self.home / "mlartifacts"

    @property
    def registry_is_remote(self) -> bool:
        """Whether other machines can see the registry."""
        return self.registry_uri.startswith(("http://", "https://", "databricks"))
