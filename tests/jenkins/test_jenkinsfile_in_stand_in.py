"""The Jenkinsfile, executed stage by stage in our stand-in for Jenkins; the commands it calls are scripted here.

System tests because they need Groovy, which an agent that runs `make test` need not have.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.jenkins.builds import (
    BOTH,
    CREDENTIALS,
    GOVERNED,
    PROMOTED,
    PUSH,
    Outcome,
    Scenario,
    a_plan,
    execute,
    governed,
)

from promotion.config.settings import REPOSITORY

WORD = r'(?:[\w./=-]+|"\$\w+(?:/\$\w+)?")'
pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

STAGES = [
    *("Checkout", "Set up", "Lint", "Test", "Download Data", "Train Models", "Validate", "Promote Best Model"),
    *("Build Docker Image", "Test Docker Image", "Deploy to Kubernetes", "Verify Deployment"),
]
RELEASE = STAGES[8:]
NAMED = '--model-name "$NAME" --version "$VERSION"'
AUTO = "promote-model.py --auto --model"
NO = {"by": "sam", "values": {"DECISION": "reject", "COMMENT": "an old library"}}
FAILED_TEST = "mkdir -p reports; echo '<s><testcase><failure/></testcase></s>' > reports/junit.xml; exit 2"
SCENARIOS = [
    Scenario("green"),
    Scenario("production", params={"ENVIRONMENT": "production"}, variables={"IMAGE_REGISTRY": "registry.test/models"}),
    Scenario("started by a push", causes=[PUSH]),
    Scenario("refused by a gate", {AUTO: "exit 3", "--dry-run": "exit 3"}),
    Scenario("failed", {AUTO: "exit 1"}),
    Scenario("crashed", {AUTO: "kill -9 $$"}),
    Scenario("moved meanwhile", {AUTO: "exit 4"}),
    Scenario("nothing to do", {AUTO: "exit 5", "--dry-run": "exit 5"}),
    Scenario("not shown by MLflow", {AUTO: "exit 6"}),
    Scenario("nothing in Production", {AUTO: "exit 3"}, plan=a_plan(production=None)),
    Scenario("lint fails", {"make lint": "exit 2"}),
    Scenario("tests fail", {"--junitxml": FAILED_TEST}),
    Scenario("set-up fails", {"make setup-dev": "exit 2"}, variables={"PROMOTION_MAIL": "team@lab.example"}),
    Scenario("training fails", {"train.py": "exit 1"}),
    Scenario("unknown family", {"download-data.py": "exit 2"}, params={"MODEL": "nobody"}),
    Scenario(
        "registry away afterwards", {"pipeline-plan.py": '[ ! -e gone ] || exit 1; cat "$PLAN"', AUTO: "touch gone"}
    ),
    Scenario("image fails its test", {"test-image.py": "exit 1"}),
    Scenario("rolled back", {"deploy-model.py --model": "exit 1"}),
    Scenario("runs already", {"deploy-model.py --model": "exit 5"}),
    Scenario("cluster differs", {"deploy-model.py --status": "exit 1"}),
    Scenario("first build", variables={"BUILD_NUMBER": "1"}),
    Scenario("no deployment", params={"DEPLOY": False}),
    Scenario("canary", params={"CANARY": True}),
    Scenario("canary held", {"--canary": "exit 3"}, params={"CANARY": True}),
    Scenario("canary taken back", {"--canary": "exit 1"}, params={"CANARY": True}),
    Scenario("refused without canary", {"deploy-model.py --model": "exit 3"}),
    Scenario("forecast", {AUTO: "exit 5"}, plan=a_plan(family="rossmann-ensemble", promotion="manual", online=False)),
    Scenario("hostile name", params={"MODEL": "x; touch owned"}),
    Scenario("credential missing", credentials={name: CREDENTIALS[name] for name in list(CREDENTIALS)[1:]}),
    Scenario("fixed", variables={"PROMOTION_MAIL": "team@lab.example"}, more={"previous": "FAILURE"}),
    Scenario(
        "mail server away",
        variables={"PROMOTION_MAIL": "team@lab.example"},
        more={"previous": "FAILURE", "mailServerIsAway": True},
    ),
    governed("approved"),
    governed("two agents", agents=2, variables={"PROMOTION_MAIL": "team@lab.example"}),
    governed("denied", commands={"promote_model.py": "exit 3"}, answers=BOTH | {"promotion-security": NO}),
    governed("denied by the trainer's word", commands={"approve_model.py": "exit 3", "promote_model.py": "exit 3"}),
    governed("aborted", answers=BOTH | {"promotion-security": {"by": "sam", "abort": True}}),
    governed("nobody answers", answers={}),
    governed("pushed", causes=[PUSH], commands={AUTO: "exit 5"}),
    governed("signed elsewhere", plan=GOVERNED | {"signed": True}, commands={AUTO: "exit 5"}),
    governed("too early", plan=GOVERNED | {"candidate": GOVERNED["candidate"] | {"refused": ["days in Staging"]}}),
    governed("approved before", plan=GOVERNED | {"candidate": GOVERNED["candidate"] | {"missing": []}}, answers={}),
]

Builds = dict[str, Outcome]


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    """Every scenario's build."""
    folder = tmp_path_factory.mktemp("builds")
    prepared = [scenario.prepare(folder / str(number)) for number, scenario in enumerate(SCENARIOS)]
    done = execute(folder, prepared)
    assert {} == {name: build.document["broken"] for name, build in done.items() if build.document["broken"]}
    return done


