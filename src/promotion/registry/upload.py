"""Where a version's files go: a logged model of MLflow 3, or the run's own artifacts on servers older than that."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from promotion.errors import RegistryForbidden
from promotion.registry.contract import without_password

FOLDER = "model"
# No server has this model; that it says so means that it knows what was asked for.
_NOBODYS_MODEL = "logged-models/m-00000000000000000000000000000000"


class LoggedModelPlace:
    """A logged model: what MLflow 3 keeps beside the run that made it.

    Attributes:
        location: Address of the folder, as the model's own MLmodel states it.
        source: What the version is registered from.
        model_id: Of the logged model.
    """

    def __init__(self, client: Any, run: Any) -> None:
        logged = client.create_logged_model(run.info.experiment_id, name=FOLDER, source_run_id=run.info.run_id)
        self.location: str = logged.artifact_location
        self.source: str = logged.model_uri
        self.model_id: str | None = logged.model_id
        self._client = client
        self._run_id = run.info.run_id

    def upload(self, folder: Path) -> None:
        """Copy everything below `folder` and say that the logged model is complete."""
        from mlflow.entities import LoggedModelOutput

        self._client.log_model_artifacts(self.model_id, str(folder))
        self._client.finalize_logged_model(self.model_id, "READY")
        self._client.log_outputs(self._run_id, [LoggedModelOutput(self.model_id, step=0)])

    def link(self, name: str, number: int) -> None:
        """Let MLflow's user interface find the version, by the tag in which it looks for a logged model's versions."""
        from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

        versions = json.dumps([{"name": name, "version": number}])
        self._client.set_logged_model_tags(self.model_id, {MLFLOW_MODEL_VERSIONS: versions})


class RunPlace:
    """The run's artifacts, where models lived before MLflow 3; attributes as `LoggedModelPlace` has them."""

    def __init__(self, client: Any, run: Any) -> None:
        self.location = FOLDER
        # MLflow 3's client resolves `runs:/` through logged models, which such a server does not have.
        self.source = f"{run.info.artifact_uri}/{FOLDER}"
        self.model_id: str | None = None
        self._client = client
        self._run_id = run.info.run_id

    def upload(self, folder: Path) -> None:
        """Copy everything below `folder` into the run."""
        self._client.log_artifacts(self._run_id, str(folder), FOLDER)

    def link(self, name: str, number: int) -> None:
        """Nothing to write: an old user interface follows the version's source to its run."""


UploadPlace = LoggedModelPlace | RunPlace
"""A folder in MLflow that one version's files are put into and registered from."""


def open_place(client: Any, run: Any) -> UploadPlace:
    """Prepare the best place the run's tracking server offers."""
    knows = hasattr(client, "create_logged_model") and keeps_logged_models(client.tracking_uri)
    return LoggedModelPlace(client, run) if knows else RunPlace(client, run)


def old_server_notice(tracking_uri: str) -> str | None:
    """One line for the person watching when models go into their runs; None on a server of MLflow 3."""
    if keeps_logged_models(tracking_uri):
        return None
    return (
        f"{without_password(tracking_uri)} is older than MLflow 3 and keeps no logged models: "
        "each version's files are in its run's artifacts"
    )


@cache
def keeps_logged_models(tracking_uri: str) -> bool:
    """Whether a tracking store knows logged models (MLflow 3.0); asked once a process and store.

    The answer's status decides, because hosted servers answer 404 in words of their own that MLflow's client takes
    for an internal error.

    Raises:
        RegistryError: The server does not answer.
    """
    if not tracking_uri.startswith(("http://", "https://")):
        return True
    # Whoever only loads models imports this module too, and has no use for an HTTP client.
    from promotion.errors import NotOffered
    from promotion.registry.http import MlflowServer
    from promotion.registry.searched import NotThere

    try:
        MlflowServer(tracking_uri).get(_NOBODYS_MODEL)
    except NotOffered:
        return False
    except (NotThere, RegistryForbidden):
        pass
    return True
