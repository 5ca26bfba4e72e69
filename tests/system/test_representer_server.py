"""The RepresenterError of MLflow 3.0.0 to 3.5.0, met for real: an affected server, our command, a healthy server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.system.representer_servers import Server, affected_python, environment, serve, watched

from promotion.config.settings import REPOSITORY

pytestmark = [pytest.mark.system, pytest.mark.peers, pytest.mark.timeout(600)]

HERE = Path(__file__).parent
DOCUMENT = REPOSITORY / "MLFLOW-WORKAROUND.md"

Replace = Callable[[Path], tuple[str, dict[str, str]]]


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
    """The python of the affected installation."""
    return affected_python()


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
    url: str
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
            folder, server.url, promotion, seconds, log, seen, tags, server.aliases(), listing, reconciliation
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


def test_the_document_shows_the_real_console(encounter: Encounter) -> None:
    """What MLFLOW-WORKAROUND.md prints of a promotion is what the command wrote."""
    assert_shows(documented("What the console shows", "console"), encounter.promotion, encounter.url)


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


def documented(title: str, kind: str) -> list[str]:
    """Lines of the first block of that kind under a heading of the document."""
    pattern = rf"^## {title}\n.*?^```{kind}\n(.*?)^```"
    found = re.search(pattern, DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert found
    return found[1].splitlines()


def assert_shows(lines: list[str], command: subprocess.CompletedProcess[str], url: str = "") -> None:
    """Every documented line is one the command wrote, and the exit code is the documented one."""
    written = f"{command.stdout}\n{command.stderr}".splitlines()
    shown = [line.replace("http://mlflow:5000", url) for line in lines if not line.startswith(("$", "…"))]

    assert [] == [line for line in shown[:-1] if line not in written]
    assert str(command.returncode) == shown[-1]


def migrate(folder: Path) -> tuple[str, dict[str, str]]:
    """Follow the document: without its cure MLflow's migration fails, with it all is in SQLite."""
    commands = [line for line in documented("Leaving it behind", "bash") if "mlflow server" not in line]
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
def test_reconcile_completes_on_a_healthy_server(encounter: Encounter, tmp_path: Path, replace: Replace) -> None:
    """Once a healthy server has the data, --reconcile ends with 0, stages are right, no `stage` tag is left."""
    folder = tmp_path / "replaced"
    shutil.copytree(encounter.folder, folder)
    store, variables = replace(folder)
    with serve(Path(sys.executable), store, folder, **variables) as server:
        with watched(server) as seen:
            reconciliation = promote(folder / "home", server, "--reconcile")

        assert 0 == reconciliation.returncode, reconciliation.stderr
        assert_shows(documented("Leaving it behind", "console"), reconciliation)
        assert {1: "Archived", 2: "Production"} == server.stages()
        assert {"production": 2, "previous": 1} == server.aliases()
        assert not [number for number in (1, 2) if "stage" in server.tags(number)]
        assert [] == [stages for stages in seen if "Production" not in stages.values()]
        assert "not shown by MLflow" not in promote(folder / "home", server, "--list").stderr


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
        "rename": error,
        "search after rename": "builtins.TypeError",
    } == json.loads(answer.stdout)
