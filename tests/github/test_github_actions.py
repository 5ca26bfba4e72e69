"""The composite action for GitHub: valid by the published schemas, and each of its steps run as the runner would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import Arranged
from tests.promotion.factories import Store

from promotion.bootstrap import open_promotions
from promotion.config.settings import REPOSITORY
from promotion.journal.reviews import Reviews
from promotion.registration import register_version
from promotion.registry.stages import Stage
from promotion.service import Mover

FOLDER = REPOSITORY / "ci" / "github"
ACTION = yaml.safe_load((FOLDER / "action.yml").read_text(encoding="utf-8"))
WORKFLOW = yaml.safe_load((FOLDER / "promote.yml").read_text(encoding="utf-8"))
RULES = (
    "family: churn\nregistered_model: churn\napprovals: {roles: [tech_lead]}\n"
    "gates: {thresholds: {auc: {minimum: 0.8, from: run}}}\n"
)


@pytest.mark.parametrize(("schema", "file"), [("github-workflows", "promote.yml"), ("github-actions", "action.yml")])
@pytest.mark.needs("check_jsonschema")
@pytest.mark.system
def test_the_published_schema_holds(schema: str, file: str) -> None:
    """As editors and the platform read it."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(FOLDER / file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stdout


def test_the_workflow_gives_the_action_what_it_asks_for() -> None:
    """No input that it does not have, none missing, and the protected environment before anything moves."""
    required = {name for name, said in ACTION["inputs"].items() if said.get("required")}
    jobs = WORKFLOW["jobs"]
    for job in jobs.values():
        (given,) = [step["with"] for step in job["steps"] if step.get("uses") == "./ci/github"]
        assert required <= set(given) <= set(ACTION["inputs"])
        assert ("move" in given) == ("environment" in job)
    assert "check" == jobs["promote"]["needs"]
    reviewers = yaml.safe_load((FOLDER / "reviewers.yml").read_text(encoding="utf-8"))
    assert jobs["promote"]["environment"] in reviewers["roles"]


