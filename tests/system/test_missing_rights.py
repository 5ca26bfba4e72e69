"""Who may read MLflow and not write it moves nothing, whatever the journal lets them do: real servers, real logins."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import requests
from tests.programs import needed
from tests.system.drivers.commands import Commands, Finished
from tests.system.drivers.world import World, content
from tests.system.old_servers import ADMIN, serve_old
from tests.system.representer_servers import HEALTHY_WITHIN, environment

PASSWORD = "correct horse 12"  # noqa: S105  # of a server that lives as long as the test
PROMOTE = "scripts/promote-model.py"
GOVERNED = "mlops/registry/promote_model.py"
FAILED = 1
SOURCE = Path(__file__).parents[2] / "src"

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Login:
    """A server behind a login, with accounts that may read, edit and manage the model.

    Attributes:
        url: Where it answers.
    """

    url: str

    def send(self, method: str, path: str, **body: object) -> requests.Response:
        """Ask something as the administrator."""
        return requests.request(method, f"{self.url}/api/{path}", json=body, auth=ADMIN, timeout=30)

    def variables(self, account: str) -> Mapping[str, str]:
        """What a command needs to log in."""
        password = ADMIN[1] if account == ADMIN[0] else PASSWORD
        return {
            "MLFLOW_TRACKING_URI": self.url,
            "MLFLOW_TRACKING_USERNAME": account,
            "MLFLOW_TRACKING_PASSWORD": password,
        }

    def let(self, account: str, model: str, permission: str) -> None:
        """Make an account that has a permission on a registered model; the default is to read."""
        self.send("POST", "2.0/mlflow/users/create", username=account, password=PASSWORD)
        known = {"username": account, "permission": permission}
        given = self.send("POST", "2.0/mlflow/registered-models/permissions/create", name=model, **known)
        if given.status_code == requests.codes.not_found:  # MLflow 3.17 has moved it
            where = {"resource_type": "registered_model", "resource_id": model}
            given = self.send("POST", "3.0/mlflow/users/permissions/grant", **known, **where)
        given.raise_for_status()


@contextlib.contextmanager
def serve_new(folder: Path) -> Iterator[str]:
    """`mlflow server` of our own version behind its own login."""
    needed("flask_wtf")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    users, log = folder / "auth.ini", folder / "log"
    users.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder / 'auth.db'}\n"
        f"admin_username = {ADMIN[0]}\nadmin_password = {ADMIN[1]}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        "auth_cache_ttl_seconds = 3600\n"  # a right password is hashed once; a wrong one each time
    )
    with log.open("w") as written:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "1"),
                *("--port", str(port), "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
                *("--artifacts-destination", str(folder / "artifacts")),
            ],
            stdout=written,
            stderr=written,
            env=environment(MLFLOW_AUTH_CONFIG_PATH=users, MLFLOW_FLASK_SERVER_SECRET_KEY="s" * 32),
            cwd=folder,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + HEALTHY_WITHIN
        while not _is_healthy(url):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def _is_healthy(url: str) -> bool:
    with contextlib.suppress(requests.ConnectionError, requests.Timeout):
        return requests.get(f"{url}/health", timeout=2, auth=ADMIN).ok
    return False


@pytest.fixture(scope="module", params=["new", pytest.param("2.7.1", marks=pytest.mark.peers)])
def login(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Login]:
    """A server of our own MLflow, and of the oldest one that teams run."""
    folder = tmp_path_factory.mktemp("login")
    if request.param == "new":
        with serve_new(folder) as url:
            yield Login(url)
    else:
        with serve_old(folder) as server:
            yield Login(server.url)


@pytest.fixture(scope="module")
def world(login: Login, commands: Commands, tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> World:
    """Four versions, 1 before 2 in Production; `reader` may read, `editor` EDIT, `manager` MANAGE the model."""
    from mlflow.tracking import MlflowClient

    made = replace(World.local(tmp_path_factory.mktemp("home")), tracking_uri=login.url)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in login.variables(ADMIN[0]).items():
            patch.setenv(name, value)
        client = MlflowClient(login.url)
        run = client.create_run("0")
        client.log_artifacts(run.info.run_id, str(model_folder), "model")
        client.create_registered_model(made.model)
        for _ in range(4):
            client.create_model_version(made.model, f"{run.info.artifact_uri}/model", run.info.run_id)
    for account, permission in (("reader", "READ"), ("editor", "EDIT"), ("manager", "MANAGE")):
        login.let(account, made.model, permission)
    for number in ("1", "2"):
        assert 0 == act(commands, made, login, ADMIN[0], PROMOTE, made.model, number).code
    return made


@pytest.fixture(autouse=True)
def _administrator(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test itself asks of MLflow it asks as the administrator."""
    for name, value in login.variables(ADMIN[0]).items():
        monkeypatch.setenv(name, value)


def act(commands: Commands, world: World, login: Login, account: str, script: str, *arguments: str) -> Finished:
    """Run a command as one of the accounts."""
    return commands(script, *arguments, environment={**world.environment, **login.variables(account)})


