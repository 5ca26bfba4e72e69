"""What tests of several packages share: a home of their own, and MLflow's real SQLite store in it."""

from __future__ import annotations

import gc
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from inspect import signature
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock
from sqlalchemy import Engine, event
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache
from tests.programs import needed, untested
from tests.promotion.factories import Store
from tests.promotion.shared_home import SharedHome, tell_prompts_by_their_tag

from promotion.config.family import load_config
from promotion.config.settings import REPOSITORY, Settings
from promotion.journal.database import Database
from promotion.registry.stages import Stage

if TYPE_CHECKING:
    from playwright.sync_api import Browser

OURS = (
    *("PROMOTION_HOME", "PROMOTION_DATABASE_URL", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"),
    *("PROMOTION_SIGNING_KEY", "PROMOTION_TRUSTED_KEYS", "PROMOTION_ALLOWED_SIGNERS"),
    *("PAGERDUTY_URL", "SLACK_URL", "EMAIL_URL", "REPORTS_URL"),
)

LONGEST = (
    *("test_outages.py", "test_governance_walk.py", "test_benchmarks.py", "test_missing_rights.py"),
    *("test_kill_deployment_with_scripted_kubectl.py", "test_train_ensemble.py", "test_existing_models.py"),
    *("test_concurrency.py", "test_kill_governance.py", "test_predict_processes.py", "test_registry_documents.py"),
    *("test_real_commands_in_stand_in.py", "test_pages_in_browser.py", "test_new_family.py", "test_kill.py"),
    *("test_package.py", "test_old_server.py", "test_automatic_rollback.py"),
)
"""Files whose system tests take minutes: they begin first, so that at the end no worker is left alone with one."""


_NUMBERS = count()

Arranged = Callable[[Callable[[Store], object]], Store]


@event.listens_for(Engine, "connect")
def _not_on_the_disk(connection: object, _record: object) -> None:
    """A test's databases end with it: no commit in this process waits for the disk."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


# The workers share the cores already: a second thread of a numerical library would wait for one;
# a second process to train in imports everything once more, which takes longer than the work.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "LOKY_MAX_CPU_COUNT": "1"}

# Most of what is made here, modules and tests, lives to the end: it is looked through for cycles less often.
gc.set_threshold(20_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; the others stay in their order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


def pytest_collection_finish(session: pytest.Session) -> None:
    """What is imported by now lives to the end: nobody looks through it for cycles again and again."""
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Stop before any fixture is made where a program is missing that the test names."""
    for mark in item.iter_markers("needs"):
        for name in mark.args:
            needed(name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """At the end of a run: what it left out, and which package brings what was missing."""
    skipped = terminalreporter.stats.get("skipped", ())
    if lines := untested(str(report.longrepr[2]) for report in skipped if isinstance(report.longrepr, tuple)):
        terminalreporter.section("left out")
        for line in lines:
            terminalreporter.line(line)


@pytest.fixture(scope="session", autouse=True)
def _migrated_once() -> Iterator[None]:
    """A journal's tables are made by every migration once in this process; each other new file is a copy of that."""
    migrate, tables = Database._migrate, b""

    def migrate_or_copy(database: Database) -> None:
        nonlocal tables
        file = database.file
        if file is None or file.exists():
            migrate(database)
            return
        if tables:
            with suppress(OSError), tempfile.NamedTemporaryFile(dir=file.parent) as copy:
                copy.write(tables)
                copy.flush()
                os.link(copy.name, file)  # whole or not at all, for whoever else opens it
        migrate(database)
        tables = tables or file.read_bytes()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "_migrate", migrate_or_copy)
        yield


@pytest.fixture(scope="session", autouse=True)
def _compiled_once() -> Iterator[None]:
    """A statement is compiled once in this process, not once for each test's file: SQLite's dialects are all alike."""
    make, compiled = Engine.__init__, LRUCache[Any, Any](2000)

    def make_and_share(engine: Engine, *arguments: Any, **options: Any) -> None:
        make(engine, *arguments, **options)
        if type(engine.dialect) is SQLiteDialect_pysqlite:
            engine._compiled_cache = compiled

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "__init__", make_and_share)
        patch.setattr(SQLiteDialect_pysqlite, "__eq__", lambda dialect, other: type(dialect) is type(other))
        patch.setattr(SQLiteDialect_pysqlite, "__hash__", lambda dialect: hash(type(dialect)))
        yield


