"""How a rollout is watched to its end, on a model of the cluster."""

from __future__ import annotations

import pytest
from tests.promotion.delivery.model_scene import ModelScene

from promotion.delivery.deploy import Deployer
from promotion.delivery.errors import DeploymentFailed
from promotion.delivery.records import DeploymentState, DeploymentTarget, Environment
from promotion.errors import UsageError

pytestmark = pytest.mark.needs("kubectl")


@pytest.mark.system
def test_the_first_deployment_waits_for_the_pods_the_autoscaler_wants(unserved: ModelScene) -> None:
    """A Deployment is born with one pod; it is done when the autoscaler's least are there."""
    unserved.deploy(unserved.image(1))

    assert "models-production/tiny: 3 of 3 pods are new, 3 available, 0 old ones left" in unserved.said


@pytest.mark.system
def test_an_autoscaler_that_asks_for_nothing_is_said(unserved: ModelScene) -> None:
    """It is given a while, then one pod serves and that is no secret."""
    unserved.cluster.is_scaled = False

    done = unserved.deploy(unserved.image(1))

    assert DeploymentState.DEPLOYED is done.state
    assert "⚠️ models-production/tiny: 1 of 3 pods: the autoscaler asked for no more yet" in unserved.said


@pytest.mark.system
def test_a_hung_node_marks_no_version(modelled: ModelScene) -> None:
    """All that is new waits on one node, where nothing else is ready: the version may be deployed again."""
    modelled.promote(2)
    modelled.cluster.nodes = ("frozen",)

    with pytest.raises(DeploymentFailed, match=r"failed \(infrastructure\).* on frozen alone"):
        modelled.deploy(modelled.image(2, "hung"))

    assert (None, 2) == (modelled.entry(2).known_bad, modelled.production())


@pytest.mark.system
def test_a_sandbox_that_cannot_be_made_is_known_early(modelled: ModelScene) -> None:
    """The pod's status names no reason, only an event does; the version is not to blame."""
    modelled.promote(2)
    began = modelled.cluster.now

    with pytest.raises(
        DeploymentFailed, match=r"\(infrastructure\).* cannot make .*FailedCreatePodSandBox: network plugin is"
    ):
        modelled.deploy(modelled.image(2, "sandbox"))

    assert modelled.cluster.now - began < 60
    assert modelled.entry(2).known_bad is None


@pytest.mark.system
def test_a_sandbox_that_came_late_is_waited_for(modelled: ModelScene) -> None:
    """An event of the past ends nothing while the image is being pulled."""
    modelled.promote(2)
    deployer = modelled.deployer()
    deployer.seconds = 600.0
    image = modelled.image(2, "late sandbox")

    done = deployer.deploy(DeploymentTarget("tiny", Environment.PRODUCTION), image, modelled.export(2))

    assert DeploymentState.DEPLOYED is done.state


@pytest.mark.system
def test_a_version_that_hangs_beside_pods_that_are_ready_is_at_fault(modelled: ModelScene) -> None:
    """The node of its pod serves the version before."""
    modelled.promote(2)
    modelled.cluster.nodes = ("one",)

    with pytest.raises(DeploymentFailed, match=r"failed \(version\).* ready on the same node"):
        modelled.deploy(modelled.image(2, "hung"))

    assert (True, 1) == (bool(modelled.entry(2).known_bad), modelled.production())


@pytest.mark.parametrize("environment", Environment)
@pytest.mark.system
def test_a_time_shorter_than_the_startup_probe_is_refused(modelled: ModelScene, environment: Environment) -> None:
    """While it lasts a healthy pod may still be starting."""
    deployer: Deployer = modelled.deployer()
    deployer.require_time(environment)
    deployer.seconds = 59.0

    with pytest.raises(UsageError, match=r"--timeout 59 is less than the 60 s that the startup probe gives"):
        deployer.require_time(environment)
