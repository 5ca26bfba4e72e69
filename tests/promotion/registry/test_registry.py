"""Every implementation of the registry behaves alike; each test runs on all of them."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version as installed
from importlib.util import find_spec
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from mlflow.exceptions import MlflowException
from packaging.version import Version
from tests.promotion.conftest import Server
from tests.promotion.factories import read_only

from promotion.config.settings import Settings
from promotion.errors import (
    RegistryBroken,
    RegistryError,
    RegistryForbidden,
    RegistryReadOnly,
    RegistryUnauthorised,
    RegistryUnreachable,
    UnknownModel,
    UnknownVersion,
    UsageError,
)
from promotion.registry import contract
from promotion.registry.client import ClientRegistry
from promotion.registry.contract import ModelVersion, Registry, served_artifact_uri, without_password
from promotion.registry.failures import registry_error
from promotion.registry.open import open_registry
from promotion.registry.rest import RestRegistry
from promotion.registry.sqlite import KNOWN_REVISIONS, SqliteRegistry
from promotion.registry.stages import Stage
from promotion.registry.tracking import readable_failures


def names(versions: list[ModelVersion]) -> list[str]:
    return [str(version) for version in versions]


@pytest.mark.system
def test_models_lists_every_version_that_serves(registry: Registry) -> None:
    """Every version in a stage, the newest in none, and the aliases; no prompts."""
    listed = {model.name: ([(v.number, v.stage) for v in model.versions], model.aliases) for model in registry.models()}
    expected = {
        "bare": ([], {}),
        "forest": (
            [(4, Stage.NONE), (3, Stage.PRODUCTION), (2, Stage.PRODUCTION), (1, Stage.ARCHIVED)],
            {"production": 2},
        ),
        "linear": ([(2, Stage.NONE)], {}),
    }
    assert expected == listed
    assert ["bare", "forest", "linear"] == list(listed)


def test_every_archived_version_is_listed_and_an_older_one_in_no_stage_is_not(registry: Registry) -> None:
    """MLflow's own listing shows the highest number of each stage alone."""
    registry.set_stage("forest", 3, Stage.ARCHIVED)
    registry.set_stage("forest", 2, Stage.NONE)

    (forest,) = [model for model in registry.models() if model.name == "forest"]

    assert ["forest v4", "forest v3", "forest v1"] == names(list(forest.versions))


def test_every_version_of_every_model_is_asked_for_at_once(registry: Registry) -> None:
    """Those in no stage as well; neither deleted ones nor prompts."""
    expected = [f"forest v{number}" for number in (1, 2, 3, 4)] + ["linear v1", "linear v2"]

    assert expected == sorted(version for version in names(registry.every_version()) if "greeting" not in version)