def require_refused(finished: Finished, world: World, before: Mapping[str, list[str]], words: str) -> None:
    """Exit 1, one line that says so, and the journal as before, down to the last row of it."""
    assert FAILED == finished.code, finished.err
    line = finished.err.strip().splitlines()[-1]
    assert words in line
    assert "nothing moved" in line
    assert before == content(world.home)


def test_a_reader_moves_nothing(login: Login, world: World, commands: Commands) -> None:
    """Promote, stage, put aside, roll back, clean up: each is refused before anything is recorded."""
    before, model = content(world.home), world.model
    named = ("--model-name", model, "--version", "3", "--from-stage", "none", "--approver", "rita")
    for script, arguments in (
        (PROMOTE, (model, "3")),
        (GOVERNED, (*named, "--to-stage", "production")),
        (GOVERNED, (*named, "--to-stage", "staging")),
        (GOVERNED, (*named, "--to-stage", "archived")),
        ("mlops/registry/rollback_model.py", ("--model-name", model, "--reason", "3 a.m.")),
    ):
        finished = act(commands, world, login, "reader", script, *arguments)
        require_refused(finished, world, before, "answered 403")
        assert "MANAGE" in finished.err.strip().splitlines()[-1]
    assert 2 == world.production()


def test_a_password_that_is_wrong_moves_nothing(login: Login, world: World, commands: Commands) -> None:
    """401 is found while reading."""
    before = content(world.home)
    wrong = {**world.environment, **login.variables("editor"), "MLFLOW_TRACKING_PASSWORD": "guessed"}

    finished = commands(PROMOTE, world.model, "3", environment=wrong)

    assert FAILED == finished.code
    assert "answered 401" in finished.err.strip().splitlines()[-1]
    assert before == content(world.home)


def test_a_reader_adopts_restores_and_registers_nothing(login: Login, world: World, commands: Commands) -> None:
    """What an administrator changed in MLflow is seen by a reader, who can neither take it over nor put it back."""
    from mlflow.tracking import MlflowClient

    client, before, only = MlflowClient(login.url), content(world.home), ("--model", world.model)
    client.transition_model_version_stage(world.model, "3", "Production")
    try:
        for act_on in (("--reconcile", *only), ("--restore", *only, "--reason", "mine")):
            require_refused(act(commands, world, login, "reader", PROMOTE, *act_on), world, before, "answered 403")
        registered = subprocess.run(
            [sys.executable, "-c", f"import promotion; promotion.register({world.model!r}, 3)"],
            env=environment(**{**world.environment, **login.variables("reader"), "PYTHONPATH": SOURCE}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert "RegistryForbidden" in registered.stderr
        assert before == content(world.home)
    finally:
        client.transition_model_version_stage(world.model, "3", "None")


@pytest.mark.parametrize("account", ["reader", "editor"])
def test_removing_versions_takes_a_manager(account: str, login: Login, world: World, commands: Commands) -> None:
    """The deletion is not even recorded as begun."""
    before = content(world.home)

    finished = act(
        commands, world, login, account, PROMOTE, "--cleanup", "--keep", "1", "--model", world.model, "--yes"
    )

    assert FAILED == finished.code, finished.err
    assert "answered 403" in finished.err.strip().splitlines()[-1]
    assert before == content(world.home)


def test_an_editor_promotes_until_an_alias_has_to_go(login: Login, world: World, commands: Commands) -> None:
    """EDIT writes; a version that leaves Staging takes the alias `staging` along, and that takes MANAGE."""
    named = ("--model-name", world.model, "--version", "3", "--approver", "erna")
    staged = act(commands, world, login, "editor", GOVERNED, *named, "--from-stage", "none", "--to-stage", "staging")
    assert 0 == staged.code, staged.err
    before = content(world.home)
    onwards = (*named, "--from-stage", "staging", "--to-stage", "production")

    require_refused(
        act(commands, world, login, "editor", GOVERNED, *onwards), world, before, "registered-models/alias answered 403"
    )
    assert 2 == world.production()

    assert 0 == act(commands, world, login, "manager", GOVERNED, *onwards).code
    assert 3 == world.production()


@pytest.mark.parametrize(("account", "kind"), [("reader", "write"), ("editor", "delete"), ("manager", "")])
def test_the_doctor_finds_rights_without_writing(
    account: str, kind: str, login: Login, world: World, commands: Commands
) -> None:
    """Who may only read has a finding, who may not remove anything a remark, and MLflow is as it was."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(login.url)
    before = content(world.home), [dict(version) for version in client.search_model_versions()]

    finished = act(commands, world, login, account, "scripts/doctor.py", "--json")

    document = json.loads(finished.out)
    found = [(item["kind"], item["where"]) for item in document["findings"] + document["remarks"]]
    assert [(kind, world.model)] * bool(kind) == [item for item in found if item[0] in {"write", "delete"}]
    assert (kind == "write") == any(item["kind"] == "write" for item in document["findings"])
    assert before == (content(world.home), [dict(version) for version in client.search_model_versions()])