def test_the_stages_are_those_of_the_document_in_its_order(builds: Builds) -> None:
    """And a green build runs them all."""
    green = builds["green"]

    assert ("SUCCESS", STAGES, ["Approvals"]) == (green.result, green.executed, green.skipped)
    assert f"heart-disease: {PROMOTED} in Production" in green.description
    assert "verified in staging" in green.description


def test_each_command_is_one_that_a_person_can_paste(builds: Builds) -> None:
    """One line, one program, no shell syntax beyond quoted variables."""
    commands = {command for build in builds.values() for command in build.commands}

    odd = [command for command in commands if not re.fullmatch(f"{WORD}(?: {WORD})*", command)]
    assert [] == odd
    assert {"python", "make", "docker", "git"} == {command.split()[0] for command in commands}


def test_the_commands_of_a_green_build(builds: Builds) -> None:
    """In order; looking at the family in between."""
    named = [command for command in builds["green"].commands if "pipeline-plan" not in command]

    assert [
        "make setup-dev",
        "make lint",
        "make test ARGS=--junitxml=reports/junit.xml",
        'git checkout --quiet --detach "$COMMIT"',
        "make setup",
        'python scripts/download-data.py --model "$MODEL"',
        'python src/models/train.py --model "$MODEL"',
        'python scripts/promote-model.py --auto --dry-run --model "$MODEL"',
        f"python scripts/promotion-report.py {NAMED} --output reports/promotion/index.html",
        'git checkout --quiet --detach "$COMMIT"',
        "make setup",
        'python scripts/download-data.py --model "$MODEL"',
        'python scripts/promote-model.py --auto --model "$MODEL"',
        "python scripts/registry-page.py",
        'python scripts/export-model.py --model "$MODEL"',
        'python scripts/build-image.py --model "$MODEL" --json',
        'python scripts/test-image.py --model "$MODEL" --image "$IMAGE"',
        'python scripts/deploy-model.py --model "$MODEL" --environment "$ENVIRONMENT" --image "$IMAGE"',
        'python scripts/deploy-model.py --status --model "$MODEL" --environment "$ENVIRONMENT"',
        "python scripts/registry-page.py",
    ] == named


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("refused by a gate", "Promotion: refused by a gate (exit code 3)"),
        ("failed", "Promotion: failed, nothing moved (exit code 1)"),
        ("crashed", "Promotion: crashed (exit code 137)"),
        ("moved meanwhile", "Promotion: Production moved meanwhile, build again (exit code 4)"),
        ("not shown by MLflow", "Promotion: promoted, MLflow does not show it yet (exit code 6)"),
    ],
)
def test_a_failed_promotion_is_unstable_and_the_current_production_is_delivered(
    builds: Builds, name: str, said: str
) -> None:
    """As the document says: the pipeline goes on."""
    build = builds[name]

    assert ("UNSTABLE", STAGES) == (build.result, build.executed)
    assert "UNSTABLE" == build.stage_result("Promote Best Model")
    assert said in build.description
    assert build.ran("deploy-model.py --model")


