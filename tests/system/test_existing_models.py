"""Every command of docs/EXISTING-MODELS.md, as it is written and in its order, against a real server."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from tests.system.peer_environments import peer_python
from tests.system.representer_servers import affected_python, environment, serve
from tests.system.team_training import customers

from promotion.config.settings import REPOSITORY

pytestmark = [pytest.mark.system, pytest.mark.needs("bwrap"), pytest.mark.timeout(1200)]

PAGE = (REPOSITORY / "docs" / "EXISTING-MODELS.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```bash\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
EXIT = re.compile(r"# exit (\d+)\b")
TRAINING = Path(__file__).with_name("team_training.py")


def commands() -> Iterator[tuple[str, int]]:
    """Each command of the page, a here-document with the lines it takes, and the exit code the page announces."""
    for block in BLOCKS:
        lines = iter(block.splitlines())
        for line in lines:
            text = line
            if "<<'END'" in line:
                for following in lines:
                    text += f"\n{following}"
                    if following == "END":
                        break
            found = EXIT.search(line)
            yield text, int(found[1]) if found else 0


@dataclass(frozen=True)
class Walk:
    """What the commands printed, and where the server shows each version afterwards."""

    printed: str
    stages: dict[str, str]
    ended: str


def _script() -> str:
    parts = ["exec 2>&1; set -u"]
    for place, (text, code) in enumerate(commands(), start=1):
        check = f'found=$?; [ $found -eq {code} ] || {{ echo "command {place}: exit $found, not {code}"; exit 99; }}'
        parts += [f"echo '## {place}'", text, check]
    return "\n".join([*parts, "echo walked to the end"])


@pytest.fixture(scope="module", params=["one MLflow", pytest.param("three MLflows", marks=pytest.mark.peers)])
def walk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """A team's server with three versions of one model, the first in Production, and the whole page typed there."""
    pythons = [Path(sys.executable)] * 3
    if request.param == "three MLflows":
        oldest = peer_python("mlflow-2.9.2", "mlflow==2.9.2", "scikit-learn==1.3.2", "setuptools<81")
        pythons = [oldest, affected_python(), Path(sys.executable)]
    folder = tmp_path_factory.mktemp("team")
    home = folder / "home"
    home.mkdir()
    customers(400, 7).to_csv(home / "holdout.csv", index=False)
    with serve(Path(sys.executable), f"sqlite:///{folder / 'mlflow.db'}", folder) as server:
        for seed, python in enumerate(pythons, start=1):
            done = subprocess.run(
                [python, TRAINING, server.url, str(seed)],
                env=environment(PATH=f"{python.parent}:/usr/bin:/bin", GIT_PYTHON_REFRESH="quiet"),
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
            assert 0 == done.returncode, done.stderr
        body = {"name": "churn", "version": "1", "stage": "Production", "archive_existing_versions": False}
        requests.post(f"{server.url}/api/2.0/mlflow/model-versions/transition-stage", json=body, timeout=30)
        answer = subprocess.run(
            ["bash", "-c", _script()],
            env=environment(
                MLFLOW_TRACKING_URI=server.url,
                PROMOTION_KEYS=folder / "keys",
                PROMOTION_ACTOR="jenkins",
                PYTHONPATH=REPOSITORY / "src",
            ),
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
        )
        return Walk(
            answer.stdout + answer.stderr,
            {str(number): stage for number, stage in server.stages().items()},
            answer.stdout.splitlines()[-1],
        )


def test_every_command_of_the_page_does_what_it_announces(walk: Walk) -> None:
    """To the last line, with the exit codes that stand there; nothing unexpected on the way."""
    assert "walked to the end" == walk.ended, walk.printed
    assert "unexpected" not in walk.printed
    assert {"1": "Production", "2": "None", "3": "Archived"} == walk.stages


def test_the_page_says_what_the_commands_say(walk: Walk) -> None:
    """The trainer's figure at the rules, ours at the evidence; who is missing; the way back."""
    for said in (
        "trainer's figure",
        "better than Production",
        "❌ approvals",
        "Successfully promoted churn v3",
        "(rollback by jenkins",
        "the journal is sound",
    ):
        assert said in walk.printed, (said, walk.printed)


def test_the_page_is_found() -> None:
    """From the README's second paragraph and from the list of documents."""
    paragraphs = (REPOSITORY / "README.md").read_text(encoding="utf-8").split("\n\n")
    assert "docs/EXISTING-MODELS.md" in paragraphs[2]
    assert "(EXISTING-MODELS.md)" in (REPOSITORY / "docs" / "README.md").read_text(encoding="utf-8")
    assert len(list(commands())) > 15
