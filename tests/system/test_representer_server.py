"""The RepresenterError of MLflow 3.0.0 to 3.5.0, met for real: an affected server, our command, a healthy server."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from filelock import FileLock

from promotion.settings import REPOSITORY

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

HERE = Path(__file__).parent
DOCUMENT = REPOSITORY / "MLFLOW-WORKAROUND.md"
AFFECTED = "3.4.0"
# MLflow 3.4.0 allows these and cannot work with what came after.
REQUIREMENTS = (f"mlflow=={AFFECTED}", "sqlalchemy<2.1", "fastapi<0.200")
HEALTHY_WITHIN = 90.0


def environment(**variables: object) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PROMOTION_"))}
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return (
        kept
        | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        | {name: str(value) for name, value in variables.items()}
    )


@dataclass(frozen=True, slots=True)
class Server:
    url: str
    log: Path

    def versions(self) -> dict[int, dict[str, Any]]:
        answer = requests.get(
            f"{self.url}/api/2.0/mlflow/model-versions/search", params={"filter": "name = 'churn'"}, timeout=10
        )
        answer.raise_for_status()
        return {int(version["version"]): version for version in answer.json()["model_versions"]}

    def stages(self) -> dict[int, str]:
        return {number: str(version["current_stage"]) for number, version in self.versions().items()}

    def tags(self, number: int) -> dict[str, str]:
        return {tag["key"]: tag["value"] for tag in self.versions()[number].get("tags", [])}

    def aliases(self) -> dict[str, int]:
        answer = requests.get(
            f"{self.url}/api/2.0/mlflow/registered-models/get", params={"name": "churn"}, timeout=10
        ).json()
        return {item["alias"]: int(item["version"]) for item in answer["registered_model"]["aliases"]}


@contextlib.contextmanager
def serve(python: Path, store: str, folder: Path, **variables: str) -> Iterator[Server]:
    """`mlflow server` of one installation on one store, answering until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Server(f"http://127.0.0.1:{port}", folder / f"server-{port}.log")
    with server.log.open("w") as log:
        process = subprocess.Popen(
            [python, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
            + ["--backend-store-uri", store, "--artifacts-destination", str(folder / "mlartifacts")],
            stdout=log,
            stderr=log,
            env=environment(**variables),
            cwd=folder,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + HEALTHY_WITHIN
        while not _is_healthy(server):
            assert process.poll() is None, server.log.read_text()
            assert time.monotonic() < deadline, server.log.read_text()
            time.sleep(0.2)
        yield server
    finally:
        # The server's worker outlives a parent that is ended alone.
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def _is_healthy(server: Server) -> bool:
    with contextlib.suppress(requests.ConnectionError, requests.Timeout):
        return requests.get(f"{server.url}/health", timeout=2).ok
    return False


@contextlib.contextmanager
def watched(server: Server) -> Iterator[list[dict[int, str]]]:
    """Ask the server for all stages, again and again, while the block runs."""
    seen: list[dict[int, str]] = [server.stages()]
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            seen.append(server.stages())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()
        seen.append(server.stages())


def promote(home: Path, server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / "promote-model.py", *arguments],
        env=environment(PROMOTION_HOME=home, MLFLOW_TRACKING_URI=server.url, PYTHONIOENCODING="utf-8"),
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture(scope="session")
def affected() -> Path:
    """The python of an installation of the affected MLflow, made once per machine."""
    cache = Path(
        os.environ.get("PROMOTION_TEST_CACHE")
        or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "promotion-layer-tests"
    )
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"mlflow-{AFFECTED}"
    python, wanted = folder / "bin" / "python", "\n".join(REQUIREMENTS)
    installed = folder / "installed.txt"
    with FileLock(cache / f"{folder.name}.lock"):
        if not installed.is_file() or installed.read_text() != wanted:
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
            installed.write_text(wanted)
    return python


def train(python: Path, uri: str, folder: Path) -> None:
    """Leave `churn` v1 (no metric, in Production) and v2 (with a metric) behind."""
    subprocess.run(
        [python, HERE / "representer_training.py", uri],
        env=environment(),
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=120,
    )


@dataclass(frozen=True, slots=True)
class Encounter:
    """What was seen when our commands met the affected server, and the folder they left."""

    folder: Path
    promotion: subprocess.CompletedProcess[str]
    seconds: float
    server_log: str
    seen: list[dict[int, str]]
    tags: dict[int, dict[str, str]]
    aliases: dict[str, int]
    listing: subprocess.CompletedProcess[str]
    reconciliation: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def encounter(affected: Path, tmp_path_factory: pytest.TempPathFactory) -> Encounter:
    folder = tmp_path_factory.mktemp("affected")
    home = folder / "home"
    shutil.copytree(REPOSITORY / "config", home / "config")
    with serve(affected, str(folder / "mlruns"), folder) as server:
        train(affected, server.url, folder)
        with watched(server) as seen:
            begin = time.monotonic()
            promotion = promote(home, server, "churn", "2")
            seconds = time.monotonic() - begin
            log = server.log.read_text()
            listing = promote(home, server, "--list")
            reconciliation = promote(home, server, "--reconcile")
        tags = {number: server.tags(number) for number in (1, 2)}
        return Encounter(
            folder, promotion, seconds, log, seen, tags, server.aliases(), listing, reconciliation
        )


def test_the_real_error_is_raised_inside_the_server(encounter: Encounter) -> None:
    """The affected server raises PyYAML's RepresenterError, once for each of three tries, and answers 500."""
    raised = re.findall(r"^yaml\.representer\.RepresenterError: .*<Metric", encounter.server_log, re.MULTILINE)
    answered = re.findall(r'"POST \S+/transition-stage HTTP/1.1" 500', encounter.server_log)

    assert 3 == len(raised)
    assert 3 == len(answered)


def test_the_command_ends_soon(encounter: Encounter) -> None:
    """The three tries end within 10 s; MLflow's own client repeats in silence for four minutes."""
    assert encounter.seconds < 30


def test_exit_code_and_console_say_what_happened(encounter: Encounter) -> None:
    """Exit code 6; the console names the stage that is missing, what carries it, and the way on."""
    said = encounter.promotion.stderr

    assert 6 == encounter.promotion.returncode, said
    assert "Successfully promoted churn v2 to Production!" in encounter.promotion.stdout
    assert "tag stage=Production written on churn v2 instead of its stage" in said
    assert "MLflow shows churn@production as v2" in said
    assert "churn v2 is in Production in the journal, but MLflow could not set the stage" in said.splitlines()[-1]
    assert "transition-stage answered 500 (500 Internal Server Error)" in said.splitlines()[-1]
    assert "MLFLOW-WORKAROUND.md" in said.splitlines()[-1]
    assert "--reconcile" in said.splitlines()[-1]


def test_production_is_never_empty(encounter: Encounter) -> None:
    """At every poll, from before the promotion to after it, some version is in Production by stage."""
    assert len(encounter.seen) > 20
    assert [] == [stages for stages in encounter.seen if "Production" not in stages.values()]


def test_alias_and_tag_carry_what_the_stage_cannot(encounter: Encounter) -> None:
    """Aliases point at the promoted and the previous version, and the tag `stage` says where each belongs."""
    assert {"production": 2, "previous": 1} == encounter.aliases
    assert "Production" == encounter.tags[2]["stage"]
    assert "Archived" == encounter.tags[1]["stage"]


def test_list_says_that_it_is_pending(encounter: Encounter) -> None:
    """A command that only reads ends with 0 and says that --reconcile has something to finish."""
    assert 0 == encounter.listing.returncode
    assert "Tag: stage = Production" in encounter.listing.stdout
    assert "churn: a move recorded at" in encounter.listing.stderr
    assert "--reconcile finishes it" in encounter.listing.stderr


def test_reconcile_on_the_same_server_stays_incomplete(encounter: Encounter) -> None:
    """As long as the server is affected, --reconcile ends with 6 too."""
    assert 6 == encounter.reconciliation.returncode, encounter.reconciliation.stderr


def document_commands(title: str) -> str:
    """The first shell block under a heading of the document."""
    found = re.search(rf"^## {title}\n.*?^```bash\n(.*?)^```", DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def migrate(folder: Path) -> tuple[str, dict[str, str]]:
    """Follow the document: without its cure MLflow's migration fails, with it all is in SQLite."""
    commands = [line for line in document_commands("Leaving it behind").splitlines() if "mlflow server" not in line]
    uncured = "\n".join(line for line in commands if "sort -u" not in line)
    failed = subprocess.run(
        ["bash", "-ec", uncured], cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert 0 != failed.returncode
    assert "UNIQUE constraint failed: metrics.key" in failed.stderr
    shutil.rmtree(folder / "mlruns-copy")
    (folder / "mlflow.db").unlink()
    subprocess.run(["bash", "-ec", "\n".join(commands)], cwd=folder, env=environment(), check=True, capture_output=True)
    return f"sqlite:///{folder / 'mlflow.db'}", {}


def upgrade(folder: Path) -> tuple[str, dict[str, str]]:
    """Leave the file store and let a newer MLflow serve it."""
    return str(folder / "mlruns"), {"MLFLOW_ALLOW_FILE_STORE": "true"}


@pytest.mark.parametrize("replace", [migrate, upgrade])
def test_reconcile_completes_on_a_healthy_server(
    encounter: Encounter, tmp_path: Path, replace: Any
) -> None:
    """Once a healthy server has the data, --reconcile ends with 0, stages are right, no `stage` tag is left."""
    folder = tmp_path / "replaced"
    shutil.copytree(encounter.folder, folder)
    store, variables = replace(folder)
    with serve(Path(sys.executable), store, folder, **variables) as server:
        with watched(server) as seen:
            reconciliation = promote(folder / "home", server, "--reconcile")

        assert 0 == reconciliation.returncode, reconciliation.stderr
        assert {1: "Archived", 2: "Production"} == server.stages()
        assert {"production": 2, "previous": 1} == server.aliases()
        assert not [number for number in (1, 2) if "stage" in server.tags(number)]
        assert [] == [stages for stages in seen if "Production" not in stages.values()]
        assert "pending" not in (said := promote(folder / "home", server, "--list").stderr)
        assert "not shown by MLflow" not in said


def test_plain_mlflow_may_leave_no_production(affected: Path, tmp_path: Path) -> None:
    """Without us: repeating never helps, archiving first empties Production, alias and tag still work."""
    uri = (tmp_path / "mlruns").as_uri()
    train(affected, uri, tmp_path)
    answer = subprocess.run(
        [affected, HERE / "representer_probe.py", uri],
        env=environment(),
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )

    error = "yaml.representer.RepresenterError"
    assert {
        "plain": error,
        "production after plain": [1],
        "repeated": error,
        "archiving": error,
        "production after archiving": [],
        "description": error,
        "alias": "done",
        "tag": "done",
    } == json.loads(answer.stdout)