@pytest.mark.parametrize(
    ("name", "result", "is_verified", "said"),
    [
        ("canary", "SUCCESS", True, "verified in staging"),
        ("canary held", "UNSTABLE", True, "the canary in staging is held or refused (exit code 3)"),
        ("canary taken back", "FAILURE", False, "not deployed to staging (exit code 1)"),
        ("refused without canary", "FAILURE", False, "not deployed to staging (exit code 3)"),
    ],
)
def test_a_canary_that_is_held_is_for_people(
    builds: Builds, name: str, result: str, is_verified: bool, said: str
) -> None:
    """It is no failure: nothing was taken back, and `--status` finds what was asked for."""
    build = builds[name]

    assert (result, is_verified) == (build.result, "Verify Deployment" in build.executed)
    assert said in build.description
    assert build.ran("--canary --analyse") is name.startswith("canary")


def test_nothing_to_do_is_green(builds: Builds) -> None:
    """The champion stays, and where it runs already it keeps running."""
    for build in (builds["nothing to do"], builds["runs already"]):
        assert ("SUCCESS", STAGES) == (build.result, build.executed)


def test_without_a_production_there_is_no_image(builds: Builds) -> None:
    """A first version that a gate refused: nothing to build or deploy, and the build says why."""
    build = builds["nothing in Production"]

    assert ("UNSTABLE", ["Approvals", *RELEASE]) == (build.result, build.skipped)
    assert "nothing in Production" in build.description
    assert not build.ran("export-model.py")


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("set-up fails", "Set up"),
        ("lint fails", "Lint"),
        ("tests fail", "Test"),
        ("unknown family", "Download Data"),
        ("training fails", "Train Models"),
        ("credential missing", "Train Models"),
        ("registry away afterwards", "Promote Best Model"),
        ("image fails its test", "Test Docker Image"),
        ("rolled back", "Deploy to Kubernetes"),
        ("cluster differs", "Verify Deployment"),
    ],
)
def test_what_fails_the_build_ends_it(builds: Builds, name: str, last: str) -> None:
    """Later stages are skipped; what was made is archived all the same."""
    build = builds[name]

    assert ("FAILURE", last) == (build.result, build.executed[-1])
    assert STAGES[STAGES.index(last) + 1 :] == [name for name in build.skipped if name != "Approvals"]
    agents = STAGES.index(last) >= STAGES.index("Download Data"), last in {"Promote Best Model", *RELEASE}
    assert sum(agents) == len(build.steps("archiveArtifacts"))


def test_reports_and_checkpoints_are_archived(builds: Builds) -> None:
    """Also after a failure, as far as they exist."""
    candidate, archived = builds["green"].steps("archiveArtifacts")
    published = builds["green"].steps("publishHTML")
    (early,) = builds["unknown family"].steps("archiveArtifacts")

    assert [
        "build/export/m/manifest.json",
        "checkpoints/7-abc.json",
        "reports/index.html",
    ] == archived["files"]
    assert ["reports/promotion/index.html"] == candidate["files"]
    assert archived["arguments"]["fingerprint"] is True
    assert [True, True] == [step["published"] for step in published]
    assert [] == early["files"]


def test_failing_tests_are_shown_one_by_one(builds: Builds) -> None:
    """The report is read although `make test` failed."""
    assert "1 tests, 1 failed" in builds["tests fail"].console
    assert 1 == len(builds["tests fail"].steps("junit"))


def test_without_deploy_the_image_is_built_and_tested_only(builds: Builds) -> None:
    """Nothing touches the cluster, and its credential is not asked for."""
    build = builds["no deployment"]

    assert ("SUCCESS", ["Approvals", *RELEASE[2:]]) == (build.result, build.skipped)
    assert not build.ran("deploy-model.py")


def test_the_first_build_needs_no_cluster(builds: Builds) -> None:
    """It promotes, builds and tests, and is green: nobody was asked yet whether to deploy, and where to."""
    assert "SUCCESS" == builds["first build"].result
    assert ["Approvals", *RELEASE[2:]] == builds["first build"].skipped


def test_old_images_of_ours_do_not_fill_the_agent(builds: Builds) -> None:
    """Only where a registry has them, only ours, and never of a build that had none."""
    assert builds["production"].ran("docker image prune --all --force --filter label=io.promotion.family")
    assert not any(builds[name].ran("prune") for name in ("green", "lint fails"))


