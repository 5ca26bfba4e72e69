"""A canary goes when its version is taken back or a person says so, and stands beside pods that serve; on the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
from tests.promotion.delivery.model_cluster import ModelCluster, Traffic
from tests.promotion.delivery.model_scene import CANARY, ModelScene

from promotion.delivery.canary.records import AnalysisPlan
from promotion.delivery.deployments import Deployments, is_behind
from promotion.delivery.errors import CanaryHeld, ClusterError, DeploymentFailed
from promotion.delivery.kubernetes.cluster import Cluster
from promotion.delivery.records import Environment, Track
from promotion.delivery.rollback import TakenBack, follow_registry, take_back
from promotion.delivery.status import status
from promotion.errors import NothingToDo
from promotion.rollbacks import roll_back
from promotion.service import Mover

pytestmark = [pytest.mark.needs("kubectl"), pytest.mark.system]

PLAN = AnalysisPlan((25, 50), seconds=60, requests=500)


@pytest.fixture
def tried(modelled: ModelScene) -> ModelScene:
    """Version 1 serves, a canary of version 2 stands beside it."""
    modelled.promote(2)
    modelled.deploy(modelled.image(2), Track.CANARY)
    return modelled


def back(scene: ModelScene) -> TakenBack:
    """A person takes Production back."""
    return take_back(scene.service, lambda _: scene.deployer(), "tiny", None, Mover("ben", "wrong answers"))


def drift(scene: ModelScene) -> tuple[str, ...]:
    """What differs in Production."""
    return status(scene.service, cast("Cluster", scene.cluster), "tiny", Environment.PRODUCTION).drift


def test_a_rollback_takes_the_canary_of_the_version_along(tried: ModelScene) -> None:
    """The stable pods run the version that came back, so nothing rolls; what was bad serves nobody."""
    revision = tried.cluster.held["deployment", "tiny"].revision

    done = back(tried)

    assert ("", 1, None, revision) == (
        done.problem,
        tried.production(),
        tried.cluster.image(CANARY),
        tried.cluster.held["deployment", "tiny"].revision,
    )
    assert (False, ()) == (is_behind(tried.service.journal, "tiny"), drift(tried))
    assert "canary removed" == tried.actions(1)[0]


def test_a_rollback_takes_a_canary_that_is_held_along(modelled: ModelScene) -> None:
    """Nobody waits for its evidence any more."""
    modelled.promote(2)
    with pytest.raises(CanaryHeld):
        modelled.deploy(modelled.image(2), Track.CANARY, PLAN)

    done = back(modelled)

    assert ("", None, ()) == (done.problem, modelled.cluster.image(CANARY), drift(modelled))


def test_a_canary_of_another_version_goes_before_the_stable_pods_roll(tried: ModelScene) -> None:
    """Whoever asks through the Service whether the new one answers would ask the canary, which is ready for longest."""
    tried.promote(3)
    image = tried.image(3)
    tried.cluster.calls.clear()

    tried.deploy(image)

    assert tried.cluster.calls.index("delete") < tried.cluster.calls.index("apply")
    assert (image.reference, None, ()) == (tried.cluster.image("tiny"), tried.cluster.image(CANARY), drift(tried))


def test_a_canary_does_not_answer_for_another_image_of_its_version(tried: ModelScene) -> None:
    """That image answers wrongly, and is found out as if there had been no canary."""
    with pytest.raises(DeploymentFailed, match="smoke test: row 0"):
        tried.deploy(tried.image(2, "wrong"))

    assert ":1-" in (tried.cluster.image("tiny") or "")


def test_a_canary_of_the_same_image_serves_until_the_stable_pods_do(tried: ModelScene) -> None:
    """What answers rightly already is not missed meanwhile."""
    image = Deployments(tried.service.journal).canary("tiny", Environment.PRODUCTION).image  # type: ignore[union-attr]
    tried.cluster.calls.clear()

    tried.deploy(image)

    assert tried.cluster.calls.index("apply") < tried.cluster.calls.index("delete")
    assert (None, ()) == (tried.cluster.image(CANARY), drift(tried))


def test_a_cluster_that_was_away_is_rid_of_the_canary_later(tried: ModelScene) -> None:
    """The rollback says that it could not follow; the monitor's next run finishes it, once."""
    tried.cluster.away = range(len(tried.cluster.calls) + 1, len(tried.cluster.calls) + 500)
    assert back(tried).problem
    tried.cluster.away = range(0)
    assert is_behind(tried.service.journal, "tiny")

    follow_registry(tried.service, lambda _: tried.deployer(), "tiny")

    assert (None, False) == (tried.cluster.image(CANARY), is_behind(tried.service.journal, "tiny"))