def test_of_many_models_all_versions_are_asked_for_at_once(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The listing is the same whether models are looked at one by one or together."""
    before = registry.models()
    monkeypatch.setattr(contract, "_ASKED_ONE_BY_ONE", 0)

    assert before == registry.models()


def test_a_listing_carries_the_tags(registry: Registry) -> None:
    """Tags come with the listing, whatever characters they hold."""
    production = next(version for version in registry.model("forest").versions if version.stage is Stage.PRODUCTION)
    assert {"best_model": "true", "note": "Anna's \U0001f3c6", "empty": ""} == production.tags


def test_one_model_equals_its_entry_in_the_listing(registry: Registry) -> None:
    """Asking for one model answers what the listing says of it."""
    assert registry.models() == [registry.model(name) for name in ("bare", "forest", "linear")]


def test_versions_are_newest_first_without_deleted_ones(registry: Registry) -> None:
    """All versions of a model, not only the highest per stage; a deleted one is gone."""
    assert ["forest v4", "forest v3", "forest v2", "forest v1"] == names(registry.versions("forest"))
    assert [] == registry.versions("bare")


def test_a_version_is_described_completely(registry: Registry, seeded_database: Path) -> None:
    """One version has its stage, status, source, times in UTC, and tags."""
    version = registry.version("linear", 1)
    assert ("linear", 1, Stage.NONE, "READY", None) == (
        version.model,
        version.number,
        version.stage,
        version.status,
        version.run_id,
    )
    assert str(seeded_database.parent / "linear" / "1") == version.source
    assert {"best_model": "true", "roc_auc": "0.9665"} == version.tags
    assert timedelta(0) == version.created_at.utcoffset()
    assert datetime.now(UTC) - version.created_at < timedelta(hours=1)


def test_tagged_finds_the_exact_value_in_all_models(registry: Registry) -> None:
    """The tag search is exact, spans models, and leaves prompts out."""
    assert ["forest v3", "linear v1"] == names(registry.tagged("best_model", "true"))
    assert ["forest v3"] == names(registry.tagged("note", "Anna's \U0001f3c6"))
    assert [] == registry.tagged("best_model", "True")


def test_a_runs_metrics_are_what_was_logged(registry: Registry, seeded_database: Path) -> None:
    """No number stays none: MLflow keeps NaN as zero and infinity as the largest number there is."""
    with closing(sqlite3.connect(seeded_database)) as database:
        ((run_id,),) = database.execute("SELECT run_uuid FROM runs")

    run = registry.run(run_id)

    assert run is not None
    assert {"roc_auc": "0.9", "undefined": "nan", "endless": "-inf"} == {k: str(v) for k, v in run.metrics.items()}


@pytest.mark.system
def test_a_server_tells_many_runs_together(rest_registry: RestRegistry, mlflow_server: Server) -> None:
    """As each by itself, deleted ones too; what no run is called is left out."""
    with closing(sqlite3.connect(mlflow_server.database)) as database, database:
        ((run_id,),) = database.execute("SELECT run_uuid FROM runs")
        columns = [name for _, name, *_ in database.execute("PRAGMA table_info(runs)")]
        values = ", ".join({"run_uuid": "?", "lifecycle_stage": "?"}.get(name, name) for name in columns)
        copied = [(f"{run_id}{number}", ("active", "deleted")[number % 2], run_id) for number in range(25)]
        database.executemany(f"INSERT INTO runs SELECT {values} FROM runs WHERE run_uuid = ?", copied)  # noqa: S608
    wanted = [run_id, *(name for name, *_ in copied)]

    found = rest_registry.runs([*wanted, "gone"])

    assert {name: repr(rest_registry.run(name)) for name in wanted} == {name: repr(run) for name, run in found.items()}
    assert 12 == sum(run.is_deleted for run in found.values())


def test_no_other_store_tells_runs_together(sqlite_registry: SqliteRegistry, client_registry: ClientRegistry) -> None:
    """They are to be asked for one by one."""
    assert {} == sqlite_registry.runs(["r1"]) == client_registry.runs(["r1"])


def test_the_artifact_uri_is_a_storage_location(registry: Registry, seeded_database: Path) -> None:
    """A version registered from a path has its files there."""
    expected = str(seeded_database.parent / "forest" / "2")
    assert expected == registry.artifact_uri(registry.version("forest", 2))


def test_a_logged_model_is_kept_until_somebody_deletes_it(registry: Registry, request: pytest.FixtureRequest) -> None:
    """Deleted is as good as gone, in every store; the version goes on naming it."""
    from mlflow import MlflowClient

    server = request.getfixturevalue("mlflow_server").uri if isinstance(registry, RestRegistry) else registry.uri
    client = MlflowClient(server, server)
    model = client.create_logged_model("0", "forest").model_id
    version = replace(registry.version("forest", 2), source=f"models:/{model}")

    assert registry.keeps_logged_model(version.logged_model)
    client.delete_logged_model(model)
    assert not registry.keeps_logged_model(version.logged_model)
    assert "" == registry.version("forest", 2).logged_model == replace(version, source="models:/forest/1").logged_model


def test_a_stage_is_set_for_one_version_only(registry: Registry) -> None:
    """Promoting a version leaves every other version where it was."""
    before = registry.version("linear", 2).updated_at
    registry.set_stage("linear", 2, Stage.PRODUCTION)
    registry.set_stage("forest", 4, Stage.PRODUCTION)
    assert Stage.PRODUCTION == registry.version("linear", 2).stage
    assert before < registry.version("linear", 2).updated_at
    assert ["Production"] * 3 + ["Archived"] == [version.stage for version in registry.versions("forest")]


def test_a_stage_can_be_set_twice(registry: Registry) -> None:
    """Writing what is there already changes nothing and is no error."""
    for _ in range(2):
        registry.set_stage("forest", 1, Stage.ARCHIVED)
    assert Stage.ARCHIVED == registry.version("forest", 1).stage


def test_aliases_move_and_vanish(registry: Registry) -> None:
    """An alias is created, moved, removed, and removing it again is no error."""
    registry.set_alias("forest", "production", 3)
    registry.set_alias("forest", "previous", 2)
    assert {"production": 3, "previous": 2} == registry.model("forest").aliases
    registry.delete_alias("forest", "previous")
    registry.delete_alias("forest", "previous")
    assert {"production": 3} == registry.model("forest").aliases


def test_tags_are_written_and_removed(registry: Registry) -> None:
    """A tag is written, overwritten, removed, and removing it again is no error."""
    registry.set_tag("linear", 2, "stage", "Staging")
    registry.set_tag("linear", 2, "stage", "Production")
    assert "Production" == registry.version("linear", 2).tags["stage"]
    registry.delete_tag("linear", 2, "stage")
    registry.delete_tag("linear", 2, "stage")
    assert {"best_model": "false"} == registry.version("linear", 2).tags


def test_a_description_is_replaced_and_read_in_every_listing(registry: Registry) -> None:
    """What is noted about a version comes back in all readings, with its line breaks; without one it is empty."""
    registry.set_description("linear", 2, "first")
    registry.set_description("linear", 2, "Anna's note\n\nsecond \U0001f3c6")

    assert "Anna's note\n\nsecond \U0001f3c6" == registry.version("linear", 2).description
    assert registry.version("linear", 2) in registry.versions("linear")
    assert registry.version("linear", 2) in registry.model("linear").versions
    assert "" == registry.version("linear", 1).description


def test_a_deleted_version_is_gone_with_its_aliases(registry: Registry) -> None:
    """Deleting takes one version and what points at it, nothing else; deleting it again is no error."""
    for _ in range(2):
        registry.delete_version("forest", 2)
    assert ["forest v4", "forest v3", "forest v1"] == names(registry.versions("forest"))
    assert {} == registry.model("forest").aliases
    with pytest.raises(UnknownVersion, match=r"^forest has no version 2: it has 4, 3, 1$"):
        registry.version("forest", 2)


@pytest.mark.parametrize(
    "ask",
    [
        lambda registry: registry.model("forrest"),
        lambda registry: registry.versions("forrest"),
        lambda registry: registry.version("forrest", 1),
        lambda registry: registry.set_stage("forrest", 1, Stage.PRODUCTION),
        lambda registry: registry.set_alias("forrest", "production", 1),
        lambda registry: registry.delete_alias("forrest", "production"),
        lambda registry: registry.set_tag("forrest", 1, "a", "b"),
        lambda registry: registry.set_description("forrest", 1, "a"),
        lambda registry: registry.delete_tag("forrest", 1, "a"),
        lambda registry: registry.delete_version("forrest", 1),
    ],
)
def test_an_unknown_model_is_named_with_what_exists(registry: Registry, ask: Callable[[Registry], object]) -> None:
    """A misspelt model is a usage error that names the models there are, the most similar first."""
    with pytest.raises(UnknownModel, match=r"^no registered model 'forrest': the registry has forest, bare, linear$"):
        ask(registry)


@pytest.mark.parametrize(
    "ask",
    [
        lambda registry: registry.version("forest", 5),
        lambda registry: registry.set_stage("forest", 5, Stage.PRODUCTION),
        lambda registry: registry.set_alias("forest", "production", 5),
        lambda registry: registry.set_tag("forest", 5, "a", "b"),
        lambda registry: registry.set_description("forest", 5, "a"),
        lambda registry: registry.delete_tag("forest", 5, "a"),
    ],
)
def test_an_unknown_version_is_named_with_what_exists(registry: Registry, ask: Callable[[Registry], object]) -> None:
    """A version that is not there, or is deleted, is a usage error that names those there are."""
    with pytest.raises(UnknownVersion, match=r"^forest has no version 5: it has 4, 3, 2, 1$"):
        ask(registry)


def test_a_reserved_alias_is_refused_with_mlflows_reason(registry: Registry) -> None:
    """What MLflow refuses for its form is a plain registry error, not a broken store that calls for the fallback."""
    with pytest.raises(RegistryError, match="reserved") as caught:
        registry.set_alias("forest", "v1", 1)
    assert RegistryError is type(caught.value)


def test_a_database_that_does_not_exist_is_empty_and_stays_absent(tmp_path: Path) -> None:
    """Reading, and refusing to write, does not create a database."""
    path = tmp_path / "mlflow.db"
    registry = SqliteRegistry(f"sqlite:///{path}", path)
    assert [] == registry.models()
    assert [] == registry.tagged("best_model", "true")
    with pytest.raises(UnknownModel, match="the registry is empty"):
        registry.versions("forest")
    with pytest.raises(UnknownModel, match="the registry is empty"):
        registry.set_stage("forest", 1, Stage.PRODUCTION)
    assert not path.exists()


def test_an_unknown_schema_is_read_through_the_client(
    seeded_database: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A schema revision nobody has compared yet is left to MLflow, which one line says; MLflow here refuses it."""
    path = tmp_path / "mlflow.db"
    shutil.copy(seeded_database, path)
    with closing(sqlite3.connect(path)) as store, store:
        store.execute("UPDATE alembic_version SET version_num = 'from_the_future'")
    for _ in range(2):
        with pytest.raises(RegistryBroken, match=r"out-of-date database schema.*mlflow db upgrade"):
            SqliteRegistry(f"sqlite:///{path}", path).models()
    said = [record.getMessage() for record in caplog.records if "is not one that is read directly" in record.message]
    assert [f"{path}: schema revision from_the_future"] == [line[: len(str(path)) + 33] for line in said]


@pytest.mark.skipif(Version(installed("mlflow")) < Version("3.17"), reason="read directly is only what we compared")
def test_the_installed_mlflows_schema_is_one_that_is_read_directly() -> None:
    """An upgrade of MLflow with a new schema fails here, and not as a listing that takes seconds."""
    found = find_spec("mlflow")
    assert found
    assert found.origin
    migrations = ScriptDirectory(str(Path(found.origin).parent / "store" / "db_migrations"))
    assert set(migrations.get_heads()) <= KNOWN_REVISIONS


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """Pointing at any other file is one clear line."""
    path = tmp_path / "mlflow.db"
    path.write_text("not a database, but long enough to look like one " * 50)
    with pytest.raises(RegistryBroken, match="not MLflow's database"):
        SqliteRegistry(f"sqlite:///{path}", path).models()
    with pytest.raises(RegistryBroken, match="no readable file"):
        SqliteRegistry(f"sqlite:///{tmp_path}", tmp_path).models()


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("current_stage", "Limbo", "unknown stage 'Limbo'"),
        ("creation_time", "yesterday", "unsupported operand"),
        ("last_updated_time", "9" * 30, "timestamp out of range"),
    ],
)
def test_a_row_that_mlflow_did_not_write_is_named(
    seeded_database: Path, tmp_path: Path, column: str, value: str, told: str
) -> None:
    """SQLite keeps any text in any column; one line says which version's row it is."""
    path = tmp_path / "mlflow.db"
    shutil.copy(seeded_database, path)
    with closing(sqlite3.connect(path)) as store, store:
        store.execute(
            f"UPDATE model_versions SET {column} = ? WHERE name = 'forest' AND version = 2",  # noqa: S608  # a case
            (value,),
        )

    with pytest.raises(RegistryBroken, match=f"forest v2: MLflow's database says {told}"):
        SqliteRegistry(f"sqlite:///{path}", path).version("forest", 2)