def test_a_forecast_is_promoted_by_hand_and_gets_no_image(builds: Builds) -> None:
    """It is validated, which moves it to Staging; exit 5 says that the rest is a person's."""
    build = builds["forecast"]

    assert ("SUCCESS", ["Approvals", *RELEASE]) == (build.result, build.skipped)
    assert build.ran("src/models/validate_model.py --model-name")
    assert not build.ran("--dry-run")


def test_who_started_the_build_goes_into_the_record(builds: Builds) -> None:
    """The person, or the CI account where nobody pressed a button."""
    assert {"anna"} == {step["actor"] for step in builds["green"].steps("sh")}
    assert {"jenkins"} == {step["actor"] for step in builds["started by a push"].steps("sh")}


def test_lint_tests_and_data_see_no_secret(builds: Builds) -> None:
    """And each later command sees what it needs, never a value on the console."""
    seen = {
        step["arguments"]["script"].split(" --", maxsplit=1)[0]: set(step["secrets"])
        for step in builds["production"].steps("sh")
    }
    records = {"PROMOTION_DATABASE_URL", "PROMOTION_SIGNING_KEY", "MLFLOW_TRACKING_PASSWORD"}

    assert {
        "make setup-dev",
        "make lint",
        "make test ARGS=--junitxml=reports/junit.xml",
        "python scripts/download-data.py",
        "git checkout",
        "make setup",
    } == {command for command, secrets in seen.items() if not secrets and not command.startswith("docker")}
    assert records == seen["python src/models/train.py"] == seen["python scripts/promote-model.py"]
    assert records | {"KUBECONFIG"} == seen["python scripts/deploy-model.py"]
    assert not [build.document["name"] for build in builds.values() if "SECRET" in build.console]


def test_no_step_with_a_secret_works_where_tests_ran(builds: Builds) -> None:
    """A test of a change, or of a package, can leave nothing there that a later command imports."""
    steps = builds["production"].steps("sh")
    checks = {step["workspace"] for step in steps if step["stage"] in {"Set up", "Lint", "Test"}}

    assert 1 == len(checks)
    assert checks.isdisjoint(step["workspace"] for step in steps if step["stage"] not in STAGES[:4])


def test_production_has_its_own_account_and_an_image_that_was_pushed(builds: Builds) -> None:
    """After its test, with the registry's robot."""
    build = builds["production"]
    commands = build.commands

    bound = [str(step["arguments"]) for step in build.steps("withCredentials")]
    assert any("kubeconfig-production" in text for text in bound)
    assert not any("kubeconfig-staging" in text for text in bound)
    assert commands.index('docker push "$IMAGE"') > commands.index(
        'python scripts/test-image.py --model "$MODEL" --image "$IMAGE"'
    )
    assert "--json --tag registry.test/models/heart-disease\n" in build.console
    assert not builds["green"].ran("docker push")


def test_a_family_that_needs_people_is_promoted_after_their_answers(builds: Builds) -> None:
    """Each role is asked as its group; name, role and comment reach the record untouched by the shell."""
    build = builds["approved"]

    assert "SUCCESS" == build.result
    assert ["promotion-devops", "promotion-security"] == [
        step["arguments"]["submitter"] for step in build.steps("input")
    ]
    assert '--version 1.2.0 --role devops --approver olaf --comment it "deploys"; $(touch owned)\n' in build.console
    assert "--from-stage staging --to-stage production --approver anna --reason jenkins-promotion-42\n" in build.console
    assert not build.ran(AUTO)


def test_a_denial_is_recorded_and_the_build_goes_on_with_the_current_production(builds: Builds) -> None:
    """`--reject` from the one who said no; the promotion is refused; what serves is delivered."""
    build = builds["denied"]

    assert ("UNSTABLE", []) == (build.result, build.skipped)
    assert "--role security --approver sam --comment an old library --reject\n" in build.console
    assert "Promotion: refused by a gate" in build.description


def test_an_answer_that_does_not_count_is_said(builds: Builds) -> None:
    """The trainer approved: the record refuses it, and the promotion after it."""
    build = builds["denied by the trainer's word"]

    assert "UNSTABLE" == build.result
    assert "Approval of devops: refused by a gate (exit code 3)" in build.description


