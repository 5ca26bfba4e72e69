"""A canary that is led through its steps by evidence, on a model of the cluster."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
from tests.promotion.delivery.model_cluster import Killed, Traffic
from tests.promotion.delivery.model_scene import CANARY, ModelScene, play

from promotion.delivery.canary.records import AnalysisPlan
from promotion.delivery.canary.steps import _share
from promotion.delivery.deployments import Deployments
from promotion.delivery.errors import CanaryHeld, DeploymentFailed
from promotion.delivery.kubernetes.cluster import Cluster
from promotion.delivery.kubernetes.objects import Pod
from promotion.delivery.records import Deployment, DeploymentState, Environment, Image, Track
from promotion.delivery.status import Status, status
from promotion.errors import DataError, NothingToDo, ProductionMoved

pytestmark = pytest.mark.needs("kubectl")

PLAN = AnalysisPlan((25, 50, 100), seconds=600, requests=500)


def canary(scene: ModelScene, image: Image, plan: AnalysisPlan = PLAN) -> Deployment:
    """Deploy it step by step."""
    return scene.deploy(image, Track.CANARY, plan)


def new_image(scene: ModelScene, traffic: Traffic) -> Image:
    """An image of version 2, which is promoted; what its pods and the stable ones answer."""
    (stable,) = scene.cluster.images
    scene.promote(2)
    image = scene.image(2)
    scene.cluster.traffic = {stable: Traffic(failures=1, slow=5), image.reference: traffic}
    return image


def look(scene: ModelScene) -> Status:
    """The status of Production."""
    return status(scene.service, cast("Cluster", scene.cluster), "tiny", Environment.PRODUCTION)


def analyses(scene: ModelScene) -> list[str]:
    """What every recorded analysis said, oldest first."""
    events = scene.service.journal.history("tiny")[::-1]
    return [event.reason for event in events if event.action == "canary analysis"]


def under_way(scene: ModelScene) -> Deployment | None:
    """The attempt that has no end yet."""
    return Deployments(scene.service.journal).unfinished("tiny", Environment.PRODUCTION)


@pytest.mark.system
def test_a_canary_that_does_as_well_goes_to_every_pod(modelled: ModelScene) -> None:
    """Each step has its share of the pods and its record; after the last one the canary is gone."""
    image = new_image(modelled, Traffic(failures=1, slow=5))

    done = canary(modelled, image)

    assert (Track.STABLE, DeploymentState.DEPLOYED, image) == (done.target.track, done.state, done.image)
    assert image.reference == modelled.cluster.image("tiny")
    assert modelled.cluster.image(CANARY) is None
    first, second = analyses(modelled)
    assert first.startswith("advance at 25 % (25% of the pods): ")
    assert second.startswith("advance at 50 % (50% of the pods): ")


@pytest.mark.system
def test_a_record_says_what_was_compared(modelled: ModelScene) -> None:
    """Counts of both tracks, each interval, and what was decided, in the hash chain."""
    canary(modelled, new_image(modelled, Traffic(failures=1, slow=5)))

    (event, *_) = [e for e in modelled.service.journal.history("tiny") if e.action == "canary analysis"]
    kept = event.details["analysis"]
    assert (50, "advance") == (kept["percent"], kept["decision"])
    assert kept["canary"]["requests"] >= 500
    measures = [each["measure"] for each in kept["comparisons"]]
    assert ["failed requests", "requests beyond 0.1 s", "predicted 1"] == measures


@pytest.mark.system
def test_a_canary_that_fails_more_is_taken_back_and_its_version_known_bad(modelled: ModelScene) -> None:
    """The registry goes back to what the stable pods run; these were not touched."""
    image = new_image(modelled, Traffic(failures=12, slow=5))

    with pytest.raises(DeploymentFailed, match=r"\(version\): analysis: abort at 25 %.*failed requests: 1\d\.\d+%"):
        canary(modelled, image)

    assert modelled.cluster.image(CANARY) is None
    assert modelled.entry(2).known_bad
    assert (1, 3) == (modelled.production(), len(modelled.cluster.pods["tiny"]))
    assert under_way(modelled) is None


def test_a_canary_that_is_more_often_wrong_is_taken_back(modelled: ModelScene) -> None:
    """By the labels that arrived since it began, its version against the one of the stable pods."""
    asked: list[tuple[object, ...]] = []

    def labels(*given: object) -> tuple[tuple[int, int], tuple[int, int]]:
        asked.append(given)
        return (400, 160), (1200, 120)

    image = new_image(modelled, Traffic(failures=1, slow=5))
    modelled.labels = labels

    with pytest.raises(DeploymentFailed, match=r"\(version\): analysis: abort at 25 %.*wrong answers: 40\.00%"):
        canary(modelled, image)

    assert (("tiny-linear", 2), ("tiny-linear", 1)) == asked[0][:2]
    assert modelled.entry(2).known_bad
    (event,) = [event for event in modelled.service.journal.history("tiny") if event.action == "canary analysis"]
    kept = event.details["analysis"]
    assert ((400, 160), (1200, 120)) == tuple(
        (kept[track]["labelled"], kept[track]["wrong"]) for track in ("canary", "stable")
    )


@pytest.mark.system
def test_labels_that_cannot_be_read_keep_nobody(modelled: ModelScene) -> None:
    """It is said once, and the pods' own counts decide."""

    def labels(*_: object) -> tuple[tuple[int, int], tuple[int, int]]:
        message = "labels.csv: column 'request_id' is missing"
        raise DataError(message)

    modelled.labels = labels
    canary(modelled, new_image(modelled, Traffic(failures=0, slow=5)))

    assert [1] == [line.count("going on without labels") for line in modelled.said if "without labels" in line]


