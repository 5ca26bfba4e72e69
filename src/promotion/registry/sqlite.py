"""The default store read straight from its SQLite file, because MLflow takes seconds to start and this milliseconds.

Only schema revisions whose tables were compared with the queries below are read directly; with any other revision every
call goes through `MlflowClient`, and one line says so. Writes always do, so that MLflow's own rules apply.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from promotion.errors import RegistryBroken
from promotion.registry.contract import (
    ModelVersion,
    RegisteredModel,
    Registry,
    TrackedRun,
    as_logged,
    from_milliseconds,
    served_artifact_uri,
    unknown_model,
    unknown_version,
)
from promotion.registry.failures import only_refusals, registry_error
from promotion.registry.stages import Stage

if TYPE_CHECKING:
    from promotion.registry.client import ClientRegistry

KNOWN_REVISIONS = {"dc11669786a5"}  # MLflow 3.17.2
LOCK_SECONDS = 5.0

_Result = TypeVar("_Result")

# MLflow keeps deleted versions as rows, and its prompts as registered models; its own searches show neither.
_VIEWS = """
CREATE TEMP TABLE wanted (name, version);
CREATE TEMP VIEW shown_model AS
SELECT name FROM main.registered_models AS model
WHERE workspace = 'default' AND NOT EXISTS (
    SELECT 1 FROM main.registered_model_tags AS tag
    WHERE tag.workspace = model.workspace AND tag.name = model.name
      AND tag.key = 'mlflow.prompt.is_prompt' AND tag.value = 'true');
CREATE TEMP VIEW shown_version AS
SELECT name, version, coalesce(current_stage, 'None') AS stage, status, source, run_id,
       creation_time, coalesce(last_updated_time, creation_time) AS updated_time,
       coalesce(nullif(storage_location, ''), source) AS location, coalesce(description, '') AS description
FROM main.model_versions
WHERE workspace = 'default' AND current_stage IS NOT 'Deleted_Internal';
CREATE TEMP VIEW shown_tag AS
SELECT name, version, key, coalesce(value, '') AS value FROM main.model_version_tags WHERE workspace = 'default';
CREATE TEMP VIEW shown_alias AS
SELECT name, alias, version FROM main.registered_model_aliases WHERE workspace = 'default';
"""
# CROSS JOIN keeps SQLite from walking through every row when few are wanted.
_TAGS_OF_WANTED = """
SELECT tag.name, tag.version, tag.key, tag.value
FROM temp.wanted CROSS JOIN shown_tag AS tag ON tag.name = wanted.name AND tag.version = wanted.version
"""
_ROWS_OF_WANTED = """
SELECT one.name, one.version, stage, status, source, run_id, creation_time, updated_time, description
FROM temp.wanted CROSS JOIN shown_version AS one ON one.name = wanted.name AND one.version = wanted.version
ORDER BY one.name, one.version DESC
"""
_TAGS_OF_RUN = "SELECT key, value FROM main.tags WHERE run_uuid = ?"
_METRICS_OF_RUN = "SELECT key, CASE WHEN is_nan THEN 'nan' ELSE value END FROM main.latest_metrics WHERE run_uuid = ?"
_DATASETS_OF_RUN = """
SELECT one.name, one.digest FROM main.inputs AS input JOIN main.datasets AS one ON one.dataset_uuid = input.source_id
WHERE input.source_type = 'DATASET' AND input.destination_type = 'RUN' AND input.destination_id = ?
ORDER BY one.name, one.digest
"""
# What a store that nobody has written yet answers from.
_EMPTY_STORE = """
CREATE TABLE registered_models (workspace, name);
CREATE TABLE registered_model_tags (workspace, name, key, value);
CREATE TABLE model_versions (workspace, name, version, current_stage, status, source, run_id, creation_time,
                             last_updated_time, storage_location, description);
