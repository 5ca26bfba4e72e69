"""Builds in our stand-in for Jenkins: a scenario each, many of them in one Java process."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.programs import java_home, needed

from promotion.config.settings import REPOSITORY

FOLDER = Path(__file__).parent
JENKINSFILE = REPOSITORY / "Jenkinsfile"
JOBS = REPOSITORY / "ci" / "jenkins"
USER = "hudson.model.Cause$UserIdCause"
ANNA: dict[str, str] = {"_class": USER, "userId": "anna", "userName": "Anna"}
PUSH: dict[str, str] = {"_class": "com.cloudbees.jenkins.GitHubPushCause", "shortDescription": "a push by bob"}
CREDENTIALS: dict[str, dict[str, str]] = {
    "promotion-database-url": {"kind": "string", "value": "postgresql+psycopg://pipeline:SECRET1@db/promotion"},
    "promotion-signing-key": {"kind": "file", "value": "/agent/tmp/SECRET2/signing-key.pem"},
    "mlflow": {"kind": "usernamePassword", "username": "pipeline", "password": "SECRET3"},
    "image-registry": {"kind": "usernamePassword", "username": "robot", "password": "SECRET4"},
    "kubeconfig-staging": {"kind": "file", "value": "/agent/tmp/SECRET5/staging"},
    "kubeconfig-production": {"kind": "file", "value": "/agent/tmp/SECRET6/production"},
}
REAL = f'script=$1; shift; exec {shlex.quote(sys.executable)} {shlex.quote(str(REPOSITORY))}/$script "$@"'
"""Answers with this repository's own command."""
PROMOTED = "heart-disease-logistic_regression v2"
GREEN = {
    "pipeline-plan.py": 'cat "$PLAN"',
    "--junitxml": "mkdir -p reports; echo '<testsuite><testcase name=\"a\"/></testsuite>' > reports/junit.xml",
    "promotion-report.py": "mkdir -p reports/promotion; echo page > reports/promotion/index.html",
    "registry-page.py": "mkdir -p reports; echo page > reports/index.html",
    "promote-model.py --auto --model": "mkdir -p checkpoints; echo {} > checkpoints/7-abc.json",
    "export-model.py": "mkdir -p build/export/m; echo {} > build/export/m/manifest.json",
    "build-image.py": """echo '{"exit_code": 0, "image": "registry.test/heart-disease:1.1.0-0123456789ab"}'""",
}


def a_plan(**changes: Any) -> dict[str, Any]:
    """What `pipeline-plan.py` says of a family in full health."""
    candidate = {
        "name": PROMOTED,
        "model": "heart-disease-logistic_regression",
        "version": "1.1.0",
        "stage": "none",
        "refused": [],
        "missing": [],
    }
    return {
        "family": "heart-disease",
        "promotion": "auto",
        "approvals": False,
        "signed": False,
        "online": True,
        "production": PROMOTED,
        "candidate": candidate,
    } | changes


@dataclass
class Scenario:
    """One build: who started it with which parameters, and what each command answers.

    Attributes:
        name: For the reader.
        commands: By a part of the command line, the shell lines to run instead; others do nothing and succeed. Replaces
            or adds to those of a green build.
        plan: What `pipeline-plan.py` answers.
        params: Chosen parameters; the rest are defaults.
        causes: Who or what started it.
        answers: By the submitter an input asks for, who answers (`by`), and with what (`values`), or `abort`.
        credentials: What Jenkins holds.
        variables: More environment variables, as Jenkins' own properties set them.
        more: Other keys of the scenario file.
        repository: What `checkout scm` clones; the workspace is empty before.
        agents: How many take turns; each has a workspace of its own.
    """

    name: str
    commands: Mapping[str, str] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=a_plan)
    params: Mapping[str, Any] = field(default_factory=dict)
    causes: Sequence[Mapping[str, str]] = (ANNA,)
    answers: Mapping[str, Any] = field(default_factory=dict)
    credentials: Mapping[str, Any] = field(default_factory=lambda: CREDENTIALS)
    variables: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)
    repository: Path | None = None
    agents: int = 1

    def prepare(self, folder: Path, jenkinsfile: Path = JENKINSFILE) -> dict[str, Any]:
        """Lay out workspace and programs; returns the scenario as the stand-in reads it."""
        programs = folder / "bin"
        programs.mkdir(parents=True)
        answers = GREEN | dict(self.commands)
        (folder / "plan.json").write_text(json.dumps(self.plan))
        scripted = ["python", "make", "docker", *([] if self.repository else ["git"])]
        for program in (programs / name for name in scripted):
            program.write_text(_scripted(program.name, answers))
            program.chmod(0o755)
        return {
            "name": self.name,
            "jenkinsfile": str(jenkinsfile),
            "workspaces": [str(folder / name) for name in ("workspace", "workspace-2")[: self.agents]],
            "commit": "5f1d3c",
            "params": dict(self.params),
            "causes": list(self.causes),
            "answers": dict(self.answers),
            "credentials": dict(self.credentials),
            "agent": {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(folder), "PLAN": str(folder / "plan.json")},
            "variables": {
                "JOB_NAME": "promotion",
                "BUILD_NUMBER": "42",
                "BUILD_TAG": "jenkins-promotion-42",
                "BUILD_URL": "https://jenkins.test/job/promotion/42/",
                **self.variables,
            },
            "repository": str(self.repository) if self.repository else None,
            **self.more,
        }