@pytest.mark.parametrize(("nodes", "is_bad"), [(("one", "two", "three"), True), (("slow",), False)])
def test_a_slow_canary_is_blamed_unless_its_node_may_be(modelled: ModelScene, nodes: tuple[str], is_bad: bool) -> None:
    """A node of its own that is slow looks like a version that is slow."""
    image = new_image(modelled, Traffic(slow=60))
    modelled.cluster.nodes = nodes

    with pytest.raises(DeploymentFailed, match=r"requests beyond 0\.1 s"):
        canary(modelled, image)

    assert modelled.cluster.image(CANARY) is None
    assert is_bad is (modelled.entry(2).known_bad is not None)
    assert modelled.production() == (1 if is_bad else 2)


@pytest.mark.parametrize(
    ("traffic", "why"),
    [
        (Traffic(requests=1, positive=0), r"inconclusive: \d+ of 500 requests reached the canary"),
        (Traffic(requests=0, positive=0), r"inconclusive: 0 of 500 requests"),
        (Traffic(failures=3, slow=5), r"inconclusive after \d+ requests: failed requests"),
        (Traffic(positive=80), "other predictions, which a person judges: predicted 1"),
    ],
)
@pytest.mark.system
def test_what_is_not_known_holds(modelled: ModelScene, traffic: Traffic, why: str) -> None:
    """Too few requests, too small a difference, other predictions: nothing moves, nobody is blamed, people are told."""
    image = new_image(modelled, traffic)

    with pytest.raises(CanaryHeld, match=why) as held:
        canary(modelled, image)

    assert held.value.exit_code == 3
    assert "--resume" in str(held.value)
    assert (image.reference, None, 2) == (
        modelled.cluster.image(CANARY),
        modelled.entry(2).known_bad,
        modelled.production(),
    )


@pytest.mark.system
def test_a_held_canary_is_no_drift_and_its_step_is_shown(modelled: ModelScene) -> None:
    """It stands where it was asked to stand."""
    image = new_image(modelled, Traffic(requests=0, positive=0))
    with pytest.raises(CanaryHeld):
        canary(modelled, image)

    found = look(modelled)

    assert () == found.drift
    assert found.analysis.startswith("step 25 % (of 25, 50, 100); hold at 25 % (25% of the pods): inconclusive")


