"""What somebody changed by hand is seen, said, and taken back by the next deployment; on a model of the cluster."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

import pytest
from tests.promotion.delivery.model_cluster import ModelCluster, Path
from tests.promotion.delivery.model_scene import CANARY, MODEL, ModelScene

from promotion.delivery.deployments import Deployments
from promotion.delivery.errors import DeploymentFailed
from promotion.delivery.kubernetes.cluster import Cluster
from promotion.delivery.records import DeploymentTarget, Environment, Track
from promotion.delivery.rollback import take_back
from promotion.delivery.status import Status, status
from promotion.errors import GateRefused, NothingToDo, UsageError
from promotion.service import Mover

pytestmark = pytest.mark.needs("kubectl")

TEMPLATE: Path = ("f:spec", "f:template", "f:spec")
SERVER: Path = (*TEMPLATE, "f:containers", 'k:{"name": "server"}')
COMMAND: dict[Path, Any] = {(*SERVER, "f:command"): ["sh", "-c", "serve-something-else"]}
VARIABLE: dict[Path, Any] = {(*SERVER, "f:env", 'k:{"name": "MODEL_DIR"}', "f:value"): "/other"}
SELECTOR: dict[Path, Any] = {("f:spec", "f:selector", "f:app.kubernetes.io/name"): "somebody-else"}


def look(scene: ModelScene) -> Status:
    """The status of Production."""
    return status(scene.service, cast("Cluster", scene.cluster), "tiny", Environment.PRODUCTION)


def test_what_was_deployed_is_no_drift(modelled: ModelScene) -> None:
    """Every object is as it was applied, and the Service leads to the version."""
    assert () == look(modelled).drift


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda cluster: cluster.patch("deployment", "tiny", COMMAND), "spec.template.spec.containers[server].command"),
        (lambda cluster: cluster.patch("deployment", "tiny", VARIABLE), "containers[server].env[MODEL_DIR].value"),
        (lambda cluster: cluster.patch("service", "tiny", SELECTOR), "Service tiny: app.kubernetes.io/name"),
        (lambda cluster: cluster.remove("service", "tiny"), "Service tiny is missing"),
        (lambda cluster: cluster.remove("networkpolicy", "tiny"), "NetworkPolicy tiny is missing"),
        (lambda cluster: cluster.remove("horizontalpodautoscaler", "tiny"), "HorizontalPodAutoscaler tiny is missing"),
        (lambda cluster: cluster.remove("poddisruptionbudget", "tiny"), "PodDisruptionBudget tiny is missing"),
        (lambda cluster: cluster.patch("deployment", "tiny", {("f:spec", "f:paused"): True}), "the rollout is paused"),
    ],
)
def test_each_change_by_hand_is_named(modelled: ModelScene, change: Callable[[ModelCluster], None], said: str) -> None:
    """Whichever object it is about."""
    change(modelled.cluster)
    modelled.cluster.settle()

    assert said in "; ".join(look(modelled).drift)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda cluster: cluster.patch("deployment", "tiny", COMMAND),
            "leads to foreign v0 with digest f+, expected",
        ),
        (
            lambda cluster: cluster.patch("service", "tiny", SELECTOR),
            "nobody who answers: error: no pod behind",
        ),
        (lambda cluster: cluster.remove("service", "tiny"), "the Service leads to nobody who answers"),
    ],
)
def test_the_service_is_asked_who_answers(
    modelled: ModelScene, change: Callable[[ModelCluster], None], said: str
) -> None:
    """Whatever the objects say, what a client gets is looked at."""
    change(modelled.cluster)
    modelled.cluster.settle()

    (line,) = [line for line in look(modelled).drift if line.startswith("the Service leads")]
    assert re.search(said, line)


@pytest.mark.parametrize("edit", [COMMAND, VARIABLE])
def test_a_deployment_takes_away_what_somebody_set_and_says_so(modelled: ModelScene, edit: dict[Path, Any]) -> None:
    """The whole pod template is ours afterwards, in one rollout."""
    modelled.promote(2)
    modelled.cluster.patch("deployment", "tiny", edit)
    modelled.cluster.settle()
    before = modelled.cluster.held["deployment", "tiny"].revision

    modelled.deploy(modelled.image(2))

    held = modelled.cluster.held["deployment", "tiny"]
    assert (before + 1, ()) == (held.revision, look(modelled).drift)
    assert not edit.keys() & held.fields.keys()
    assert any("taking away what is not of the manifests: spec.template" in line for line in modelled.said)


@pytest.mark.system
def test_a_controller_that_writes_meanwhile_is_no_reason_to_fail(modelled: ModelScene) -> None:
    """Who owns what is read again then."""
    modelled.promote(2)
    modelled.cluster.patch("deployment", "tiny", COMMAND)
    hand_over = modelled.cluster.hand_over

    def late(deployment: str, managed_fields: list[dict[str, Any]], version: str) -> None:
        modelled.cluster.held["deployment", "tiny"].version = 8
        hand_over(deployment, managed_fields, version)

    modelled.cluster.hand_over = late  # type: ignore[method-assign]
    modelled.deploy(modelled.image(2))

    assert () == look(modelled).drift


@pytest.mark.system
def test_after_a_failed_deployment_was_taken_back_nothing_differs(modelled: ModelScene) -> None:
    """Going back to a revision leaves no trace that would look like somebody's hand."""
    modelled.promote(2)

    with pytest.raises(DeploymentFailed):
        modelled.deploy(modelled.image(2, "crash"))

    assert (True, ()) == ("undo" in modelled.cluster.calls, look(modelled).drift)