@dataclass
class Runner:
    """Runs the action's steps one after the other, with what they leave each other.

    Attributes:
        home: The team's.
        folder: The workspace.
        api: Address of the platform's API.
    """

    home: Path
    folder: Path
    api: str
    results: dict[str, dict[str, str]] = field(default_factory=dict)
    said: str = ""

    def run(self, **inputs: str) -> dict[str, int]:
        """The steps whose condition holds, until one fails; exit codes by name."""
        given = {name: said.get("default", "") for name, said in ACTION["inputs"].items()}
        given |= {name.replace("_", "-"): text for name, text in inputs.items()}
        self.results, codes = {}, {}
        for step in ACTION["runs"]["steps"]:
            if not self._holds(step.get("if", "true"), given):
                continue
            codes[step["name"]] = self._step(step, given)
            if codes[step["name"]]:
                break
        return codes

    @property
    def verdict(self) -> str:
        """The action's output."""
        found = (self.results.get(step, {}).get("verdict") for step in ("move", "check"))
        return next(filter(None, found), "")

    @property
    def summary(self) -> str:
        """What the run's page shows."""
        return (self.folder / "summary").read_text(encoding="utf-8")

    def _step(self, step: dict[str, Any], given: dict[str, str]) -> int:
        assert "bash" == step["shell"]
        script, output = self.folder / "script.sh", self.folder / "output"
        script.write_text(step["run"], encoding="utf-8")
        output.write_text("")
        environment = {
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "PROMOTION_HOME": str(self.home),
            "PROMOTION_KEYS": os.environ["PROMOTION_KEYS"],
            "PROMOTION_ACTOR": "github-actions",
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(self.folder / "summary"),
            "GITHUB_API_URL": self.api,
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_REPOSITORY": "acme/models",
            "GITHUB_RUN_ID": "42",
            **{name: self._value(text, given) for name, text in step.get("env", {}).items()},
        }
        done = subprocess.run(
            ["/bin/bash", "--noprofile", "--norc", "-eo", "pipefail", script],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        self.said += done.stdout + done.stderr
        if step.get("id"):
            self.results[step["id"]] = dict(line.split("=", 1) for line in output.read_text().splitlines())
        return done.returncode

    def _value(self, text: str, given: dict[str, str]) -> str:
        known = {f"inputs.{name}": said for name, said in given.items()} | {
            "github.actor": "octocat",
            "github.workflow": "Promote",
            "github.run_id": "42",
            "github.action_path": str(FOLDER),
        }

        def one(found: re.Match[str]) -> str:
            return next((known[name.strip()] for name in found[1].split("||") if known[name.strip()]), "")

        return re.sub(r"\$\{\{(.*?)\}\}", one, text)

    def _holds(self, condition: str, given: dict[str, str]) -> bool:
        for part in condition.split(" && "):
            if part == "true":
                continue
            name, sign, wanted = part.split(" ")
            parts = name.split(".")
            have = given[parts[1]] if parts[0] == "inputs" else self.results.get(parts[1], {}).get(parts[3], "")
            if (have == wanted.strip("'")) != (sign == "=="):
                return False
        return True


def _waiting_team(store: Store) -> None:
    for path in (store.home / "config").glob("*.yaml"):
        path.unlink()
    (store.home / "config" / "churn.yaml").write_text(RULES)
    store.log("churn", {"auc": 0.9}, {"MLmodel": b"flavors: {}\n"})
    service = open_promotions(store.settings)
    version = service.candidate("churn", 1)
    register_version(service, version, semver="1.0.0")
    service.promote(service.check(version, Stage.STAGING), Mover("anna", "try it"))


@pytest.fixture
def store(arranged: Arranged) -> Store:
    """Churn 1 waits in Staging for one approval."""
    return arranged(_waiting_team)


@pytest.fixture
def runner(store: Store, tmp_path: Path) -> Iterator[Runner]:
    """The platform knows who approved what."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, line in {
        "promotion": f'exec {sys.executable} -c "from promotion.cli.main import main; main()" "$@"',
        "python": f'[ "$1" != -m ] || {{ echo "$@"; exit; }}\nexec {sys.executable} "$@"',
    }.items():
        (programs / name).write_text(f"#!/bin/bash\nexport PYTHONPATH={REPOSITORY / 'src'}\n{line}\n")
        (programs / name).chmod(0o755)
    answers = [
        {
            "state": "approved",
            "comment": "looked at the slices",
            "environments": [{"name": "production"}],
            "user": {"login": "octocat"},
        },
        {"state": "approved", "comment": "", "environments": [{"name": "staging"}], "user": {"login": "stranger"}},
    ]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_asked = self.path == "/repos/acme/models/actions/runs/42/approvals"
            is_known = self.headers["Authorization"] == "Bearer gh-token"
            self.send_response(200 if is_asked and is_known else 404)
            self.end_headers()
            self.wfile.write(json.dumps(answers).encode())

        def log_message(self, *_arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield Runner(store.home, tmp_path, f"http://127.0.0.1:{server.server_address[1]}")
    server.shutdown()
    server.server_close()


@pytest.mark.system
def test_every_step_runs_as_the_runner_runs_it(runner: Runner, store: Store) -> None:
    """Refused without the approval, which is no failure; with it moved, and the record says who approved and where."""
    asked = runner.run(model_name="churn", version="1.0.0")
    assert ({"Install": 0, "Check": 0, "Summary and report": 0}, "refused") == (asked, runner.verdict), runner.said
    assert "### churn v1 (1.0.0)" in runner.summary
    assert "| ❌ | tech\\_lead | nobody yet |".replace("\\_", "_") in runner.summary
    assert (runner.folder / "reports" / "promotion" / "index.html").is_file()
    assert "::warning::churn 1.0.0 may not enter production" in runner.said

    inputs = {"model_name": "churn", "version": "1.0.0", "move": "true", "token": "gh-token"}
    moved = runner.run(**inputs, reviewers=str(FOLDER / "reviewers.yml"))
    assert ({0}, 5, "moved") == (set(moved.values()), len(moved), runner.verdict), runner.said
    journal = open_promotions(store.settings).journal
    (word,) = Reviews(journal).approvals(journal.entry("churn", 1))
    assert ("tech_lead", "octocat@example.com", True) == (word.role, word.approver, word.approved)
    assert "looked at the slices (https://github.com/acme/models/actions/runs/42)" == word.comment
    assert {"churn v1": "Production"} == store.shown()

    again = runner.run(model_name="churn", version="1.0.0", move="true")
    assert ({"Install": 0, "Check": 0}, "nothing-to-do") == (again, runner.verdict), runner.said


@pytest.mark.system
def test_an_account_that_is_nobody_approves_nothing(runner: Runner, tmp_path: Path) -> None:
    """The map decides who somebody is; a version that is not there fails the step, too."""
    reviewers = tmp_path / "reviewers.yml"
    reviewers.write_text("people: {somebody: else@example.com}\nroles: {production: tech_lead}\n")

    codes = runner.run(model_name="churn", version="1.0.0", reviewers=str(reviewers), token="gh-token")  # noqa: S106
    assert {"Install": 0, "Record the environment's approvals": 3} == codes
    assert "people does not say who 'octocat' is" in runner.said
    codes = runner.run(model_name="churn", version="1.0.0", reviewers=str(reviewers), token="another")  # noqa: S106
    assert {"Install": 0, "Record the environment's approvals": 1} == codes
    assert "::error::the run's approvals cannot be read (HTTP Error 404: Not Found)" in runner.said
    assert "Traceback" not in runner.said
    assert {"Install": 0, "Check": 2} == runner.run(model_name="churn", version="9.9.9")
