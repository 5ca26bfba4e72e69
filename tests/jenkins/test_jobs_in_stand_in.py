"""The jobs beside the pipeline, executed in our stand-in for Jenkins: promotion by name, the month, the monitor."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.jenkins.builds import JOBS, PUSH, Outcome, Scenario, execute

from promotion.config.settings import REPOSITORY

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

Builds = dict[str, Outcome]
BY_NAME = {"MODEL": "churn", "NAME": "churn-booster", "VERSION": "1.2.0", "REASON": 'five "points"; $(touch owned)'}
HUB = {"IMAGE_REGISTRY": "acme"}
SCENARIOS = {
    "promote": [
        Scenario("first build"),
        Scenario("by name", params=BY_NAME),
        Scenario("deployed", params=BY_NAME | {"DEPLOY": True, "ENVIRONMENT": "production"}, variables=HUB),
        Scenario("named as the family", params={"MODEL": "churn", "VERSION": "7"}),
        Scenario("refused", {"promote-model.py": "exit 3"}, params=BY_NAME | {"DEPLOY": True}),
        Scenario("there already", {"promote-model.py": "exit 5"}, params=BY_NAME | {"DEPLOY": True}),
        Scenario("taken back", {"deploy-model.py --model": "exit 1"}, params=BY_NAME | {"DEPLOY": True}),
    ],
    "compliance": [
        Scenario("month", causes=[PUSH]),
        Scenario("record changed", {"compliance-report.py": "mkdir -p reports; echo x > reports/m.html; exit 3"}),
    ],
    "monitor": [
        Scenario("healthy", causes=[PUSH]),
        Scenario("critical", {"monitor-model.py": "exit 3"}),
        Scenario("blind", {"monitor-model.py": "exit 1"}),
    ],
}


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    """Every scenario's build."""
    folder = tmp_path_factory.mktemp("jobs")
    prepared = [
        scenario.prepare(folder / job / str(number), JOBS / f"{job}.Jenkinsfile")
        for job, scenarios in SCENARIOS.items()
        for number, scenario in enumerate(scenarios)
    ]
    done = execute(folder, prepared)
    assert {} == {name: build.document["broken"] for name, build in done.items() if build.document["broken"]}
    return done


def test_every_job_is_executed_here() -> None:
    """A file that nobody runs is a claim."""
    assert set(SCENARIOS) == {path.name.removesuffix(".Jenkinsfile") for path in JOBS.glob("*.Jenkinsfile")}


def test_a_version_is_promoted_by_its_name(builds: Builds, tmp_path: Path) -> None:
    """Nothing is trained; name, version and reason reach the command as they were written."""
    build = builds["by name"]

    assert "SUCCESS" == build.result
    assert 'promote-model.py churn-booster 1.2.0 --reason five "points"; $(touch owned)' in build.console
    assert not any(build.ran(part) for part in ("train", "deploy-model.py", "build-image.py"))
    assert "promote-model.py churn 7 --reason jenkins-promotion-42" in builds["named as the family"].console
    assert not list(tmp_path.parent.rglob("owned"))


def test_a_first_build_without_parameters_is_green(builds: Builds) -> None:
    """It tells Jenkins of the parameters and does nothing else."""
    assert ("SUCCESS", []) == (builds["first build"].result, builds["first build"].commands)


def test_what_was_asked_for_by_name_is_delivered_or_the_build_is_red(builds: Builds) -> None:
    """A gate's refusal too; what is in Production already is deployed once more."""
    assert ("FAILURE", "refused by a gate (exit code 3)") == (builds["refused"].result, builds["refused"].description)
    assert not builds["refused"].ran("export-model.py")
    assert "SUCCESS" == builds["there already"].result
    assert builds["there already"].ran("deploy-model.py --status")
    assert "FAILURE" == builds["taken back"].result
    assert not builds["taken back"].ran("deploy-model.py --status")


def test_an_image_on_docker_hub_has_no_host_in_its_name(builds: Builds) -> None:
    """The account alone: the sign-in is then Docker Hub's, not that of a host called so."""
    (registry,) = builds["deployed"].steps("withDockerRegistry")

    assert "" == registry["arguments"]["url"]
    assert "kubeconfig-production" in str(builds["deployed"].steps("withCredentials"))


def test_the_month_is_verified_and_archived_whatever_was_found(builds: Builds) -> None:
    """The last month's; red where somebody changed the record, with the report kept."""
    assert [{"name": "cron", "spec": "TZ=UTC\nH 6 1 * *"}] == builds["month"].document["declared"]["triggers"]
    month = (datetime.now(UTC).replace(day=1) - timedelta(days=1)).strftime("%Y-%m")
    assert f"compliance-report.py --verify --month {month}" in builds["month"].console
    assert "SUCCESS" == builds["month"].result
    assert "FAILURE" == builds["record changed"].result
    assert 1 == len(builds["record changed"].steps("archiveArtifacts"))
    assert "promotion-signing-key" not in str(builds["month"].steps("withCredentials"))


def test_the_monitor_is_unstable_when_told_and_red_when_blind(builds: Builds) -> None:
    """A critical finding was told by the family's channels; a monitor that cannot look is a fault of its own."""
    found = {name: builds[name].result for name in ("healthy", "critical", "blind")}

    assert {"healthy": "SUCCESS", "critical": "UNSTABLE", "blind": "FAILURE"} == found


def test_the_jobs_keep_the_rules_of_the_pipeline(builds: Builds) -> None:
    """One build at a time, no restart in the middle, an end to everything; documented by name."""
    text = (REPOSITORY / "docs" / "JENKINS.md").read_text(encoding="utf-8")
    for scenarios in SCENARIOS.values():
        document = builds[scenarios[0].name].document
        options = {option["name"] for option in document["declared"]["options"]}
        assert {"disableConcurrentBuilds", "disableRestartFromStage", "timeout", "buildDiscarder"} <= options
        assert {name for name in document["plugins"] if f"`{name}`" not in text} == set()
    assert [job for job in SCENARIOS if f"ci/jenkins/{job}.Jenkinsfile" not in text] == []


def test_every_plugin_has_a_least_version_in_the_document_and_for_the_installer(builds: Builds) -> None:
    """Numbers, the same in both; what a step comes from is among them, or is brought by one that is."""
    listed = dict(line.split(":") for line in (JOBS / "plugins.txt").read_text(encoding="utf-8").splitlines())
    text = (REPOSITORY / "docs" / "JENKINS.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| (\d[\w.]+) \| (.*) \|$", text, re.MULTILINE)

    assert listed == {name: version for name, version, _ in rows}
    brought = {name for _, _, why in rows for name in re.findall(r"`([\w-]+)`", why.partition("brings")[2])}
    assert {name for build in builds.values() for name in build.document["plugins"]} <= brought | set(listed)
