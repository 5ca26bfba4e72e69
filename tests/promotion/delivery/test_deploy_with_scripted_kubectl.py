"""Deploying through a scripted kubectl: forward, and back with or without the registry. No real cluster here.

Each call of kubectl is a process; so most of these run with the system tests.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.promotion.delivery.conftest import MODEL, Scene

from promotion.delivery.canary.records import AnalysisPlan
from promotion.delivery.deployments import Deployments
from promotion.delivery.errors import CanaryHeld, DeploymentFailed
from promotion.delivery.records import DeploymentState, DeploymentTarget, Environment, RolloutVerdict, Track
from promotion.errors import GateRefused, NothingToDo, ProductionMoved, UsageError
from promotion.registry.stages import Stage

SHORT = 3.0
"""Seconds for a rollout that never ends; the others may take as long as a busy machine needs."""


@pytest.mark.system
def test_a_deployment_is_applied_watched_asked_and_recorded(first: Scene) -> None:
    """The image runs under the family's name, says what it is, and the chain holds beginning and end."""
    image = first.image(1)

    done = first.deploy(image)

    assert DeploymentState.DEPLOYED is done.state
    assert image.reference == first.cluster.runs("tiny")
    deployment = first.cluster.object("deployment/tiny")
    assert deployment is not None
    for place in (deployment, deployment["spec"]["template"]):
        assert {"promotion/digest": image.digest, "promotion/operation": done.operation}.items() <= place["metadata"][
            "annotations"
        ].items()
    assert ["deploy", "deployed"] == first.actions(2)
    assert "models-production/tiny: 2 rows answered as the registry's model does" in first.said


@pytest.mark.system
def test_the_same_again_is_nothing_to_do(second: Scene) -> None:
    """What runs as the manifests say is not rolled out anew."""
    image = second.image(2)
    second.deploy(image)

    with pytest.raises(NothingToDo, match="runs already"):
        second.deploy(image)

    assert 1 == second.cluster.verbs().count("apply")


@pytest.mark.system
@pytest.mark.parametrize(
    ("behaviour", "answers", "reason"),
    [
        ("crash", {}, "crashes: the server ended 3 times, last with exit code 3"),
        ("oom", {}, "needs more memory than its limit: OOMKilled 4 times"),
        ("never ready", {}, "started, but never became ready within 3 s"),
        ("well", {"classes": [1, 1]}, "row 1: expected class 0"),
        ("well", {"probabilities": [[0.25, 0.75], [0.8, 0.2]]}, "row 1: expected class 0"),
        ("well", {"says": "d" * 64}, "the image says"),
    ],
)
def test_a_version_that_fails_leaves_cluster_and_registry(
    second: Scene, behaviour: str, answers: dict[str, object], reason: str
) -> None:
    """What ran before runs again, its version is in Production again, and the one that failed is known bad."""
    before = second.cluster.runs("tiny")
    if behaviour == "never ready":
        second.seconds = SHORT

    with pytest.raises(DeploymentFailed, match="back in Production") as failed:
        second.deploy(second.image(2, behaviour, **answers))

    assert reason in str(failed.value)
    assert "version" == failed.value.details["verdict"]
    assert (before, 1) == (second.cluster.runs("tiny"), second.production())
    assert reason in (second.entry(2).known_bad or "")
    assert ["deploy", "deploy failed", "rollback", "rollback", "deploy undone"] == second.actions(5)
    assert Deployments(second.service.journal).unfinished("tiny", Environment.PRODUCTION) is None


@pytest.mark.system
@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("unpullable", "ImagePullBackOff: Back-off pulling image: not found"),
        ("bad name", "InvalidImageName"),
        ("quota", "pods cannot be made: .*exceeded quota"),
        ("unschedulable", "finds no node: 0/3 nodes are available"),
        ("settings", "refuses its settings: the server ended with exit code 2"),
    ],
)
def test_an_infrastructure_that_fails_takes_back_the_cluster_only(second: Scene, behaviour: str, reason: str) -> None:
    """The version stays in Production, unblemished, and may be deployed again."""
    before, enough = second.cluster.runs("tiny"), second.seconds
    if behaviour == "unschedulable":
        second.seconds = SHORT

    with pytest.raises(DeploymentFailed, match=reason) as failed:
        second.deploy(second.image(2, behaviour))

    second.seconds = enough
    assert "infrastructure" == failed.value.details["verdict"]
    assert (before, 2, None) == (second.cluster.runs("tiny"), second.production(), second.entry(2).known_bad)
    assert DeploymentState.DEPLOYED is second.deploy(second.image(2)).state