@pytest.fixture(autouse=True)
def _clean_environment(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """No test talks to the developer's stores, to another test's, uses their keys, or sends usage data anywhere."""
    _forget()
    if "tmp_path" in request.fixturenames:
        folder: Path = request.getfixturevalue("tmp_path")
    else:  # thousands of tests need none, and pytest looks through all there are before it makes one
        folder = tmp_path_factory.getbasetemp() / f"keys-{next(_NUMBERS)}"
    monkeypatch.setenv("PROMOTION_KEYS", str(folder / "keys"))
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    yield
    _forget()


def _forget() -> None:
    """Training in this process leaves URIs in MLflow and in the environment, where the next test finds them."""
    if mlflow := sys.modules.get("mlflow"):
        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri(None)
    for name in OURS:
        os.environ.pop(name, None)


@pytest.fixture
def home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with copies of `config/` and `data/`, named by PROMOTION_HOME; the shared one if stores are needed."""
    if "shared_home" in request.fixturenames:
        folder: Path = request.getfixturevalue("shared_home").store.home
    else:
        folder = tmp_path / "home"
        shutil.copytree(REPOSITORY / "config", folder / "config")
        # What commands brought into this clone's folder of data is not what a test begins with.
        ours = shutil.ignore_patterns("rossmann", "iris.csv", "alzheimer.csv")
        shutil.copytree(REPOSITORY / "data", folder / "data", ignore=ours)
    monkeypatch.setenv("PROMOTION_HOME", str(folder))
    return folder


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder to read from: the first worker of a run who asks for it makes it, the others find it."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "once" / name
    folder.parent.mkdir(exist_ok=True)
    made = folder.with_suffix(".made")
    with FileLock(folder.with_suffix(".lock")):
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables in a SQLite file, `promotion.db` beside it; making them takes seconds, copying them nothing."""

    def make(folder: Path) -> None:
        from mlflow.tracking import MlflowClient

        uri = f"sqlite:///{folder / 'mlflow.db'}"
        MlflowClient(uri, uri).search_registered_models()
        with Database(f"sqlite:///{folder / 'promotion.db'}").write():
            pass
        # Most tables and indexes stay empty, and each has a page of its own: with small ones it is a fifth as large.
        with closing(sqlite3.connect(folder / "mlflow.db")) as database:
            database.executescript("PRAGMA page_size = 512; VACUUM")

    return made_once(tmp_path_factory, "store", make) / "mlflow.db"


@pytest.fixture(scope="session")
def _shared_homes() -> Iterator[list[SharedHome]]:
    """The one in use is the last."""
    with pytest.MonkeyPatch.context() as patch:
        tell_prompts_by_their_tag(patch)
        yield []


@pytest.fixture
def shared_home(
    _shared_homes: list[SharedHome], tmp_path_factory: pytest.TempPathFactory, empty_store: Path
) -> SharedHome:
    """A home with copies of `config/` and `data/` and empty stores, whatever the test before did with it."""
    if _shared_homes and _shared_homes[-1].is_whole:
        with suppress(sqlite3.Error):
            _shared_homes[-1].back_to("empty")
            return _shared_homes[-1]
    contents = (REPOSITORY / name for name in ("config", "data"))
    _shared_homes.append(SharedHome(tmp_path_factory.mktemp("shared"), empty_store, *contents))
    return _shared_homes[-1]


@pytest.fixture
def settings(shared_home: SharedHome, home: Path) -> Settings:
    """The default places in a home with an empty MLflow store and an empty journal."""
    return Settings.from_environment()


@pytest.fixture
def arranged(settings: Settings, shared_home: SharedHome, monkeypatch: pytest.MonkeyPatch) -> Arranged:
    """That home as a function leaves it, which is called once a worker; keys lie in it too."""
    monkeypatch.setenv("PROMOTION_KEYS", str(settings.home / "keys"))
    return shared_home.arranged


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The Chromium of the system."""
    found = needed("chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody waits before trying again: the seconds that it would have been."""
    seconds: list[float] = []
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=seconds.append))
    return seconds


@pytest.fixture
def no_journal(settings: Settings) -> None:
    """A home in which nothing was ever moved."""
    (settings.home / "promotion.db").unlink()


@pytest.fixture(scope="session")
def skops_flavour() -> None:
    """Only where MLflow writes skops models, as our training does."""
    import mlflow.sklearn

    if "skops_trusted_types" not in signature(mlflow.sklearn.save_model).parameters:
        pytest.skip(f"MLflow {mlflow.__version__} writes no skops models")


@pytest.fixture(scope="session")
def fitted_model(skops_flavour: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The heart-disease logistic regression, fitted as training fits it, in an MLflow model folder."""
    return made_once(tmp_path_factory, "fitted", _fit) / "model"


def _fit(folder: Path) -> None:
    import mlflow.sklearn

    from models.training.candidates import build_pipeline
    from promotion.artifacts.trusted_types import TRUSTED_TYPES
    from promotion.data.datasets import load_dataset, split_dataset

    config = load_config(REPOSITORY / "config", "heart-disease")
    parts = split_dataset(load_dataset(config, REPOSITORY), config)
    mlflow.sklearn.save_model(
        build_pipeline(config, "logistic_regression").fit(parts.train_features, parts.train_target),
        str(folder / "model"),
        serialization_format="skops",
        skops_trusted_types=sorted(TRUSTED_TYPES),
        pip_requirements=[],
    )


Register = Callable[..., int]


@pytest.fixture
def register(settings: Settings, fitted_model: Path) -> Register:
    """Register a version of a model, with its files and in a stage, as MLflow's own client does."""
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    client = MlflowClient(settings.tracking_uri, settings.registry_uri)

    def call(name: str, stage: Stage = Stage.NONE, source: Path = fitted_model) -> int:
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        number = int(client.create_model_version(name, str(source), tags={"roc_auc": "0.9665"}).version)
        if stage is not Stage.NONE:
            client.transition_model_version_stage(name, str(number), stage.value)
        return number

    return call


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Call a command file as a person does: its own process, from some other folder."""

    def call(
        script: str, *arguments: str, python: str = sys.executable, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, str(REPOSITORY / script), *arguments],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )

    return call