def test_what_runs_on_every_pod_is_deployed_again_to_be_without_its_canary(tried: ModelScene) -> None:
    """It is all that there is to do, once."""
    image = tried.image(2)
    tried.deploy(image)
    tried.promote(3)
    tried.deploy(tried.image(3), Track.CANARY)
    roll_back(tried.service, "tiny", None, Mover("ben", "the registry alone"))
    revision = tried.cluster.held["deployment", "tiny"].revision

    assert image == tried.deploy(image).image

    assert (revision, None) == (tried.cluster.held["deployment", "tiny"].revision, tried.cluster.image(CANARY))
    with pytest.raises(NothingToDo):
        tried.deploy(image)


def test_a_person_gives_a_canary_up(tried: ModelScene) -> None:
    """Also one that answered rightly; its version stays unblemished, and its stable pods serve on."""
    serving = tried.cluster.image("tiny")

    ended = tried.deployer().abort("tiny", Environment.PRODUCTION)

    assert (Track.CANARY, None, serving) == (
        ended.target.track,
        tried.cluster.image(CANARY),
        tried.cluster.image("tiny"),
    )
    assert (None, 2) == (tried.entry(2).known_bad, tried.production())
    with pytest.raises(NothingToDo, match="and no canary"):
        tried.deployer().abort("tiny", Environment.PRODUCTION)


def test_a_canary_that_stands_is_led_through_steps_when_that_is_asked_for(tried: ModelScene) -> None:
    """That it runs is not what was asked; once it was analysed so, there is nothing to do."""
    image = Deployments(tried.service.journal).canary("tiny", Environment.PRODUCTION).image  # type: ignore[union-attr]
    tried.cluster.traffic = {each: Traffic() for each in tried.cluster.images}

    done = tried.deploy(image, Track.CANARY, PLAN)

    assert done.analysis is not None
    assert (None, 3) == (done.analysis.percent, tried.cluster.serving(CANARY, {image.reference}))
    with pytest.raises(NothingToDo):
        tried.deploy(image, Track.CANARY, PLAN)
    assert () == drift(tried)


def scaled_to_nothing(cluster: ModelCluster) -> None:
    """By hand."""
    cluster.held["deployment", "tiny"].replicas = 0


def paused(cluster: ModelCluster) -> None:
    """By hand."""
    cluster.patch("deployment", "tiny", {("f:spec", "f:paused"): True})


def crashing(cluster: ModelCluster) -> None:
    """Whatever their image had before."""
    cluster.images[cluster.image("tiny") or ""].behaviour = "crash"


@pytest.mark.parametrize(
    ("happened", "said"),
    [
        (scaled_to_nothing, "tiny is scaled to 0 pods"),
        (paused, "tiny is paused"),
        (crashing, "no pod of models-production/tiny is ready, so a canary would get every request"),
    ],
)
def test_a_canary_beside_pods_that_do_not_serve_is_refused(
    modelled: ModelScene, happened: Callable[[ModelCluster], None], said: str
) -> None:
    """A share of the requests is what was asked for, not all of them; and its last step would never end."""
    modelled.promote(2)
    happened(modelled.cluster)
    modelled.cluster.settle()

    with pytest.raises(ClusterError, match=rf"{said}.*nothing was applied"):
        modelled.deploy(modelled.image(2), Track.CANARY)

    assert (None, False) == (modelled.cluster.image(CANARY), "apply" in modelled.cluster.calls)