@pytest.mark.system
def test_a_failure_is_explained_by_warnings_and_the_last_lines_of_the_log(second: Scene) -> None:
    """A person reads what the cluster and the server said, without kubectl."""
    with pytest.raises(DeploymentFailed) as failed:
        second.deploy(second.image(2, "crash"))

    explanation = "\n".join(failed.value.details["explanation"])
    assert "BackOff: Back-off restarting failed container" in explanation
    assert "wrote: ValueError: weights are damaged" in explanation


@pytest.mark.system
def test_what_may_pass_is_given_time(second: Scene) -> None:
    """An image that becomes available within the patience is deployed after all."""
    second.patience = 30.0
    image = second.image(2, "unpullable")
    healed = iter(range(100))

    def heal(line: str) -> None:
        if "1 of 1 pods are new, 1 available, 1 old" in line and next(healed) == 0:
            with second.cluster.changed() as state:
                state["images"][image.reference]["behaviour"] = "well"

    second.service.report = heal

    assert DeploymentState.DEPLOYED is second.deploy(image).state


@pytest.mark.system
def test_without_a_predecessor_production_ends_empty_and_loud(first: Scene) -> None:
    """The first version ever fails: nothing runs, nothing is in Production, and both are said."""
    with pytest.raises(DeploymentFailed, match=r"NOTHING RUNS THERE.*NO VERSION IS IN PRODUCTION"):
        first.deploy(first.image(1, "crash"))

    assert (None, None) == (first.cluster.runs("tiny"), first.production())
    assert first.cluster.object("horizontalpodautoscaler/tiny") is None
    assert any("NO PRODUCTION" in line for line in first.said)
    assert Stage.ARCHIVED is first.entry(1).stage


@pytest.mark.system
def test_the_registry_goes_back_to_what_the_cluster_runs(second: Scene) -> None:
    """Version 2 was promoted but never deployed; when 3 fails, 1 comes back, for the cluster has proven it."""
    second.promote(3)

    with pytest.raises(DeploymentFailed, match=f"{MODEL} v1 is back in Production"):
        second.deploy(second.image(3, "crash"))

    assert 1 == second.production()


@pytest.mark.system
def test_a_revision_that_is_gone_is_applied_again_from_the_journal(second: Scene) -> None:
    """A history limit that swept the old ReplicaSet away does not stop the way back."""
    before = second.cluster.runs("tiny")
    image = second.image(2, "crash")
    report = second.service.report

    def sweep(line: str) -> None:
        report(line)
        if "old ones left" in line:
            with second.cluster.changed() as state:
                objects = state["objects"]["models-production"]
                keep = {
                    key: item
                    for key, item in objects.items()
                    if not key.startswith("replicaset/")
                    or item["spec"]["template"]["spec"]["containers"][0]["image"] == image.reference
                }
                objects.clear()
                objects.update(keep)

    second.service.report = sweep

    with pytest.raises(DeploymentFailed, match="runs again"):
        second.deploy(image)

    assert (before, 1) == (second.cluster.runs("tiny"), second.production())
    assert "rollout" not in second.cluster.verbs()


@pytest.mark.system
def test_a_version_that_ran_here_before_is_innocent(second: Scene) -> None:
    """A new image of a version that works is taken back without blaming the version."""
    good = second.image(2)
    second.deploy(good)

    with pytest.raises(DeploymentFailed, match="image or settings are at fault") as failed:
        second.deploy(second.image(2, "crash"))

    assert "infrastructure" == failed.value.details["verdict"]
    assert (good.reference, 2, None) == (second.cluster.runs("tiny"), second.production(), second.entry(2).known_bad)


@pytest.mark.system
def test_a_version_that_left_production_since_the_check_is_not_applied(first: Scene) -> None:
    """Production is compared again in the transaction that begins the deployment."""
    image = first.image(1)
    deployer = first.deployer()
    target = DeploymentTarget("tiny", Environment.PRODUCTION)
    plan = deployer.check(target, image, first.cluster.export(1))
    first.promote(2)

    with pytest.raises(ProductionMoved, match="is in archived now"):
        deployer.deployments.begin(target, image, plan.entry, None, cluster="c", actor="anna")

    assert "apply" not in first.cluster.verbs()


