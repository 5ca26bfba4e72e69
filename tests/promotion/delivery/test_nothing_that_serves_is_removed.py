"""Whatever goes wrong with an attempt, what served before serves on; on a model of the cluster."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import update
from tests.promotion.delivery.model_cluster import Killed
from tests.promotion.delivery.model_scene import CANARY, MODEL, ModelScene

from promotion.delivery.deployments import Deployments
from promotion.delivery.errors import ClusterError, DeploymentFailed
from promotion.delivery.records import DeploymentState, DeploymentTarget, Environment, Track
from promotion.delivery.rollback import take_back
from promotion.errors import NothingToDo, ProductionMoved, UsageError
from promotion.journal.schema import deployment
from promotion.marking import mark_known_bad
from promotion.registry.stages import Stage
from promotion.rollbacks import roll_back
from promotion.service import Mover

pytestmark = pytest.mark.needs("kubectl")


def is_serving(scene: ModelScene, number: int) -> bool:
    """Whether three pods of a version serve, with autoscaler and Service."""
    image = scene.cluster.image("tiny") or ""
    kinds = {("horizontalpodautoscaler", "tiny"), ("service", "tiny")}
    return f":{number}-" in image and scene.cluster.serving("tiny", {image}) >= 3 and kinds <= scene.cluster.held.keys()


@pytest.mark.system
def test_a_canary_that_fails_leads_the_registry_back_to_what_the_cluster_runs(modelled: ModelScene) -> None:
    """Version 2 was promoted and never deployed; the canary of 3 answers wrongly: 1 serves, so 1 is in Production."""
    modelled.promote(2)
    modelled.promote(3)

    with pytest.raises(DeploymentFailed, match=f"stable pods were not touched; {MODEL} v1 is back in Production"):
        modelled.deploy(modelled.image(3, "wrong"), Track.CANARY)

    assert (True, 1, None) == (is_serving(modelled, 1), modelled.production(), modelled.cluster.image(CANARY))
    assert modelled.entry(3).known_bad
    assert "undo" not in modelled.cluster.calls


@pytest.mark.parametrize("track", Track)
@pytest.mark.system
def test_what_runs_and_may_not_come_back_serves_on_until_a_person_decides(modelled: ModelScene, track: Track) -> None:
    """Version 1 is known bad, 2 has no image: nothing is deleted for that; what there is to decide is said."""
    modelled.promote(2)
    modelled.promote(3)
    mark_known_bad(modelled.service, modelled.service.candidate(MODEL, 1), Mover("ben", "found out"))

    with pytest.raises(DeploymentFailed, match=rf"tiny goes on running {MODEL} v1, {MODEL} v2 is .* a person decides"):
        modelled.deploy(modelled.image(3, "wrong"), track)

    assert is_serving(modelled, 1)


@pytest.mark.system
def test_a_second_canary_image_of_a_version_that_ran_is_the_images_fault(modelled: ModelScene) -> None:
    """The version answered rightly as a canary: the registry stays, and the first canary's pods serve again."""
    modelled.promote(2)
    good = modelled.image(2)
    modelled.deploy(good, Track.CANARY)

    with pytest.raises(DeploymentFailed, match=r"failed \(infrastructure\).*image or settings are at fault"):
        modelled.deploy(modelled.image(2, "crash"), Track.CANARY)

    assert (2, None, good.reference) == (
        modelled.production(),
        modelled.entry(2).known_bad,
        modelled.cluster.image(CANARY),
    )
    modelled.deploy(good)
    assert is_serving(modelled, 2)


def interrupted_before_withdrawing(scene: ModelScene, track: Track = Track.STABLE) -> None:
    """Version 2 failed by its own fault and is off the cluster; the command died before the registry went back."""
    scene.promote(2)
    report = scene.service.report

    def die(line: str) -> None:
        if line.startswith("committing"):
            raise Killed

    scene.service.report = die
    with pytest.raises(Killed):
        scene.deploy(scene.image(2, "crash"), track)
    scene.service.report = report
    assert DeploymentState.WITHDRAWING is unfinished(scene)