def test_another_file_in_its_place_is_the_one_that_is_read(seeded_database: Path, tmp_path: Path) -> None:
    """The file stays open between reads, and is let go when somebody replaces it, takes it away or brings it."""
    path = Path(shutil.copy(seeded_database, tmp_path / "mlflow.db"))
    registry = SqliteRegistry(f"sqlite:///{path}", path)
    assert Stage.PRODUCTION is registry.version("forest", 2).stage
    other = Path(shutil.copy(seeded_database, tmp_path / "other.db"))
    with closing(sqlite3.connect(other)) as store, store:
        store.execute("UPDATE model_versions SET current_stage = 'Archived'")

    other.replace(path)
    assert Stage.ARCHIVED is registry.version("forest", 2).stage
    path.unlink()
    assert [] == registry.models()
    shutil.copy(seeded_database, path)
    assert Stage.PRODUCTION is registry.version("forest", 2).stage


@pytest.mark.system
def test_a_locked_database_is_unreachable_not_empty(
    seeded_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another process holds the database, reading and writing end within the lock's patience and say why."""
    monkeypatch.setattr("promotion.registry.sqlite.LOCK_SECONDS", 1.0)
    path = Path(shutil.copy(seeded_database, tmp_path / "mlflow.db"))
    registry = SqliteRegistry(f"sqlite:///{path}", path)
    started = time.monotonic()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(RegistryUnreachable, match=r"database is locked.*wait or end it"):
            registry.set_stage("forest", 4, Stage.PRODUCTION)
        other.execute("ROLLBACK")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(RegistryUnreachable, match=r"database is locked.*wait or end it"):
            registry.models()
    assert time.monotonic() - started < 4
    assert Stage.NONE == registry.version("forest", 4).stage


def test_a_read_only_database_refuses_writes(
    seeded_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that cannot be written says so, and nothing of MLflow's exceptions leaks."""
    # MLflow takes such an address for a path, and makes its folders below the working directory.
    monkeypatch.chdir(tmp_path)
    registry = ClientRegistry(f"sqlite:///file:{seeded_database}?mode=ro&uri=true")
    with pytest.raises(RegistryBroken, match=r"readonly database; the database cannot be written") as caught:
        registry.set_stage("forest", 4, Stage.PRODUCTION)
    assert "\n" not in str(caught.value)
    assert "UPDATE" not in str(caught.value)


@pytest.mark.parametrize("deletes", [False, True])
def test_asking_for_rights_writes_nothing(registry: Registry, *, deletes: bool) -> None:
    """Whoever may write learns so, and nothing is different afterwards."""
    before = [registry.versions(model.name) for model in registry.models()], registry.models()

    registry.require_rights("forest", deletes=deletes)

    assert before == ([registry.versions(model.name) for model in registry.models()], registry.models())


def test_a_read_only_database_is_told_before_a_write(
    seeded_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The right is missing although nobody asked for a login."""
    # MLflow takes such an address for a path, and makes its folders below the working directory.
    monkeypatch.chdir(tmp_path)
    client = ClientRegistry(f"sqlite:///file:{seeded_database}?mode=ro&uri=true")
    with pytest.raises(RegistryReadOnly, match="cannot be written"):
        client.require_rights("forest", deletes=False)
    database = Path(shutil.copy(seeded_database, tmp_path / "mine.db"))
    with read_only(database), pytest.raises(RegistryReadOnly, match="cannot be written"):
        SqliteRegistry(f"sqlite:///{database}", database).require_rights("forest", deletes=False)


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """SQLite's own "disk is full" becomes a line that says what to do."""
    with closing(sqlite3.connect(tmp_path / "full.db")) as store:
        store.execute("CREATE TABLE t (x)")
        store.execute("PRAGMA max_page_count = 2")
        with pytest.raises(sqlite3.OperationalError) as full:
            store.execute("INSERT INTO t VALUES (zeroblob(1000000))")
    error = registry_error("mlflow.db", full.value)
    assert isinstance(error, RegistryBroken)
    assert "free some space" in str(error)


@pytest.mark.parametrize(
    ("said", "kind", "remedy"),
    [
        ("endpoint failed with error code 401 != 200", RegistryUnauthorised, "MLFLOW_TRACKING_USERNAME"),
        ("endpoint failed with error code 403 != 200", RegistryForbidden, "ask for the permission"),
        ("No module named 'MySQLdb'", RegistryBroken, "driver is not installed: pip install it"),
        ("The filesystem tracking backend is in maintenance mode", RegistryBroken, "sqlite:///PATH/mlflow.db"),
        ("Max retries exceeded (too many 500 error responses)", RegistryBroken, "the server keeps failing"),
        ("Max retries exceeded (Failed to resolve 'mlflow')", RegistryUnreachable, "is the database or server up"),
    ],
)
def test_a_trainings_server_that_fails_is_told_as_any_other_store(
    said: str, kind: type[RegistryError], remedy: str
) -> None:
    """What MLflow's own client raises becomes the error that says what helps; no password is shown."""
    with pytest.raises(kind, match=remedy) as caught, readable_failures("http://anna:secret@mlflow:5000"):
        raise MlflowException(said)
    assert "secret" not in str(caught.value)


def test_a_database_server_that_is_down_is_unreachable_within_seconds() -> None:
    """Without a PostgreSQL behind the URL the answer is quick, clear, and shows no password."""
    started = time.monotonic()
    with pytest.raises(RegistryUnreachable, match="is the database or server up") as caught:
        ClientRegistry("postgresql+psycopg://anna:secret@127.0.0.1:9/mlflow").models()
    assert time.monotonic() - started < 10
    assert "secret" not in str(caught.value)


def test_a_store_that_mlflow_does_not_know_is_refused() -> None:
    """A misspelt scheme is a registry error, not a traceback."""
    with pytest.raises(RegistryError, match="sqlight"):
        ClientRegistry("sqlight:///mlflow.db").models()


def test_a_value_with_both_quotation_marks_cannot_be_searched(client_registry: ClientRegistry) -> None:
    """MLflow's search has no escapes; this is said instead of searching for something else."""
    with pytest.raises(UsageError, match="both kinds of quotation marks"):
        client_registry.tagged("note", """'"'""")


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("http://127.0.0.1:5000", "RestRegistry"),
        ("https://mlflow.example", "RestRegistry"),
        ("sqlite:///mlflow.db", "SqliteRegistry"),
        ("sqlite+pysqlite:////srv/mlflow.db?timeout=3", "SqliteRegistry"),
        ("sqlite:///:memory:", "ClientRegistry"),
        ("sqlite:///file:mlflow.db?mode=ro&uri=true", "ClientRegistry"),
        ("postgresql+psycopg://mlflow@db/mlflow", "ClientRegistry"),
        ("file:///srv/mlruns", "ClientRegistry"),
    ],
)
def test_the_uri_decides_who_reads(tmp_path: Path, uri: str, kind: str) -> None:
    """Servers are asked over HTTP, SQLite files are read directly, the rest is MLflow's."""
    settings = Settings(home=tmp_path, tracking_uri=uri, registry_uri=uri, database_url="sqlite://")
    registry = open_registry(settings)
    assert kind == type(registry).__name__
    assert uri == registry.uri


@pytest.mark.skipif(Version(installed("mlflow")) < Version("3.17"), reason="read directly is only what we compared")
def test_reading_the_default_store_imports_nothing_heavy(seeded_database: Path) -> None:
    """A listing from process start needs neither MLflow nor SQLAlchemy, requests, pydantic or pandas."""
    program = (
        "import sys; from pathlib import Path; from promotion.registry.open import open_registry;"
        "from promotion.config.settings import Settings;"
        f"uri = 'sqlite:///{seeded_database}';"
        "registry = open_registry(Settings(Path('.'), uri, uri, ''));"
        "assert registry.models() and registry.tagged('best_model', 'true');"
        "heavy = {'mlflow', 'sqlalchemy', 'requests', 'pydantic', 'pandas', 'yaml', 'tenacity'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    source = Path(__file__).resolve().parents[3] / "src"
    done = subprocess.run([sys.executable, "-c", program], cwd=source, capture_output=True, text=True, check=True)
    assert "[]\n" == done.stdout


@pytest.mark.parametrize(
    ("uri", "tracking", "expected"),
    [
        ("mlflow-artifacts:/1/a", "http://h:5000", "http://h:5000/api/2.0/mlflow-artifacts/artifacts/1/a"),
        ("mlflow-artifacts:/1/a", "https://h/prefix/", "https://h/prefix/api/2.0/mlflow-artifacts/artifacts/1/a"),
        ("mlflow-artifacts://o:1/1/a", "http://h", "http://o:1/api/2.0/mlflow-artifacts/artifacts/1/a"),
        ("s3://bucket/a", "http://h", "s3://bucket/a"),
        ("/srv/a", "sqlite:///mlflow.db", "/srv/a"),
    ],
)
def test_proxied_artifacts_have_the_servers_address(uri: str, tracking: str, expected: str) -> None:
    """What the server proxies is addressed at the server; other locations stay."""
    assert expected == served_artifact_uri(uri, tracking)


def test_a_password_in_the_uri_is_masked() -> None:
    """Messages show where, never with which password."""
    assert "http://***@h:5000/x" == without_password("http://anna:secret@h:5000/x")
    assert "sqlite:////srv/mlflow.db" == without_password("sqlite:////srv/mlflow.db")
    assert "mysql://h/x?a=b&ssl_key=***&password=***" == without_password("mysql://h/x?a=b&ssl_key=k&password=secret")


def test_many_reads_at_once_say_what_single_ones_say(registry: Registry) -> None:
    """Also after one that failed; the next write is seen by the next read."""
    with registry.reading():
        with pytest.raises(UnknownModel, match="nobody"):
            registry.version("nobody", 1)
        assert ["forest v2", "linear v1"] == [str(registry.version(*it)) for it in (("forest", 2), ("linear", 1))]
        assert ["bare", "forest", "linear"] == [model.name for model in registry.models()]
        artifact = registry.artifact_uri(registry.version("forest", 2))
    registry.set_tag("forest", 2, "seen", "yes")

    assert artifact == registry.artifact_uri(registry.version("forest", 2))
    assert "yes" == registry.version("forest", 2).tags["seen"]