@pytest.mark.system
def test_a_deployment_again_takes_away_what_somebody_set(modelled: ModelScene) -> None:
    """The image runs already, but not as it was deployed: that is something to do, once."""
    record = Deployments(modelled.service.journal).newest("tiny", Environment.PRODUCTION)
    assert record is not None
    modelled.cluster.patch("deployment", "tiny", COMMAND)
    modelled.cluster.settle()

    modelled.deploy(record.image)

    assert () == look(modelled).drift
    with pytest.raises(NothingToDo):
        modelled.deploy(record.image)


@pytest.mark.system
def test_going_back_does_not_bring_back_what_somebody_had_set(modelled: ModelScene) -> None:
    """What we deployed returns, without the foreign command."""
    modelled.promote(2)
    modelled.cluster.patch("deployment", "tiny", COMMAND)
    modelled.cluster.settle()

    with pytest.raises(DeploymentFailed, match="runs again"):
        modelled.deploy(modelled.image(2, "crash"))

    assert ((), 1) == (look(modelled).drift, modelled.production())


@pytest.mark.system
def test_a_canary_of_the_version_in_production_is_no_drift(modelled: ModelScene) -> None:
    """It is what was asked for, with its share of the pods; one that is not in Production any more is not."""
    modelled.promote(2)
    assert look(modelled).drift
    modelled.deploy(modelled.image(2), Track.CANARY)

    found = look(modelled)

    assert ((), 0.25, f"{MODEL} v2", f"{MODEL} v1") == (
        found.drift,
        found.share,
        found.registry and found.registry.version,
        found.cluster and found.cluster.version,
    )
    modelled.promote(3)
    assert f"the canary runs {MODEL} v2, which is not to be tried" in look(modelled).drift


def test_a_canary_that_was_changed_is_named(modelled: ModelScene) -> None:
    """Its Deployment is compared as the stable one's is."""
    modelled.promote(2)
    modelled.deploy(modelled.image(2), Track.CANARY)
    modelled.cluster.patch("deployment", CANARY, COMMAND)
    modelled.cluster.settle()

    assert any(line.startswith("canary: spec.template.spec.containers") for line in look(modelled).drift)


@pytest.mark.system
def test_an_image_that_ran_here_is_deployable_again_whatever_became_of_its_export(modelled: ModelScene) -> None:
    """At night the export is another one, or gone: labels and reference prove the image, and it answered rightly."""
    first = Deployments(modelled.service.journal).newest("tiny", Environment.PRODUCTION)
    assert first is not None
    modelled.promote(2)
    modelled.deploy(modelled.image(2))
    (modelled.export(1) / "manifest.json").write_text("{}")
    away = modelled.deployer

    def nowhere(_service: object) -> Any:
        raise UsageError("no kubectl here")

    take_back(modelled.service, nowhere, "tiny", None, Mover("ben", "wrong answers"))
    modelled.deploy(first.image)

    assert (first.image.reference, 1, ()) == (
        modelled.cluster.image("tiny"),
        modelled.production(),
        look(modelled).drift,
    )
    assert any("answered rightly here before" in line for line in modelled.said)
    new = modelled.image(1)
    (modelled.export(1) / "manifest.json").write_text("{}")
    with pytest.raises(GateRefused, match="is not the export"):
        away().deploy(DeploymentTarget("tiny", Environment.PRODUCTION), new, modelled.export(1))


def test_an_image_by_its_digest_is_known_where_it_ran(modelled: ModelScene) -> None:
    """Its labels are in the journal: neither engine nor registry is asked."""
    target = DeploymentTarget("tiny", Environment.PRODUCTION)
    image = modelled.image(1)
    pinned = f"{image.reference}@sha256:{'a' * 64}"
    modelled.cluster.images[pinned] = modelled.cluster.images[image.reference]
    modelled.cluster.images[pinned].version = {**modelled.cluster.images[pinned].version, "image": pinned}
    ran = type(image)(**{**image.as_json(), "reference": pinned})
    assert modelled.deployer().known_image(target, pinned) is None

    modelled.deploy(ran)

    assert ran == modelled.deployer().known_image(target, pinned)
    assert modelled.deployer().known_image(target, image.reference) is None
