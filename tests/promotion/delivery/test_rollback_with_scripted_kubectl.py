"""Taking Production back takes the cluster along; the cluster is a scripted stand-in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.promotion.delivery.conftest import MODEL, Scene
from tests.promotion.delivery.scripted_cluster import ScriptedCluster
from tests.promotion.factories import a_family
from tests.promotion.monitoring.test_rollback_trigger import seen

from promotion.delivery.deploy import Deployer
from promotion.delivery.deployments import is_behind
from promotion.delivery.errors import ClusterBehind
from promotion.delivery.records import Environment
from promotion.delivery.rollback import TakenBack, follow_registry, take_back
from promotion.delivery.status import status
from promotion.errors import GateRefused, UsageError
from promotion.monitoring.alerts.announcements import announcer
from promotion.monitoring.automatic_rollback import WayBack
from promotion.rollbacks import roll_back
from promotion.service import Mover, PromotionService

pytestmark = pytest.mark.system

MOVER = Mover("monitor", "error rate 7 %")


@pytest.fixture
def deployed(second: Scene) -> Scene:
    """Version 1 served and ran in the cluster; version 2 does now."""
    second.deploy(second.image(2))
    return second


def back(scene: Scene, **options: Any) -> TakenBack:
    return take_back(scene.service, lambda _service: scene.deployer(), "tiny", None, MOVER, **options)


def test_registry_and_cluster_go_back_together(deployed: Scene, cluster: ScriptedCluster) -> None:
    """Version 1 is in Production and runs from the image it ran from; recorded, and nothing differs."""
    done = back(deployed)

    assert (1, "") == (deployed.production(), done.problem)
    assert done.deployment is not None
    assert cluster.runs("tiny") == done.deployment.image.reference
    assert "tiny-linear:1-" in str(cluster.runs("tiny"))
    assert ["rollback", "rollback", "deploy", "deployed"] == deployed.actions(4)
    assert not is_behind(deployed.service.journal, "tiny")
    found = status(deployed.service, deployed.deployer().cluster, "tiny", Environment.PRODUCTION)
    assert () == found.drift


@pytest.mark.system
def test_a_cluster_that_was_away_follows_later(deployed: Scene, cluster: ScriptedCluster) -> None:
    """The registry is back at once, the command says what is missing; finishing twice does nothing the second time."""

    def away(_service: PromotionService) -> Deployer:
        raise UsageError("kubectl leads nowhere")

    done = take_back(deployed.service, away, "tiny", None, MOVER)

    assert (1, "kubectl leads nowhere") == (deployed.production(), done.problem)
    with pytest.raises(ClusterBehind, match="the cluster does NOT run it yet: kubectl leads nowhere; then: python"):
        done.require_followed()
    assert is_behind(deployed.service.journal, "tiny")
    finished = follow_registry(deployed.service, lambda _service: deployed.deployer(), "tiny")
    assert finished is not None
    assert "tiny-linear:1-" in str(cluster.runs("tiny"))
    assert not is_behind(deployed.service.journal, "tiny")
    assert follow_registry(deployed.service, lambda _service: deployed.deployer(), "tiny") is None


@pytest.mark.system
def test_an_old_image_that_does_not_come_up_is_not_the_versions_fault(
    deployed: Scene, cluster: ScriptedCluster
) -> None:
    """It ran before, so the registry keeps it; the cluster runs what it ran, and that is said."""
    runs = cluster.runs("tiny")
    with cluster.changed() as state:
        for reference, image in state["images"].items():
            if ":1-" in reference:
                image["behaviour"] = "crash"

    done = back(deployed)

    assert (1, runs) == (deployed.production(), cluster.runs("tiny"))
    assert "failed (infrastructure)" in done.problem
    entry = deployed.entry(1)
    assert (None, True) == (entry.known_bad, is_behind(deployed.service.journal, "tiny"))


@pytest.mark.system
def test_a_version_that_never_ran_there_has_no_image(first: Scene) -> None:
    """Version 1 served without ever being deployed."""
    first.promote(2)
    first.deploy(first.image(2))

    done = back(first)

    assert 1 == first.production()
    assert "was never deployed to models-production/tiny: export it, build its image" in done.problem


def test_without_deployments_the_cluster_is_not_asked(first: Scene, cluster: ScriptedCluster) -> None:
    """A family that runs elsewhere."""
    first.promote(2)

    assert (None, "", []) == ((done := back(first)).deployment, done.problem, cluster.verbs())


@pytest.mark.system
def test_another_cluster_is_not_touched(deployed: Scene, cluster: ScriptedCluster) -> None:
    """What runs there under the name was not put there by us."""
    with cluster.changed() as state:
        running = state["objects"]["models-production"]["deployment/tiny"]
        running["spec"]["template"]["metadata"]["annotations"]["promotion/operation"] = "somebody-else"

    done = back(deployed)

    assert "where models-production/tiny is nothing the journal knows of: change the context" in done.problem
    assert (1, True) == (deployed.production(), "tiny-linear:2-" in str(cluster.runs("tiny")))


def test_a_refused_rollback_touches_nothing(first: Scene, cluster: ScriptedCluster) -> None:
    """Nobody to go back to: registry and cluster stay."""
    first.deploy(first.image(1))
    runs = cluster.runs("tiny")

    with pytest.raises(GateRefused, match="there is nothing to go back to"):
        back(first)
    assert (1, runs, f"{MODEL} v1") == (first.production(), cluster.runs("tiny"), str(first.entry(1)))


def watching(scene: Scene) -> WayBack:
    journal = scene.service.journal
    config = a_family(monitoring={"action": "rollback", "rollback": {"error_rate": 0.05, "latency_ms": 500}})
    return WayBack(journal, config, lambda: scene.service, lambda _service: scene.deployer(), announcer(journal, {}))


@pytest.mark.system
def test_the_monitor_takes_registry_and_cluster_back(deployed: Scene, cluster: ScriptedCluster) -> None:
    """As a person would; where the cluster cannot follow, that is critical."""
    slow = replace(seen("latency", [600.0, 700.0, 800.0]), family="tiny", model=MODEL, version=2)
    with cluster.changed() as state:
        for reference, image in state["images"].items():
            if ":1-" in reference:
                image["behaviour"] = "crash"

    done = watching(deployed).consider([slow])

    assert ("tiny-linear v2", "tiny-linear v1", 1) == (done.taken_back, done.version, deployed.production())
    (finding,) = done.findings
    assert ("critical", "cluster") == (finding.level, finding.key)
    with cluster.changed() as state:
        for image in state["images"].values():
            image["behaviour"] = "well"
    assert "the cluster runs tiny-linear v1 (1.1.0) again" == watching(deployed).consider([]).outcome


@pytest.mark.system
def test_the_monitor_finishes_what_was_interrupted(deployed: Scene, cluster: ScriptedCluster) -> None:
    """A run that died between registry and cluster: the next one, finding nothing wrong, lets the cluster follow."""
    roll_back(deployed.service, "tiny", None, MOVER)
    assert "tiny-linear:2-" in str(cluster.runs("tiny"))
    way_back = watching(deployed)

    rehearsed = way_back.consider([], dry_run=True)
    assert "the cluster does not run tiny-linear v1 yet" in rehearsed.outcome
    done, again = way_back.consider([]), way_back.consider([])

    assert "the cluster runs tiny-linear v1 (1.1.0) again" == done.outcome
    assert ("", True) == (again.outcome, "tiny-linear:1-" in str(cluster.runs("tiny")))