@pytest.mark.parametrize("name", ["aborted", "nobody answers"])
def test_abort_or_silence_stops_the_build(builds: Builds, name: str) -> None:
    """Nothing is promoted, built or deployed; what others said before is recorded."""
    build = builds[name]

    assert ("ABORTED", ["Promote Best Model", *RELEASE]) == (build.result, build.skipped)
    assert not build.ran("promote_model.py")
    assert (name == "aborted") == build.ran("approve_model.py")


def test_nothing_that_waits_holds_an_executor(builds: Builds) -> None:
    """Not the lock, not a question, not the time-out around it; each answer takes an agent when it is there."""
    for build in builds.values():
        assert 0 == build.document["declared"]["executors"], build.document["name"]
        assert [0] * len(build.steps("input")) == [step["executors"] for step in build.steps("input")]
    recorded = [step for step in builds["approved"].steps("sh") if "approve_model" in step["arguments"]["script"]]
    assert [1, 1] == [step["executors"] for step in recorded]


def test_a_second_agent_has_the_commit_and_no_more(builds: Builds) -> None:
    """Each that this build gets is prepared first: what was pushed since is not mixed in, and no old report stays."""
    build = builds["two agents"]

    assert "SUCCESS" == build.result
    for command in ('git checkout --quiet --detach "$COMMIT"', "make setup"):
        assert 4 == build.commands.count(command)
    assert 4 == len(build.steps("archiveArtifacts"))


@pytest.mark.parametrize("name", ["pushed", "too early", "signed elsewhere"])
def test_nobody_is_asked_in_vain(builds: Builds, name: str) -> None:
    """Not in a build that a commit started, not where words must be signed, not while something else refuses."""
    assert ([], "SUCCESS") == (builds[name].steps("input"), builds[name].result)
    assert not builds[name].ran("promote_model.py")


def test_answers_given_before_need_no_question(builds: Builds) -> None:
    """By the command, or in an earlier build."""
    build = builds["approved before"]

    assert ([], "SUCCESS") == (build.steps("input"), build.result)
    assert build.ran("promote_model.py")


def test_a_name_is_a_name_and_no_program(builds: Builds, tmp_path: Path) -> None:
    """Parameters reach the shell as quoted variables."""
    assert "download-data.py --model x; touch owned\n" in builds["hostile name"].console
    assert not list(tmp_path.parent.rglob("owned"))


def test_mail_goes_out_when_something_broke_or_was_fixed(builds: Builds) -> None:
    """Only where an address is set, and a mail server that is away does not matter."""
    (broken,) = builds["set-up fails"].steps("mail")
    (fixed,) = builds["fixed"].steps("mail")

    assert "promotion 42: FAILURE" == broken["arguments"]["subject"]
    assert "promotion 42: SUCCESS" == fixed["arguments"]["subject"]
    assert [] == builds["lint fails"].steps("mail")
    assert "SUCCESS" == builds["mail server away"].result


def test_the_job_is_declared_as_documented(builds: Builds) -> None:
    """Trigger, parameters, one build at a time, a lock for the family, an end to everything."""
    declared = builds["green"].document["declared"]
    options = {option["name"]: option for option in declared["options"]}

    assert [{"name": "githubPush"}] == declared["triggers"]
    assert [("MODEL", "heart-disease"), ("DEPLOY", True), ("CANARY", False), ("ENVIRONMENT", None)] == [
        (parameter["name"], parameter.get("defaultValue")) for parameter in declared["parameters"]
    ]
    wanted = {"disableConcurrentBuilds", "disableRestartFromStage", "lock", "timeout", "buildDiscarder"}
    assert wanted | {"skipDefaultCheckout"} == set(options)
    assert "promotion-heart-disease" == options["lock"]["resource"]
    assert all(
        "timeout" in stage["options"] for stage in builds["approved"].document["stages"] if not stage["isParent"]
    )


def test_the_document_names_every_plugin_credential_variable_and_parameter(builds: Builds) -> None:
    """docs/JENKINS.md is what somebody with an empty Jenkins has."""
    text = (REPOSITORY / "docs" / "JENKINS.md").read_text(encoding="utf-8")
    plugins = {plugin for build in builds.values() for plugin in build.document["plugins"]}
    wanted = (
        plugins | set(CREDENTIALS) | {"MODEL", "DEPLOY", "CANARY", "ENVIRONMENT", "PROMOTION_MAIL", "IMAGE_REGISTRY"}
    )

    assert set() == {name for name in wanted if f"`{name}`" not in text}