GOVERNED = a_plan(
    family="alzheimer_classifier",
    promotion="manual",
    approvals=True,
    production="alzheimer_classifier v2",
    candidate={
        "name": "alzheimer_classifier v3",
        "model": "alzheimer_classifier",
        "version": "1.2.0",
        "stage": "staging",
        "refused": [],
        "missing": ["devops", "security"],
    },
)
YES = {"by": "olaf", "values": {"DECISION": "approve", "COMMENT": 'it "deploys"; $(touch owned)'}}
BOTH = {"promotion-devops": YES, "promotion-security": YES | {"by": "sam"}}


def governed(name: str, **changes: object) -> Scenario:
    """A build that anna started for a family that asks two people."""
    given = {"plan": GOVERNED, "params": {"MODEL": "alzheimer_classifier"}, "answers": BOTH} | changes
    return Scenario(name, **given)  # type: ignore[arg-type]


def _scripted(program: str, answers: Mapping[str, str]) -> str:
    """A program that answers by its command line; the longest part that fits decides."""
    cases = "\n".join(
        f"*{shlex.quote(part)}*) {lines} ;;" for part, lines in sorted(answers.items(), key=_longest_first)
    )
    return f'#!/bin/sh\necho "{program} $*"  >&2\ncase "{program} $*" in\n{cases}\nesac\n'


def _longest_first(item: tuple[str, str]) -> int:
    return -len(item[0])


@dataclass(frozen=True)
class Outcome:
    """A finished build, as the stand-in describes it."""

    document: Mapping[str, Any]

    @property
    def result(self) -> str:
        """SUCCESS, UNSTABLE, FAILURE or ABORTED."""
        return str(self.document["result"])

    @property
    def console(self) -> str:
        """Everything that was said."""
        return str(self.document["console"])

    @property
    def description(self) -> str:
        """The line on the build's page."""
        return str(self.document["description"])

    @property
    def executed(self) -> list[str]:
        """Stages with steps that ran, in order."""
        return [stage["name"] for stage in self._stages if stage["status"] == "executed"]

    @property
    def skipped(self) -> list[str]:
        """Stages that did not."""
        return [stage["name"] for stage in self._stages if stage["status"] != "executed"]

    @property
    def _stages(self) -> list[dict[str, Any]]:
        return [stage for stage in self.document["stages"] if not stage["isParent"]]

    def stage_result(self, name: str) -> str:
        """One stage's own result."""
        return next(str(stage["result"]) for stage in self.document["stages"] if stage["name"] == name)

    def steps(self, name: str) -> list[dict[str, Any]]:
        """What was asked of one kind of step."""
        return [step for step in self.document["steps"] if step["step"] == name]

    @property
    def commands(self) -> list[str]:
        """Every shell command, in order."""
        return [str(step["arguments"]["script"]) for step in self.steps("sh")]

    def ran(self, part: str) -> bool:
        """Whether a command with these words ran."""
        return any(part in command for command in self.commands)


def execute(folder: Path, scenarios: Sequence[dict[str, Any]]) -> dict[str, Outcome]:
    """Run builds one after the other in one Java process.

    Raises:
        AssertionError: The stand-in itself failed.
    """
    questions, results = folder / "scenarios.json", folder / "results.json"
    questions.write_text(json.dumps(scenarios))
    groovy = needed("groovy")
    done = subprocess.run(
        [groovy, "-cp", str(FOLDER / "stand_in"), str(FOLDER / "harness.groovy"), str(questions), str(results)],
        env={**os.environ, **java_home(), "JAVA_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return {document["name"]: Outcome(document) for document in json.loads(results.read_text())}
