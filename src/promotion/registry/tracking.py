"""The one MLflow connection of a training: where it goes, what it says on the console, and how its failures read."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from promotion.config.family import FamilyConfig
from promotion.config.settings import Settings
from promotion.errors import PromotionError, RegistryError
from promotion.registry.contract import without_password
from promotion.registry.failures import registry_error

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow's own defaults retry a dead or failing server in silence for minutes, draw bars into our own, and phone home.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def connect(config: FamilyConfig, settings: Settings, experiment_name: str | None = None) -> str:
    """Point MLflow at the configured stores and find or create an experiment, the family's unless another is named.

    In a local SQLite store the artifacts go to the home's own folder; a server decides for itself.

    Raises:
        RegistryError: The store cannot be reached or used.
    """
    bound_patience()
    import mlflow

    name = experiment_name or config.family
    with quiet(), readable_failures(settings.tracking_uri):
        mlflow.set_tracking_uri(settings.tracking_uri)
        mlflow.set_registry_uri(settings.registry_uri)
        client = mlflow.MlflowClient(settings.tracking_uri, settings.registry_uri)
        is_local = settings.tracking_uri.startswith("sqlite")
        return open_experiment(client, name, settings.artifact_folder if is_local else None)


def open_experiment(client: MlflowClient, name: str, artifacts: Path | None) -> str:
    """Find or create an experiment, with its files in a folder of its name below `artifacts`; returns its id.

    Raises:
        RegistryError: It is deleted.
    """
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        location = (artifacts / name).as_uri() if artifacts else None
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException as error:
            experiment = client.get_experiment_by_name(name)  # another process may have been faster
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or experiment is None:
                raise
    if experiment.lifecycle_stage != "active":
        raise RegistryError(
            f"{without_password(client.tracking_uri)}: experiment {name!r} is deleted: "
            f"restore it with `mlflow experiments restore -x {experiment.experiment_id}`"
        )
    return str(experiment.experiment_id)


def require_registered_model(client: MlflowClient, name: str) -> None:
    """Create a registered model unless it is there."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def bound_patience() -> None:
    """Let MLflow give up on a server after a minute, and say no more than it is asked, where nobody said otherwise."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep MLflow's announcements off the console; failures arrive as exceptions all the same."""
    from mlflow.utils.logging_utils import MLFLOW_LOGGING_STREAM

    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    levels = [logger.level for logger in loggers]
    was_enabled = MLFLOW_LOGGING_STREAM.enabled
    MLFLOW_LOGGING_STREAM.enabled = False
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        MLFLOW_LOGGING_STREAM.enabled = was_enabled
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def readable_failures(uri: str) -> Iterator[None]:
    """Turn whatever MLflow raises into one of our `RegistryError`s, told apart by what an operator does next.

    Raises:
        RegistryError: In place of MLflow's, SQLAlchemy's and the system's exceptions.
    """
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except PromotionError:
        raise
    except (MlflowException, RequestException, SQLAlchemyError, OSError) as error:
        raise registry_error(without_password(uri), error) from error
