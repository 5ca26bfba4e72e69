"""A second version in the pods of the one that answers: which may, how it gets there, and whose fault a crash is."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from tests.promotion.delivery.conftest import MODEL, Scene

from promotion.delivery.challengers import with_challenger
from promotion.delivery.errors import DeploymentFailed
from promotion.delivery.export import ExpectedAnswers
from promotion.delivery.kubernetes import smoke
from promotion.delivery.kubernetes.cluster import Cluster
from promotion.delivery.kubernetes.smoke import _compare
from promotion.delivery.records import Environment, Image
from promotion.delivery.status import status
from promotion.errors import GateRefused, UsageError
from promotion.registry.stages import Stage


def challenged(scene: Scene, percent: float | None, behaviour: str = "well", found: str | None = None) -> Image:
    """Version 1's image with version 2 beside it, of which its server says this digest."""
    scene.promote(2, Stage.STAGING)
    champion, given = scene.image(1, behaviour), scene.image(2)
    with scene.cluster.changed() as state:
        said = state["images"][champion.reference]["answers"]["version"]
        said["challenger"] = {"artifact_digest": found or given.digest}
    return with_challenger(scene.service, champion, "2", percent, given)


@pytest.mark.system
@pytest.mark.parametrize(("percent", "part"), [(None, "shadow"), (10, "10 % of the keys")])
def test_a_challenger_comes_with_a_deployment_and_goes_with_the_next(
    first: Scene, percent: float | None, part: str
) -> None:
    """The status names it; the journal keeps it, so that what was applied can be compared; without it, it is gone."""
    image = challenged(first, percent)
    done = first.deploy(image)
    deployment = first.cluster.object("deployment/tiny")
    found = status(first.service, Cluster("models-production"), "tiny", Environment.PRODUCTION)

    assert done.image == image
    assert deployment is not None
    assert image.challenger is not None
    (copied,) = deployment["spec"]["template"]["spec"]["initContainers"]
    assert image.challenger.reference == copied["image"]
    assert found.cluster is not None
    assert (f"{MODEL} v2, {part}", ()) == (found.cluster.challenger, found.drift)

    first.deploy(replace(image, challenger=None))
    deployment = first.cluster.object("deployment/tiny")

    assert deployment is not None
    assert "initContainers" not in deployment["spec"]["template"]["spec"]


@pytest.mark.system
@pytest.mark.parametrize(
    ("behaviour", "found", "reason"),
    [("crash", None, "runs in the same pods, and may be at fault"), ("well", "f" * 64, "challenger has digest ffff")],
)
def test_a_version_is_not_blamed_for_its_challenger(
    first: Scene, behaviour: str, found: str | None, reason: str
) -> None:
    """The cluster goes back, the registry stays."""
    with pytest.raises(DeploymentFailed) as failed:
        first.deploy(challenged(first, None, behaviour, found))

    assert reason in str(failed.value)
    assert ("infrastructure", 1) == (failed.value.details["verdict"], first.production())


@pytest.mark.parametrize(
    ("version", "with_image", "message"),
    [
        ("9", True, "has no version 9"),
        ("1", False, "is the version that answers"),
        ("2", False, "was never deployed, so no image of it is known: name one with --challenger-image"),
    ],
)
def test_not_every_version_may_challenge(first: Scene, version: str, with_image: bool, message: str) -> None:
    """It exists, is another one, has passed Staging's gates, and has an image."""
    first.promote(2, Stage.STAGING)

    with pytest.raises(UsageError, match=message):
        with_challenger(first.service, first.image(1), version, None, first.image(2) if with_image else None)


@pytest.mark.system
def test_a_version_that_was_archived_challenges_nobody(second: Scene) -> None:
    """What passed Staging's gates once may have been taken back since."""
    with pytest.raises(GateRefused, match=r"v1 is in Archived: a challenger is a version in Staging"):
        with_challenger(second.service, second.image(2), "1", None, second.image(1))


def test_an_image_that_is_not_the_challengers_is_refused(first: Scene) -> None:
    """Another version's, or one with other files than were registered."""
    first.promote(2, Stage.STAGING)
    other = replace(first.image(2), version=3)
    changed = replace(first.image(2), digest="f" * 64)

    for given in (other, changed):
        with pytest.raises(GateRefused, match=r"carries"):
            with_challenger(first.service, first.image(1), "2", 10, given)


def test_the_answers_of_a_challenger_are_not_held_against_the_champion(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that the challenger answered is asked again, under a key of its own."""
    right = [{"class": 1, "probabilities": {"a": 0.25, "b": 0.75}}]
    wrong = [{"class": 0, "probabilities": {"a": 0.9, "b": 0.1}}]
    told = iter([("challenger", wrong), ("challenger", wrong), ("champion", right)])

    def post(*_: object, **__: object) -> SimpleNamespace:
        role, predictions = next(told)
        return SimpleNamespace(status_code=200, json=lambda: {"role": role, "predictions": predictions})

    monkeypatch.setattr(smoke, "requests", SimpleNamespace(post=post))
    _compare("http://server", ExpectedAnswers([{"x": 1}], [1], [[0.25, 0.75]], ["a", "b"]))

    assert [] == list(told)