@pytest.mark.system
def test_a_held_canary_is_looked_at_again(modelled: ModelScene) -> None:
    """The same step, with evidence of its own and a smaller error; it is never stuck."""
    image = new_image(modelled, Traffic(requests=0, positive=0))
    with pytest.raises(CanaryHeld):
        canary(modelled, image)
    modelled.cluster.traffic[image.reference] = Traffic(failures=1, slow=5)

    done = modelled.resume(2)

    assert (Track.STABLE, image.reference) == (done.target.track, modelled.cluster.image("tiny"))
    assert ["hold", "advance", "advance"] == [said.split()[0] for said in analyses(modelled)]


@pytest.mark.system
def test_a_held_canary_is_given_up(modelled: ModelScene) -> None:
    """It is removed, the version stays what it was; then there is nothing to give up."""
    image = new_image(modelled, Traffic(requests=0, positive=0))
    with pytest.raises(CanaryHeld):
        canary(modelled, image)

    ended = modelled.deployer().abort("tiny", Environment.PRODUCTION)

    assert DeploymentState.FAILED is ended.state
    assert (None, None, 2) == (modelled.cluster.image(CANARY), modelled.entry(2).known_bad, modelled.production())
    with pytest.raises(NothingToDo, match="nothing to give up"):
        modelled.deployer().abort("tiny", Environment.PRODUCTION)


@pytest.mark.system
def test_a_held_canary_is_deployed_fully_by_a_person(modelled: ModelScene) -> None:
    """Who deploys without --canary decides."""
    image = new_image(modelled, Traffic(positive=80))
    with pytest.raises(CanaryHeld):
        canary(modelled, image)

    modelled.deploy(image)

    assert (image.reference, None) == (modelled.cluster.image("tiny"), modelled.cluster.image(CANARY))


@pytest.mark.system
def test_steps_that_end_early_leave_the_canary(modelled: ModelScene) -> None:
    """Without 100 it stays at its last share."""
    image = new_image(modelled, Traffic(failures=1, slow=5))

    done = canary(modelled, image, replace(PLAN, steps=(25, 50)))

    assert (Track.CANARY, DeploymentState.DEPLOYED) == (done.target.track, done.state)
    assert (3, 3) == (len(modelled.cluster.pods[CANARY]), len(modelled.cluster.pods["tiny"]))
    assert look(modelled).analysis.startswith("all steps are passed (of 25, 50)")


@pytest.mark.system
def test_a_promotion_meanwhile_ends_it(modelled: ModelScene) -> None:
    """The version is not the one that may run there any more: the canary goes, and nobody is blamed."""
    image = new_image(modelled, Traffic(requests=0, positive=0))
    began = modelled.cluster.now

    def promote() -> None:
        if modelled.cluster.now > began + 100 and modelled.production() == 2:
            modelled.promote(3)

    modelled.cluster.on_tick = promote
    with pytest.raises(ProductionMoved, match="v2"):
        canary(modelled, image)

    assert (None, None, 3) == (modelled.cluster.image(CANARY), modelled.entry(2).known_bad, modelled.production())


@pytest.mark.system
def test_somebody_who_changes_the_canary_ends_it(modelled: ModelScene) -> None:
    """What he made of it is his, and stays."""
    image = new_image(modelled, Traffic(requests=0, positive=0))
    began = modelled.cluster.now
    server = ("f:spec", "f:template", "f:spec", "f:containers", 'k:{"name": "server"}', "f:image")

    def edit() -> None:
        if modelled.cluster.now > began + 100 and modelled.cluster.image(CANARY) == image.reference:
            modelled.cluster.patch("deployment", CANARY, {server: "by/hand:1"})

    modelled.cluster.on_tick = edit
    with pytest.raises(ProductionMoved, match="changed by somebody else"):
        canary(modelled, image)

    assert "by/hand:1" == modelled.cluster.image(CANARY)