CREATE TABLE model_version_tags (workspace, name, version, key, value);
CREATE TABLE registered_model_aliases (workspace, name, alias, version);
CREATE TABLE logged_models (model_id, artifact_location);
CREATE TABLE runs (run_uuid, user_id, lifecycle_stage);
CREATE TABLE alembic_version (version_num);
INSERT INTO alembic_version VALUES ('dc11669786a5');
"""


class SqliteRegistry:
    """MLflow's model registry in a local SQLite file.

    A file that does not exist is an empty registry; reading does not create it.
    """

    def __init__(self, uri: str, path: Path, tracking_uri: str | None = None) -> None:
        self.uri = uri
        self._path = path
        self._tracking_uri = tracking_uri or uri
        # SQLite lets a connection be used in the thread alone that made it.
        self._opened = threading.local()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read as it is now, many times."""
        with self._transaction("BEGIN") as store:
            if _revision(store) not in KNOWN_REVISIONS:
                store.execute("ROLLBACK")
            yield

    def models(self) -> list[RegisteredModel]:
        """Every registered model by name, each with the versions that a listing shows."""
        return self._read(_models, lambda client: client.models())

    def model(self, name: str) -> RegisteredModel:
        """One registered model."""
        return self._read(lambda store: _models(store, _known_model(store, name))[0], lambda client: client.model(name))

    def versions(self, name: str) -> list[ModelVersion]:
        """All versions of one registered model, newest first."""

        def query(store: sqlite3.Connection) -> list[ModelVersion]:
            known = _known_model(store, name)
            return _versions(store, "SELECT name, version FROM shown_version WHERE name = ?", known)

        return self._read(query, lambda client: client.versions(name))

    def every_version(self) -> list[ModelVersion]:
        """All versions of all registered models, in no order."""
        everything = "SELECT name, version FROM shown_version WHERE name IN (SELECT name FROM shown_model)"
        return self._read(lambda store: _versions(store, everything), lambda client: client.every_version())

    def version(self, name: str, number: int) -> ModelVersion:
        """One version."""
        return self._read(lambda store: _version(store, name, number), lambda client: client.version(name, number))

    def tagged(self, key: str, value: str) -> list[ModelVersion]:
        """All versions of all models that carry this tag, by name, newest first."""
        # A prompt's versions carry tags too, but their model is not shown.
        wanted = """SELECT name, version FROM shown_tag JOIN shown_version USING (name, version)
                    JOIN shown_model USING (name) WHERE key = ? AND value = ?"""
        return self._read(lambda store: _versions(store, wanted, key, value), lambda client: client.tagged(key, value))

    def run(self, run_id: str) -> TrackedRun | None:
        """The run that made a version; None when there is none of this id."""
        if self._tracking_uri != self.uri:
            return self._client.run(run_id)
        return self._read(lambda store: _run(store, run_id), lambda client: client.run(run_id))

    def runs(self, run_ids: Iterable[str]) -> dict[str, TrackedRun]:  # noqa: ARG002  # as a server is asked
        """None: they cost no less together."""
        return {}

    def keeps_logged_model(self, model_id: str) -> bool:
        """Whether there is such a logged model that nobody deleted."""
        if self._tracking_uri != self.uri:
            return self._client.keeps_logged_model(model_id)
        kept = "SELECT 1 FROM logged_models WHERE model_id = ? AND lifecycle_stage <> 'deleted'"
        return self._read(
            lambda store: store.execute(kept, (model_id,)).fetchone() is not None,
            lambda client: client.keeps_logged_model(model_id),
        )

    def artifact_uri(self, version: ModelVersion) -> str:
        """Where the artifact's files are, resolved down to a storage location."""

        def query(store: sqlite3.Connection) -> str:
            _version(store, version.model, version.number)
            (location,) = store.execute(
                "SELECT location FROM shown_version WHERE name = ? AND version = ?", (version.model, version.number)
            ).fetchone()
            logged = store.execute(
                "SELECT artifact_location FROM logged_models WHERE 'models:/' || model_id = ?", (location,)
            ).fetchone()
            return str(logged[0] if logged else location)

        location = self._read(query, lambda client: client.artifact_uri(version))
        if location.startswith(("models:", "runs:")):
            return self._client.artifact_uri(version)
        return served_artifact_uri(location, self._tracking_uri)

    def set_stage(self, name: str, number: int, stage: Stage) -> None:
        """Move one version; other versions stay where they are."""
        self._writable(name, number).set_stage(name, number, stage)

    def set_alias(self, name: str, alias: str, number: int) -> None:
        """Point an alias at a version."""
        self._writable(name, number).set_alias(name, alias, number)

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; removing an absent one is no error."""
        if alias in self.model(name).aliases:
            self._writable(name).delete_alias(name, alias)

    def set_tag(self, name: str, number: int, key: str, value: str) -> None:
        """Write one version tag."""
        self._writable(name, number).set_tag(name, number, key, value)

    def delete_tag(self, name: str, number: int, key: str) -> None:
        """Remove one version tag; removing an absent one is no error."""
        if key in self.version(name, number).tags:
            self._writable(name, number).delete_tag(name, number, key)

    def set_description(self, name: str, number: int, text: str) -> None:
        """Replace what is noted about a version."""
        self._writable(name, number).set_description(name, number, text)

    def delete_version(self, name: str, number: int) -> None:
        """Remove one version with its tags and aliases for good; removing an absent one is no error."""
        if number in {version.number for version in self.versions(name)}:
            self._writable(name, number).delete_version(name, number)

    def require_rights(self, name: str, *, deletes: bool) -> None:  # noqa: ARG002  # one right for all
        """Find out whether the file may be written; writes nothing."""
        with only_refusals():
            self._require_writable()

    @cached_property
    def _client(self) -> ClientRegistry:
        from promotion.registry.client import ClientRegistry

        return ClientRegistry(self.uri, self._tracking_uri)

    def _writable(self, name: str, number: int | None = None) -> ClientRegistry:
        """The client, once what would stop the write has been looked for: MLflow waits 20 s for a lock, we do not."""
        if number is None:
            self.model(name)
        else:
            self.version(name, number)
        self._require_writable()
        return self._client

    def _require_writable(self) -> None:
        with self._transaction("BEGIN IMMEDIATE") as store:
            # Of a file that cannot be written SQLite begins a transaction all the same, and refuses the first write.
            store.execute("UPDATE model_versions SET version = version WHERE 0")

    def _read(
        self, query: Callable[[sqlite3.Connection], _Result], otherwise: Callable[[Registry], _Result]
    ) -> _Result:
        with self._transaction("BEGIN") as store:
            revision = _revision(store)
            if revision in KNOWN_REVISIONS:
                return query(store)
        _say_unknown(self._path, revision)
        return otherwise(self._client)

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        """One snapshot, the same for whoever reads within it; nothing that is written to it stays."""
        try:
            store = self._connection()
            begins = not store.in_transaction
            if begins:
                store.execute(begin)
            try:
                yield store
            finally:
                if begins and store.in_transaction:
                    store.execute("ROLLBACK")
        except sqlite3.Error as error:
            self._opened.file = None
            raise registry_error(str(self._path), error) from error

    def _connection(self) -> sqlite3.Connection:
        """One while the file and our right are the same: with each new one SQLite reads MLflow's whole schema anew."""
        found = self._path.stat() if self._path.exists() else None
        unwritten = found is None or (self._path.is_file() and found.st_size == 0)
        file = (found.st_dev, found.st_ino, os.access(self._path, os.W_OK)) if found and not unwritten else "unwritten"
        if getattr(self._opened, "file", None) != file:
            address = "file::memory:" if unwritten else f"{self._path.absolute().as_uri()}?mode=rw"
            store = sqlite3.connect(address, uri=True, timeout=LOCK_SECONDS, isolation_level=None)
            if unwritten:
                store.executescript(_EMPTY_STORE)
            store.executescript(_VIEWS)
            self._opened.store, self._opened.file = store, file
        kept: sqlite3.Connection = self._opened.store
        return kept


