"""Our stand-in for Jenkins is strict: a Jenkinsfile with one wrong word in it does not run."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.jenkins.builds import FOLDER, JENKINSFILE, Outcome, Scenario, execute, governed

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

Builds = dict[str, Outcome]
MISTAKES = [
    ("checkout(scm)", "checkuot(scm)", "step 'checkuot' is offered by nothing"),
    ("sh 'make lint'", "shell 'make lint'", "step shell"),
    ("sh 'make lint'", "sh(command: 'make lint')", "step 'sh' has no command"),
    ("sh 'make lint'", "def lint = 'make lint'; sh lint", "where only a name with arguments may stand"),
    ("    triggers {", "    trigger {", "section trigger"),
    ("githubPush()", "gitlabPush()", "gitlabPush in triggers"),
    ("disableConcurrentBuilds()", "disableConcurrency()", "disableConcurrency in options"),
    ("skipDefaultCheckout()", "skipDefaultCheckout(always: true)", "has no always"),
    ("        fixed {", "        repaired {", "post condition repaired"),
    ("                allOf {", "                both {", "condition both"),
    ("    agent none\n", "", "no agent"),
    ("= whoStarted()", "= params.MODEL", "a value is a string or a function call"),
    ("string(name: 'MODEL', ", "string(id: 'MODEL', ", "parameter 'string' has no id"),
    ("stage('Lint')", "stage('Test')", "two stages called Test"),
    ("void sendMail()", "void notify()", "every Groovy object has one of that name"),
    ("for (role in env.MISSING.split(',')) {", "env.MISSING.split(',').each { role ->", "write a for loop"),
    ("Map questions = [:]", "Map questions = new HashMap()", "scripts run in the sandbox"),
    ("time: 8,", "time: '8',", "timeout: time is 8"),
]


@pytest.fixture(scope="module")
def mistakes(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    """One build of each Jenkinsfile with a mistake in it."""
    folder = tmp_path_factory.mktemp("mistakes")
    text = JENKINSFILE.read_text(encoding="utf-8")
    prepared = []
    for number, (old, new, _said) in enumerate(MISTAKES):
        assert old in text
        path = folder / f"Jenkinsfile-{number}"
        path.write_text(text.replace(old, new), encoding="utf-8")
        prepared.append(Scenario(new).prepare(folder / str(number), path))
    return execute(folder, prepared)


@pytest.mark.parametrize(("new", "said"), [(new, said) for _old, new, said in MISTAKES])
def test_what_jenkins_does_not_know_fails_here_too(mistakes: Builds, new: str, said: str) -> None:
    """The stand-in is no rubber stamp: one word wrong, and the Jenkinsfile does not run."""
    assert said in str(mistakes[new].document["broken"])


def test_an_agent_around_everything_is_held_while_people_are_asked(tmp_path: Path) -> None:
    """And a stage that has none cannot run a command: both as in Jenkins."""
    text = JENKINSFILE.read_text(encoding="utf-8")
    held, without = tmp_path / "held", tmp_path / "without"
    held.write_text(text.replace("agent none", "agent { label 'promotion' }", 1), encoding="utf-8")
    without.write_text(text.replace("            agent { label 'promotion' }\n", ""), encoding="utf-8")
    scenario = governed("held")

    builds = execute(
        tmp_path,
        [scenario.prepare(tmp_path / "1", held), Scenario("without").prepare(tmp_path / "2", without)],
    )

    assert 1 == builds["held"].document["declared"]["executors"]
    assert {1} == {step["executors"] for step in builds["held"].steps("input")}
    assert "FAILURE" == builds["without"].result
    assert "Required context class hudson.FilePath is missing" in builds["without"].console


def test_the_stand_in_says_that_it_is_one() -> None:
    """Nobody must take these builds for Jenkins' own."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8")

    assert "not Jenkins" in text