def unfinished(scene: ModelScene) -> DeploymentState | None:
    """How far the attempt is that was interrupted."""
    attempt = Deployments(scene.service.journal).unfinished("tiny", Environment.PRODUCTION)
    return attempt.state if attempt else None


@pytest.mark.system
def test_finishing_an_old_attempt_does_not_undo_a_newer_promotion(modelled: ModelScene) -> None:
    """Somebody took 2 back himself, found it well and promoted it again: the attempt is closed, and recorded so."""
    interrupted_before_withdrawing(modelled)
    roll_back(modelled.service, "tiny", 1, Mover("ben", "by hand"), keep_version_good=True)
    modelled.promote(2)

    with pytest.raises(ProductionMoved, match=f"{MODEL} v2 went to Production since .promote by anna.: nothing newer"):
        modelled.resume(2)

    assert (2, None, None, True) == (
        modelled.production(),
        modelled.entry(2).known_bad,
        unfinished(modelled),
        is_serving(modelled, 1),
    )
    assert "deploy overtaken" == modelled.actions(1)[0]


@pytest.mark.system
def test_finishing_an_old_attempt_does_not_undo_what_was_put_on_the_cluster_since(modelled: ModelScene) -> None:
    """Somebody went forward to the revision again, by kubectl: the registry keeps the version, a person decides."""
    interrupted_before_withdrawing(modelled)
    for image in modelled.cluster.images.values():
        image.behaviour = "well"
    modelled.cluster.undo("tiny", 2)
    modelled.cluster.settle()

    with pytest.raises(ProductionMoved, match=f"tiny runs {MODEL} v2 .* again since"):
        modelled.resume(2)

    assert (2, True, None) == (modelled.production(), is_serving(modelled, 2), unfinished(modelled))


@pytest.mark.parametrize("field", ["image", "env"])
@pytest.mark.system
def test_a_hand_edit_of_a_failed_rollout_is_left_alone(modelled: ModelScene, field: str) -> None:
    """The annotation still names the attempt; the template is another one, which may be the repair."""
    modelled.promote(2)
    modelled.cluster.kill = (8, False)
    with pytest.raises(Killed):
        modelled.deploy(modelled.image(2, "crash"))
    container = ("f:spec", "f:template", "f:spec", "f:containers", 'k:{"name": "server"}')
    repair = {"image": ((*container, "f:image"), "by/hand:1"), "env": ((*container, "f:workingDir"), "/model")}[field]
    assert DeploymentState.CHECKING is unfinished(modelled)
    modelled.cluster.patch("deployment", "tiny", dict([repair]))
    runs = modelled.cluster.image("tiny")

    with pytest.raises(ProductionMoved, match="changed by somebody else"):
        modelled.resume(2)

    assert (runs, 2, None) == (modelled.cluster.image("tiny"), modelled.production(), unfinished(modelled))
    assert modelled.entry(2).known_bad is None


@pytest.mark.system
def test_a_paused_deployment_is_seen_before_anything_is_applied(modelled: ModelScene) -> None:
    """Nothing would roll: it is said at once."""
    modelled.promote(2)
    modelled.cluster.patch("deployment", "tiny", {("f:spec", "f:paused"): True})

    with pytest.raises(ClusterError, match=r"tiny is paused.* kubectl .* rollout resume.* nothing was applied"):
        modelled.deploy(modelled.image(2))

    assert (["get deployment"], None, 0.0 + modelled.cluster.now) == (
        modelled.cluster.calls,
        unfinished(modelled),
        modelled.cluster.now,
    )
    modelled.cluster.patch("deployment", "tiny", {("f:spec", "f:paused"): False})
    modelled.deploy(modelled.image(2))
    assert is_serving(modelled, 2)


def test_a_deployment_scaled_to_nothing_is_seen_before_anything_is_applied(modelled: ModelScene) -> None:
    """A rollout of no pods never ends."""
    modelled.promote(2)
    modelled.cluster.held["deployment", "tiny"].replicas = 0

    with pytest.raises(ClusterError, match="scaled to 0 pods"):
        modelled.deploy(modelled.image(2))

    assert "apply" not in modelled.cluster.calls