@pytest.mark.parametrize("resumes", [True, False])
@pytest.mark.parametrize(
    "moment", ["applying registry.example/tiny:2-well-1", "step 25 %", "advance at 50 %", "every step is passed"]
)
@pytest.mark.system
def test_killed_at_any_moment_it_goes_on(
    modelled: ModelScene, monkeypatch: pytest.MonkeyPatch, moment: str, resumes: bool
) -> None:
    """`--resume`, or the same command, finishes the steps that are left, and the way to every pod."""
    image = new_image(modelled, Traffic(failures=1, slow=5))

    def kill(line: str) -> None:
        if moment in line:
            monkeypatch.undo()
            play(monkeypatch, modelled)
            modelled.cluster.kill = (len(modelled.cluster.calls) + 2, True)

    monkeypatch.setattr(modelled.service, "report", kill)
    with pytest.raises(Killed):
        canary(modelled, image)

    done = modelled.resume(2) if resumes else canary(modelled, image)

    assert (Track.STABLE, image.reference) == (done.target.track, modelled.cluster.image("tiny"))
    assert modelled.cluster.image(CANARY) is None
    assert ["advance at 25", "advance at 50"] == [said.split(" %")[0] for said in analyses(modelled)]


@pytest.mark.parametrize("resumes", [True, False])
@pytest.mark.system
def test_killed_on_the_way_to_every_pod_it_goes_on(modelled: ModelScene, resumes: bool) -> None:
    """The stable pods' rollout is an attempt of its own, and the same command knows it for its last step."""
    image = new_image(modelled, Traffic(failures=1, slow=5))

    def kill() -> None:
        if modelled.cluster.image("tiny") == image.reference:
            modelled.cluster.kill = (len(modelled.cluster.calls) + 1, False)

    modelled.cluster.on_tick = kill
    with pytest.raises(Killed):
        canary(modelled, image)
    modelled.cluster.on_tick = lambda: None
    modelled.cluster.kill = None

    done = modelled.resume(2) if resumes else canary(modelled, image)

    assert (Track.STABLE, DeploymentState.DEPLOYED) == (done.target.track, done.state)
    assert modelled.cluster.image(CANARY) is None
    assert not [line for line in modelled.said if "taking back" in line]


@pytest.mark.system
def test_an_api_server_that_is_away_holds(modelled: ModelScene) -> None:
    """Nothing can be compared; when it is back, `--resume` goes on."""
    image = new_image(modelled, Traffic(failures=1, slow=5))
    calls = modelled.cluster.calls
    modelled.cluster.on_tick = lambda: setattr(
        modelled.cluster, "away", range(len(calls), 9999) if "scale" in calls else range(0)
    )
    with pytest.raises(CanaryHeld):
        canary(modelled, image, replace(PLAN, seconds=200))
    modelled.cluster.on_tick = lambda: None
    modelled.cluster.away = range(0)

    modelled.resume(2)

    assert image.reference == modelled.cluster.image("tiny")


@pytest.mark.system
def test_a_share_is_set_once_however_long_it_is_compared(modelled: ModelScene) -> None:
    """Whoever scales the canary by hand meanwhile is not overruled at each look."""
    image = new_image(modelled, Traffic(failures=3, slow=5))

    with pytest.raises(CanaryHeld):
        canary(modelled, image, replace(PLAN, seconds=100))

    assert ["scale"] == [call for call in modelled.cluster.calls if call == "scale"]


@pytest.mark.parametrize(
    ("ours", "others", "share"),
    [((), (), 0.0), ((False,), (False, False), 0.0), ((True,), (), 1.0), ((True, False), (True, True, True), 0.25)],
)
def test_the_share_is_that_of_the_pods_that_answer(
    ours: tuple[bool, ...], others: tuple[bool, ...], share: float
) -> None:
    """None where none does, as while an API server is away."""
    pods = [cast("list[Pod]", [SimpleNamespace(is_ready=each) for each in track]) for track in (ours, others)]

    assert share == _share(*pods)
