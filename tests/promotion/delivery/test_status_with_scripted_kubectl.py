"""Cluster against registry, seen through a scripted kubectl; nothing is changed by looking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.promotion.delivery.conftest import Scene

from promotion.delivery.errors import ClusterUnreachable, DeploymentFailed
from promotion.delivery.records import Environment
from promotion.delivery.status import Status, status

Change = Callable[[dict[str, Any]], None]


def look(scene: Scene) -> Status:
    """The status of Production."""
    return status(scene.service, scene.deployer().cluster, "tiny", Environment.PRODUCTION)


@pytest.mark.system
def test_a_deployed_production_is_no_drift(first: Scene) -> None:
    """Version, digest and gate report are the same on both sides."""
    first.deploy(first.image(1))

    found = look(first)

    assert () == found.drift
    assert found.registry is not None
    assert found.registry == replace(found.cluster or found.registry, image="")


@pytest.mark.system
def test_after_cluster_and_registry_went_back_they_agree(second: Scene) -> None:
    """The version that came back stands on a newer report than its image; that is no drift."""
    with pytest.raises(DeploymentFailed):
        second.deploy(second.image(2, "crash"))

    found = look(second)

    assert ((), "tiny-linear v1") == (found.drift, found.cluster and found.cluster.version)


@pytest.mark.system
def test_a_gate_report_nobody_knows_is_drift(first: Scene) -> None:
    """What was exported with a report that is not the version's was not exported from this journal."""
    image = first.cluster.image("tiny-linear", 1, first.entry(1).digest or "", family="tiny")
    first.deploy(image)

    (drift,) = look(first).drift

    assert drift.startswith("gate report: the registry says ")
    assert drift.endswith(f"the cluster runs {'e' * 64}")


def test_nothing_deployed_is_drift(first: Scene) -> None:
    """Production has a version, the cluster runs none."""
    assert ("the registry says tiny-linear v1, the cluster runs nothing",) == look(first).drift


def _other_image(deployment: dict[str, Any]) -> None:
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "by/hand:1"


def _scaled_to_nothing(deployment: dict[str, Any]) -> None:
    deployment["spec"]["replicas"] = 0


@pytest.mark.system
@pytest.mark.parametrize(
    ("change", "said"),
    [(_other_image, "the cluster runs by/hand:1"), (_scaled_to_nothing, "the rollout is not complete: 0 of 0 pods")],
)
def test_what_somebody_changed_by_hand_is_drift(first: Scene, change: Change, said: str) -> None:
    """The annotations still say what was deployed, the pods are something else."""
    first.deploy(first.image(1))
    with first.cluster.changed() as state:
        state["images"]["by/hand:1"] = {"behaviour": "well"}
        change(state["objects"]["models-production"]["deployment/tiny"])

    assert said in "; ".join(look(first).drift)


@pytest.mark.system
def test_a_promotion_that_was_not_deployed_is_drift(second: Scene) -> None:
    """Version 2 is in Production, the cluster still runs 1."""
    assert look(second).drift[0] == "version: the registry says tiny-linear v2, the cluster runs tiny-linear v1"


def test_a_cluster_out_of_reach_is_no_drift(first: Scene) -> None:
    """Nobody knows what runs there, so nothing is said about it."""
    with first.cluster.changed() as state:
        state["away"] = [0, 10**6]

    with pytest.raises(ClusterUnreachable, match="was refused"):
        look(first)