@cache
def _say_unknown(path: Path, revision: str | None) -> None:
    """Once a process: nobody should wonder why a listing takes seconds."""
    logging.getLogger(__name__).warning(
        "%s: schema revision %s of MLflow is not one that is read directly: asking MLflow itself, which takes seconds",
        path,
        revision or "unknown",
    )


def _revision(store: sqlite3.Connection) -> str | None:
    """Alembic's revision of the schema; None when there is none, or more than one."""
    if not store.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
        return None
    revisions = store.execute("SELECT version_num FROM alembic_version").fetchall()
    return str(revisions[0][0]) if len(revisions) == 1 else None


def _models(store: sqlite3.Connection, name: str | None = None) -> list[RegisteredModel]:
    """All models, or the one of that name."""
    listed = """SELECT name, max(version) FROM shown_version WHERE ?1 IS NULL OR name = ?1 GROUP BY name, stage
                UNION SELECT name, version FROM shown_version
                WHERE (?1 IS NULL OR name = ?1) AND stage <> 'None'"""
    versions: dict[str, list[ModelVersion]] = defaultdict(list)
    for version in _versions(store, listed, name):
        versions[version.model].append(version)
    aliases: dict[str, dict[str, int]] = defaultdict(dict)
    for model, alias, number in store.execute("SELECT name, alias, version FROM shown_alias"):
        aliases[model][alias] = number
    names = store.execute("SELECT name FROM shown_model WHERE ?1 IS NULL OR name = ?1 ORDER BY name", (name,))
    return [RegisteredModel(model, versions[model], aliases[model]) for (model,) in names]