@pytest.mark.system
def test_somebody_elses_change_during_the_rollout_is_left_alone(second: Scene) -> None:
    """Who changes the Deployment meanwhile has the last word; the attempt ends as overtaken."""
    image = second.image(2, "never ready")
    second.seconds = SHORT
    report = second.service.report

    def interfere(line: str) -> None:
        report(line)
        if "old ones left" in line:
            with second.cluster.changed() as state:
                found = state["objects"]["models-production"]["deployment/tiny"]
                found["spec"]["template"]["metadata"]["annotations"]["promotion/operation"] = "by hand"

    second.service.report = interfere

    with pytest.raises(ProductionMoved, match="changed by somebody else"):
        second.deploy(image)

    assert (image.reference, 2, None) == (second.cluster.runs("tiny"), second.production(), second.entry(2).known_bad)


@pytest.mark.system
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": 3}, "carries tiny-linear v3, which is unknown to the journal"),
        ({"version": 1}, "v1, which is in Archived; production takes the version in Production"),
        ({"digest": "f" * 64}, "carries digest f+, the journal recorded"),
        ({"family": "other"}, "carries a version of 'other'"),
        ({"manifest": "f" * 64}, "is not the export"),
    ],
)
def test_an_image_that_is_not_the_production_versions_is_refused(
    second: Scene, change: dict[str, object], reason: str
) -> None:
    """Labels that differ stop everything before the cluster is changed."""
    image = replace(second.image(2), **change)  # type: ignore[arg-type]

    with pytest.raises(GateRefused, match=reason):
        second.deployer().deploy(DeploymentTarget("tiny", Environment.PRODUCTION), image, second.cluster.export(2))

    assert "apply" not in second.cluster.verbs()


def test_an_export_that_was_changed_is_refused(first: Scene) -> None:
    """Expected answers that somebody edited prove nothing."""
    image = first.image(1)
    (first.cluster.export(1) / "expected.json").write_text('{"rows": [], "labels": [], "probabilities": []}')

    with pytest.raises(GateRefused, match="was changed since the export"):
        first.deploy(image)


@pytest.mark.system
def test_a_canary_runs_beside_the_stable_pods_until_the_version_is_deployed_fully(second: Scene) -> None:
    """The stable Deployment is not touched; the full deployment of the same image removes the canary."""
    before, image = second.cluster.runs("tiny"), second.image(2)

    second.deploy(image, Track.CANARY)

    assert (before, image.reference) == (second.cluster.runs("tiny"), second.cluster.runs("tiny-canary"))
    with pytest.raises(NothingToDo):
        second.deploy(image, Track.CANARY)

    second.deploy(image)

    assert (image.reference, None) == (second.cluster.runs("tiny"), second.cluster.runs("tiny-canary"))
    with pytest.raises(NothingToDo, match="a canary beside it shows nothing"):
        second.deploy(image, Track.CANARY)


@pytest.mark.system
def test_a_canary_that_fails_is_removed_and_its_version_taken_back(second: Scene) -> None:
    """Only the canary goes; the registry returns to what the stable pods run."""
    before = second.cluster.runs("tiny")

    with pytest.raises(DeploymentFailed, match="the canary is removed, the stable pods were not touched"):
        second.deploy(second.image(2, "crash"), Track.CANARY)

    assert (before, None, 1) == (
        second.cluster.runs("tiny"),
        second.cluster.runs("tiny-canary"),
        second.production(),
    )
    assert second.entry(2).known_bad


@pytest.mark.system
def test_a_canary_needs_something_to_run_beside(first: Scene) -> None:
    """Without a stable Deployment there is no Service to share."""
    with pytest.raises(UsageError, match="deploy without --canary first"):
        first.deploy(first.image(1), Track.CANARY)


@pytest.mark.system
def test_staging_takes_the_version_in_staging_and_archives_it_when_it_fails(second: Scene) -> None:
    """A crash is a fact about the version wherever it happens; Production is not concerned."""
    second.promote(3, Stage.STAGING)

    with pytest.raises(DeploymentFailed, match=f"{MODEL} v3 is known bad"):
        second.deploy(second.image(3, "crash"), environment=Environment.STAGING)

    assert (Stage.ARCHIVED, 2) == (second.entry(3).stage, second.production())
    assert second.entry(3).known_bad
    assert second.cluster.runs("tiny", "models-staging") is None


@pytest.mark.system
def test_a_production_version_that_fails_in_staging_keeps_its_place(second: Scene) -> None:
    """An incident is opened, once, and a person decides."""
    for _ in range(2):
        with pytest.raises(DeploymentFailed, match="stays in Production, critical incident"):
            second.deploy(second.image(2, "crash"), environment=Environment.STAGING)

    assert (2, None) == (second.production(), second.entry(2).known_bad)


