"""Any registry that MLflow itself can open, through `MlflowClient`; slow to start, so other ways are preferred."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

from promotion.errors import PromotionError
from promotion.registry.contract import (
    NO_NAME,
    NO_VERSION,
    ModelVersion,
    RegisteredModel,
    TrackedRun,
    as_logged,
    from_milliseconds,
    origin_deleted,
    served_artifact_uri,
)
from promotion.registry.failures import only_refusals, registry_error, shown_stage
from promotion.registry.searched import NotThere, SearchedRegistry
from promotion.registry.stages import Stage

PAGE = 1000
CONNECT_SECONDS = 3
_DATABASES = ("postgresql", "mysql", "mssql")
_ADDED = ("registered_model_aliases", "model_version_tags")
_WRITTEN = ("registered_models", "model_versions", *_ADDED)


class ClientRegistry(SearchedRegistry):
    """MLflow's model registry behind any URI that MLflow understands."""

    def run(self, run_id: str) -> TrackedRun | None:
        """The run that made a version; None when there is none of this id."""
        try:
            with self._translated():
                found = self._client.get_run(run_id)
        except NotThere:
            return None
        datasets = getattr(getattr(found, "inputs", None), "dataset_inputs", None) or []
        return TrackedRun(
            user=found.data.tags.get("mlflow.user") or found.info.user_id or None,
            tags=dict(found.data.tags),
            metrics=as_logged(found.data.metrics),
            datasets=[(item.dataset.name, item.dataset.digest) for item in datasets],
            is_deleted=found.info.lifecycle_stage == "deleted",
        )

    def keeps_logged_model(self, model_id: str) -> bool:
        """Whether there is such a logged model that nobody deleted."""
        try:
            with self._translated():
                self._client.get_logged_model(model_id)
        except NotThere:
            return False
        return True

    def artifact_uri(self, version: ModelVersion) -> str:
        """Where the artifact's files are, resolved down to a storage location."""
        with self._about(version.model, version.number):
            uri = self._client.get_model_version_download_uri(version.model, str(version.number)) or version.source
        try:
            with self._translated():
                return served_artifact_uri(self._storage(uri), self._tracking_uri)
        except NotThere as error:
            raise origin_deleted(version, uri) from error

    def set_stage(self, name: str, number: int, stage: Stage) -> None:
        """Move one version; other versions stay where they are."""
        with self._about(name, number):
            self._client.transition_model_version_stage(name, str(number), stage.value)

    def set_alias(self, name: str, alias: str, number: int) -> None:
        """Point an alias at a version."""
        with self._about(name, number):
            self._client.set_registered_model_alias(name, alias, str(number))

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; removing an absent one is no error."""
        if alias in self.model(name).aliases:
            with self._translated():
                self._client.delete_registered_model_alias(name, alias)

    def set_tag(self, name: str, number: int, key: str, value: str) -> None:
        """Write one version tag."""
        with self._about(name, number):
            self._client.set_model_version_tag(name, str(number), key, value)

    def delete_tag(self, name: str, number: int, key: str) -> None:
        """Remove one version tag; removing an absent one is no error."""
        if key in self.version(name, number).tags:
            with self._translated():
                self._client.delete_model_version_tag(name, str(number), key)

    def set_description(self, name: str, number: int, text: str) -> None:
        """Replace what is noted about a version."""
        with self._about(name, number):
            self._client.update_model_version(name, str(number), text)

    def delete_version(self, name: str, number: int) -> None:
        """Remove one version with its tags and aliases for good; removing an absent one is no error."""
        try:
            with self._translated():
                self._client.delete_model_version(name, str(number))
        except NotThere:
            self.model(name)
            return
        # MLflow 2 leaves them pointing at nothing.
        for alias in [alias for alias, pointed in self.model(name).aliases.items() if pointed == number]:
            self.delete_alias(name, alias)

    def require_rights(self, name: str, *, deletes: bool) -> None:
        """Find out whether a registered model may be written; writes nothing."""
        if self.uri.startswith((*_DATABASES, "sqlite")):
            with only_refusals(), self._translated():
                self._require_grants(deletes=deletes)
            return
        client, version = self._client, str(NO_VERSION)
        writes: list[Callable[[], Any]] = [
            lambda: client.transition_model_version_stage(name, version, NO_NAME),
            lambda: client.set_registered_model_alias(name, NO_NAME, version),
            lambda: client.set_model_version_tag(name, version, "stage", ""),
        ]
        if deletes:
            writes += [
                lambda: client.delete_registered_model_alias(name, NO_NAME),
                lambda: client.delete_model_version(name, version),
            ]
        for write in writes:
            with suppress(NotThere), only_refusals(), self._translated():
                write()

    def _require_grants(self, *, deletes: bool) -> None:
        """Ask a database to write no row at all: it looks at the role's grants all the same."""
        import sqlalchemy

        statements = [f"UPDATE {table} SET name = name WHERE 1 = 0" for table in _WRITTEN]  # noqa: S608  # our names
        statements += [f"INSERT INTO {table} SELECT * FROM {table} WHERE 1 = 0" for table in _ADDED]  # noqa: S608
        if deletes:
            statements += [f"DELETE FROM {table} WHERE 1 = 0" for table in _ADDED]  # noqa: S608
        with self._engine().connect() as connection:
            for statement in statements:
                connection.execute(sqlalchemy.text(statement))

    def _engine(self) -> Any:
        import sqlalchemy

        # Every driver that MLflow supports knows this argument, except ODBC's and SQLite's.
        waiting = {"connect_timeout": CONNECT_SECONDS} if self.uri.startswith(_DATABASES[:2]) else {}
        return sqlalchemy.create_engine(self.uri, connect_args=waiting, poolclass=sqlalchemy.NullPool)

    @cached_property
    def _client(self) -> Any:
        """MLflow's client; the database is tried first, because MLflow alone waits 100 s for one that is down."""
        if self.uri.startswith(_DATABASES):
            with self._engine().connect():
                pass
        from mlflow import MlflowClient

        # It prints the traceback of each error that is also raised; ours is one line.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        return MlflowClient(tracking_uri=self._tracking_uri, registry_uri=self.uri)

    def _listed(self) -> list[RegisteredModel]:
        return [_model(item) for item in self._pages("search_registered_models")]

    def _found(self, name: str) -> RegisteredModel:
        with self._translated():
            return _model(self._client.get_registered_model(name))

    def _opened(self, name: str, number: int) -> ModelVersion:
        return _version(self._client.get_model_version(name, str(number)))

    def _search(self, condition: str) -> list[ModelVersion]:
        return [_version(item) for item in self._pages("search_model_versions", filter_string=condition)]

    def _pages(self, search: str, **query: str) -> list[Any]:
        with self._translated():
            page = getattr(self._client, search)(max_results=PAGE, **query)
            items = list(page)
            while page.token:
                page = getattr(self._client, search)(max_results=PAGE, page_token=page.token, **query)
                items += page
            return items

    def _storage(self, uri: str) -> str:
        """Follow `models:/m-…` and `runs:/…`, which the registry keeps when the version was registered from them."""
        scheme, _, path = uri.partition(":/")
        identifier, _, rest = path.strip("/").partition("/")
        if scheme == "models":
            root = self._client.get_logged_model(identifier).artifact_location
        elif scheme == "runs":
            root = self._client.get_run(identifier).info.artifact_uri
        else:
            return uri
        return f"{root}/{rest}" if rest else str(root)

    @contextmanager
    def _about(self, name: str, number: int) -> Iterator[None]:
        with super()._about(name, number), self._translated():
            yield

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Silence the warning that stages are old, and let no foreign exception out."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                yield
        except PromotionError:
            raise
        except Exception as error:
            if getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST":
                raise NotThere(str(error)) from error
            raise registry_error(self._shown, error) from error


def _model(item: Any) -> RegisteredModel:
    versions = [_version(version) for version in item.latest_versions]
    return RegisteredModel(
        name=item.name,
        versions=sorted(versions, key=lambda version: -version.number),
        aliases={alias: int(number) for alias, number in item.aliases.items()},
    )


def _version(item: Any) -> ModelVersion:
    return ModelVersion(
        model=item.name,
        number=int(item.version),
        stage=shown_stage(f"{item.name} v{item.version}", item.current_stage or Stage.NONE),
        status=item.status,
        source=item.source or "",
        run_id=item.run_id or None,
        created_at=from_milliseconds(item.creation_timestamp),
        updated_at=from_milliseconds(item.last_updated_timestamp or item.creation_timestamp),
        tags=dict(item.tags),
        description=item.description or "",
    )