def _known_model(store: sqlite3.Connection, name: str) -> str:
    if not store.execute("SELECT 1 FROM shown_model WHERE name = ?", (name,)).fetchone():
        raise unknown_model(name, [model for (model,) in store.execute("SELECT name FROM shown_model ORDER BY name")])
    return name


def _version(store: sqlite3.Connection, name: str, number: int) -> ModelVersion:
    wanted = "SELECT name, version FROM shown_version WHERE name = ? AND version = ?"
    found = _versions(store, wanted, _known_model(store, name), number)
    if not found:
        known = store.execute("SELECT version FROM shown_version WHERE name = ?", (name,))
        raise unknown_version(name, number, [other for (other,) in known])
    return found[0]


def _run(store: sqlite3.Connection, run_id: str) -> TrackedRun | None:
    found = store.execute("SELECT user_id, lifecycle_stage FROM runs WHERE run_uuid = ?", (run_id,)).fetchone()
    if found is None:
        return None
    tags = {key: value or "" for key, value in store.execute(_TAGS_OF_RUN, (run_id,))}
    return TrackedRun(
        user=tags.get("mlflow.user") or found[0] or None,
        tags=tags,
        metrics=as_logged(dict(store.execute(_METRICS_OF_RUN, (run_id,)))),
        datasets=store.execute(_DATASETS_OF_RUN, (run_id,)).fetchall(),
        is_deleted=found[1] == "deleted",
    )


def _versions(store: sqlite3.Connection, wanted: str, *parameters: str | int | None) -> list[ModelVersion]:
    """The versions that a query for name and version selects, with their tags, by name, newest first."""
    store.execute("DELETE FROM temp.wanted")
    store.execute("INSERT INTO temp.wanted " + wanted, parameters)
    tags: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    for name, number, key, value in store.execute(_TAGS_OF_WANTED):
        tags[name, number][key] = value
    return [_as_version(row, tags) for row in store.execute(_ROWS_OF_WANTED)]


def _as_version(row: tuple[Any, ...], tags: Mapping[tuple[str, int], dict[str, str]]) -> ModelVersion:
    name, number, stage, status, source, run_id, created, updated, description = row
    try:
        return ModelVersion(
            model=name,
            number=number,
            stage=Stage.parse(stage),
            status=status,
            source=source or "",
            run_id=run_id or None,
            created_at=from_milliseconds(created),
            updated_at=from_milliseconds(updated),
            tags=tags.get((name, number), {}),
            description=description,
        )
    except (TypeError, ValueError, OverflowError, AttributeError) as error:  # SQLite keeps any text in any column
        raise RegistryBroken(f"{name} v{number}: MLflow's database says {error}: repair the row there") from error