def test_a_deployment_paused_during_its_rollout_is_said_at_once(modelled: ModelScene) -> None:
    """It can neither go on nor back; --resume finishes when it is resumed."""
    modelled.promote(2)
    image = modelled.image(2, "hung")
    tick = modelled.cluster.tick

    def pause() -> None:
        tick()
        if modelled.cluster.image("tiny") == image.reference:
            modelled.cluster.held["deployment", "tiny"].fields["f:spec", "f:paused"] = True

    modelled.cluster.tick = pause  # type: ignore[method-assign]
    began = modelled.cluster.now

    with pytest.raises(DeploymentFailed, match=r"COULD NOT GO BACK YET: .*tiny is paused"):
        modelled.deploy(image)

    assert modelled.cluster.now - began < 60
    modelled.cluster.tick = tick  # type: ignore[method-assign]
    modelled.cluster.patch("deployment", "tiny", {("f:spec", "f:paused"): False})
    with pytest.raises(DeploymentFailed, match="runs again"):
        modelled.resume(2)
    assert is_serving(modelled, 1)
    assert Stage.PRODUCTION is modelled.entry(2).stage


@pytest.mark.system
@pytest.mark.parametrize("track", Track)
def test_a_failed_deployment_is_no_reason_to_refuse_a_person(modelled: ModelScene, track: Track) -> None:
    """What was withdrawn never served: the next rollback, asked for without force, goes back and forth over nothing."""
    modelled.promote(2)
    with pytest.raises(DeploymentFailed):
        modelled.deploy(modelled.image(2, "wrong"), track)
    modelled.promote(3)
    modelled.deploy(modelled.image(3))

    taken = take_back(modelled.service, lambda _: modelled.deployer(), "tiny", None, Mover("ben", "found out"))

    assert ("", 1) == (taken.problem, modelled.production())
    assert is_serving(modelled, 1)
    assert "previous" not in modelled.registry.aliases, "both others are known bad"


def test_two_families_whose_names_become_the_same_do_not_replace_each_other(modelled: ModelScene) -> None:
    """`tiny` and `Tiny` are one name on a cluster, and so is a family called as another one's canary."""
    image = replace(modelled.image(1), family="Tiny")

    with pytest.raises(UsageError, match=r"tiny runs .* of family 'tiny': .* 'Tiny' cannot be deployed there; nothing"):
        modelled.deployer().check(DeploymentTarget("Tiny", Environment.PRODUCTION), image, modelled.export(1))


@pytest.mark.system
def test_a_deployment_named_as_a_canary_is_left_alone(modelled: ModelScene) -> None:
    """Deploying fully removes the own canary only."""
    modelled.promote(2)
    image = modelled.image(2)
    modelled.deploy(image, Track.CANARY)
    theirs = update(deployment).where(deployment.c.track == Track.CANARY.value).values(family=CANARY)
    with modelled.service.journal.transaction(CANARY) as transaction:
        transaction.connection.execute(theirs)

    modelled.deploy(image)

    assert [image.reference] * 2 == [modelled.cluster.image(name) for name in ("tiny", CANARY)]


@pytest.mark.system
def test_what_ran_as_a_canary_is_at_home_on_every_pod(modelled: ModelScene) -> None:
    """The version before came back from the canary's image: it is compared, and taken back, as any other."""
    modelled.promote(2)
    image = modelled.image(2)
    modelled.deploy(image, Track.CANARY)
    modelled.promote(3)
    mark_known_bad(modelled.service, modelled.service.candidate(MODEL, 1), Mover("ben", "found out"))
    with pytest.raises(DeploymentFailed, match="2-well-1 runs again"):
        modelled.deploy(modelled.image(3, "wrong"))
    assert (2, True) == (modelled.production(), is_serving(modelled, 2))

    with pytest.raises(NothingToDo):
        modelled.deploy(image)

    with pytest.raises(DeploymentFailed, match="2-well-1 runs again"):
        modelled.deploy(modelled.image(2, "crash"))
    assert is_serving(modelled, 2)