@pytest.mark.system
def test_what_was_interrupted_and_cannot_be_checked_any_more_goes_back(second: Scene) -> None:
    """The export was replaced meanwhile: --resume ends the attempt without blaming anybody."""
    before, image = second.cluster.runs("tiny"), second.image(2)
    deployer, target = second.deployer(), DeploymentTarget("tiny", Environment.PRODUCTION)
    plan = deployer.check(target, image, second.cluster.export(2))
    predecessor = deployer._predecessor(plan)
    deployer.deployments.begin(target, image, plan.entry, predecessor, cluster=deployer.cluster.server(), actor="anna")
    (second.cluster.export(2) / "manifest.json").write_text("{}")

    with pytest.raises(DeploymentFailed, match="cannot be checked any more"):
        deployer.resume("tiny", Environment.PRODUCTION, second.cluster.export(2))

    assert (before, 2) == (second.cluster.runs("tiny"), second.production())
    assert deployer.deployments.unfinished("tiny", Environment.PRODUCTION) is None


@pytest.mark.system
def test_another_image_takes_the_place_of_an_interrupted_one(second: Scene) -> None:
    """The interrupted attempt is taken back as overtaken, then the new one begins from what is known to work."""
    good = second.image(2)
    deployer, target = second.deployer(), DeploymentTarget("tiny", Environment.PRODUCTION)
    plan = deployer.check(target, good, second.cluster.export(2))
    begun = deployer.deployments.begin(
        target, good, plan.entry, deployer._predecessor(plan), cluster=deployer.cluster.server(), actor="anna"
    )
    deployer._apply(begun)
    other = second.image(2)

    done = second.deploy(other)

    assert (DeploymentState.DEPLOYED, other.reference) == (done.state, second.cluster.runs("tiny"))
    assert ["deploy", "deploy failed", "deploy undone", "deploy", "deployed"] == second.actions(5)
    assert ["apply", "rollout", "apply"] == [verb for verb in second.cluster.verbs() if verb in {"apply", "rollout"}]


@pytest.mark.system
def test_an_api_server_that_goes_away_leaves_a_journaled_way_back(second: Scene) -> None:
    """Gone from the middle of the rollout on: what is missing is recorded, said, and finished by --resume."""
    before, image = second.cluster.runs("tiny"), second.image(2)
    with second.cluster.changed() as state:
        state["looks"] = 3
        state["away"] = [9, 10**6]
    enough, second.seconds = second.seconds, SHORT

    with pytest.raises(DeploymentFailed, match=r"the cluster COULD NOT GO BACK YET.*--resume") as failed:
        second.deploy(image)

    assert "infrastructure" == failed.value.details["verdict"]
    with second.cluster.changed() as state:
        state["away"] = None
    second.seconds = enough
    with pytest.raises(DeploymentFailed, match="runs again"):
        second.deployer().resume("tiny", Environment.PRODUCTION, second.cluster.export(2))
    assert (before, 2) == (second.cluster.runs("tiny"), second.production())
    with pytest.raises(NothingToDo, match="was interrupted"):
        second.deployer().resume("tiny", Environment.PRODUCTION, second.cluster.export(2))
    assert RolloutVerdict.INFRASTRUCTURE.value == failed.value.details["verdict"]


@pytest.mark.system
def test_a_canary_is_scaled_and_each_pod_asked(second: Scene) -> None:
    """Two thirds are twice the stable pods; nobody asks them anything, so the canary is held, then removed."""
    canary = DeploymentTarget("tiny", Environment.PRODUCTION, Track.CANARY)
    stable = second.cluster.object("deployment/tiny")
    assert stable is not None
    beside = stable["spec"]["replicas"]

    with pytest.raises(CanaryHeld, match="inconclusive: 0 of 500 requests"):
        second.deployer().deploy(
            canary, second.image(2), second.cluster.export(2), AnalysisPlan((67, 100), seconds=0.001)
        )

    assert {"patch", "port-forward"} <= set(second.cluster.verbs())
    held = second.cluster.object(f"deployment/{canary.name}")
    assert held is not None
    assert 2 * beside == held["spec"]["replicas"]
    assert {"canary analysis"} == set(second.actions(1))

    second.deployer().abort("tiny", Environment.PRODUCTION)

    assert second.cluster.runs(canary.name) is None
