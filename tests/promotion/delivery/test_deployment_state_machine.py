"""Every state of a deployment × everything that may happen to it; and the drawing of the states against the code."""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import select
from tests.promotion.delivery.model_cluster import Killed, Traffic
from tests.promotion.delivery.model_scene import CANARY, ModelScene, model_scene, play

from promotion.config.settings import REPOSITORY
from promotion.delivery.canary.records import AnalysisPlan
from promotion.delivery.deployments import Deployments
from promotion.delivery.records import TRANSITIONS, DeploymentState, Environment, Image, Track
from promotion.delivery.rollback import take_back
from promotion.errors import PromotionError
from promotion.journal.schema import deployment
from promotion.service import Mover

VERSIONS = 6
TRACKS = st.sampled_from(Track)
BEHAVIOURS = st.sampled_from(["well", "well", "wrong", "crash", "unpullable", "hung"])
CALLS = st.integers(1, 30)
TRAFFIC = st.sampled_from([Traffic(), Traffic(failures=40), Traffic(slow=70), Traffic(0, positive=0)])
PLAN = AnalysisPlan((25, 50, 100), seconds=120, requests=500)
TEMPLATE = ("f:spec", "f:template", "f:spec")
SERVER = (*TEMPLATE, "f:containers", 'k:{"name": "server"}')
EDITS: dict[str, dict[tuple[str, ...], Any]] = {
    "a foreign command": {(*SERVER, "f:command"): ["sh"]},
    "another image": {(*SERVER, "f:image"): "by/hand:1"},
    "a field of the pod": {(*TEMPLATE, "f:hostNetwork"): True},
    "paused": {("f:spec", "f:paused"): True},
    "resumed": {("f:spec", "f:paused"): False},
}


class DeploymentMachine(RuleBasedStateMachine):
    """A family on a cluster; whatever is asked of it or happens to it, what is proven serves on."""

    journal: ClassVar[Path]

    def __init__(self) -> None:
        super().__init__()
        self.leave = ExitStack()
        self.scene: ModelScene = self.leave.enter_context(model_scene(self.journal, VERSIONS))
        play(self.leave.enter_context(pytest.MonkeyPatch.context()), self.scene)
        self.cluster = self.scene.cluster
        self.newest = 1
        self.images: list[Image] = []
        self.ready = 0
        self.floor = {"tiny": 0, CANARY: 0}
        self.act(lambda: self.scene.deploy(self.scene.image(1)))
        self.cluster.on_tick = self.is_ready

    def teardown(self) -> None:
        """Remove the files."""
        self.leave.close()

    @rule(track=TRACKS, behaviour=BEHAVIOURS)
    def deploy(self, track: Track, behaviour: str) -> None:
        """A new image of the version in Production."""
        self.act(lambda: self.deploy_new(track, behaviour))

    @rule(traffic=TRAFFIC, number=st.integers(1, 400), after=st.booleans())
    def analyse(self, traffic: Traffic, number: int, after: bool) -> None:  # hypothesis'
        """A canary is led through steps, and the command may die on the way."""
        self.cluster.kill = (len(self.cluster.calls) + number, after)
        self.act(lambda: self.deploy_new(Track.CANARY, "well", traffic))
        self.cluster.kill = None

    @rule()
    def abort(self) -> None:
        """What is held or interrupted is given up."""
        self.act(lambda: self.scene.deployer().abort("tiny", Environment.PRODUCTION))

    @rule(track=TRACKS, behaviour=BEHAVIOURS, number=CALLS, after=st.booleans())
    def killed(self, track: Track, behaviour: str, number: int, after: bool) -> None:  # hypothesis'
        """The command dies before or after a request."""
        self.cluster.kill = (len(self.cluster.calls) + number, after)
        self.act(lambda: self.deploy_new(track, behaviour))
        self.cluster.kill = None

    @rule(track=TRACKS, behaviour=BEHAVIOURS, first=CALLS, length=st.integers(1, 500))
    def away(self, track: Track, behaviour: str, first: int, length: int) -> None:
        """The API server does not answer for a while."""
        begin = len(self.cluster.calls) + first
        self.cluster.away = range(begin, begin + length)
        self.act(lambda: self.deploy_new(track, behaviour))
        self.cluster.away = range(0)

    @precondition(lambda self: self.images)
    @rule(number=st.integers(0, 9), track=TRACKS)
    def again(self, number: int, track: Track) -> None:
        """An image that was tried before."""
        image = self.images[number % len(self.images)]
        self.act(lambda: self.scene.deploy(image, track))

    @rule(heals=st.booleans())
    def resume(self, heals: bool) -> None:  # hypothesis'
        """What was interrupted is finished, whatever became of its image meanwhile."""
        for image in self.cluster.images.values() if heals else ():
            image.behaviour = "well" if image.behaviour == "hung" else image.behaviour
        self.act(lambda: self.scene.resume(self.scene.production() or 1))

    @precondition(lambda self: self.newest < VERSIONS)
    @rule()
    def promote(self) -> None:
        """The next version goes to Production."""
        self.newest += 1
        self.act(lambda: self.scene.promote(self.newest))

    @rule()
    def roll_back(self) -> None:
        """A person takes Production back, the cluster follows."""
        mover = Mover("ben", "found out")
        self.act(
            lambda: take_back(self.scene.service, lambda _: self.scene.deployer(), "tiny", None, mover, force=True)
        )

    @rule(edit=st.sampled_from(sorted(EDITS)), name=st.sampled_from(["tiny", CANARY]))
    def edit(self, edit: str, name: str) -> None:
        """Somebody changes a Deployment by hand; from then on it serves what he made of it."""
        if ("deployment", name) in self.cluster.held:
            self.cluster.patch("deployment", name, EDITS[edit])
            if self.unfinished():
                # Whatever becomes of the attempt, what he made of it stays.
                self.floor[name] = 0
            self.rest({name})

    @rule()
    def remove_canary(self) -> None:
        """Somebody deletes the canary."""
        self.cluster.remove("deployment", CANARY)
        self.rest({CANARY})

    @invariant()
    def one_is_in_production_and_it_is_not_known_bad(self) -> None:
        """Journal and registry agree, too."""
        number = self.scene.production()
        assert number is None or self.scene.entry(number).known_bad is None

    def deploy_new(self, track: Track, behaviour: str, traffic: Traffic | None = None) -> None:
        """Build and deploy what is in Production."""
        number = self.scene.production()
        if number:
            image = self.scene.image(number, behaviour)
            self.images.append(image)
            if traffic:
                self.cluster.traffic = {each: Traffic() for each in self.cluster.images} | {image.reference: traffic}
            self.scene.deploy(image, track, PLAN if traffic else None)

    def act(self, action: Callable[[], object]) -> None:
        """Do something that may be refused, fail or die; then see what serves."""
        stable, canary = self.cluster.image("tiny"), self.cluster.image(CANARY)
        begun = self.scene.service.journal.history("tiny", limit=1)[0].sequence
        with suppress(PromotionError, Killed):
            action()
        moved = self.cluster.image("tiny") != stable
        runs = self.cluster.image(CANARY)
        is_bad = runs is None and any(
            self.scene.entry(image.version).known_bad for image in self.images if image.reference == canary
        )
        newest = self.scene.service.journal.history("tiny", limit=20)
        # By whoever gave it up, or wanted another version on every pod.
        is_removed = any(event.action == "canary removed" and event.sequence > begun for event in newest)
        self.rest({CANARY} if moved or is_bad or is_removed else set())

    def unfinished(self) -> bool:
        """Whether an attempt is under way; only one may be."""
        return Deployments(self.scene.service.journal).unfinished("tiny", Environment.PRODUCTION) is not None

    def rest(self, asked: Container[str]) -> None:
        """Let the cluster come to rest; what is proven serves on at least as many pods as before.

        Args:
            asked: The Deployments whose pods may be others now, because somebody asked for it.
        """
        self.cluster.settle()
        if self.unfinished():
            return
        query = select(deployment.c.image).where(deployment.c.state == DeploymentState.DEPLOYED.value)
        proven = {row.image for row in self.scene.service.journal.rows(query)}
        now = {name: self.cluster.serving(name, proven) for name in self.floor}
        assert all(now[name] >= floor for name, floor in self.floor.items() if name not in asked), (now, self.floor)
        self.floor = now
        self.ready = len([pod for pod in self.cluster.pods.get("tiny", []) if pod.is_ready])

    def is_ready(self) -> None:
        """At no moment are fewer of the stable pods ready than at rest."""
        ready = len([pod for pod in self.cluster.pods.get("tiny", []) if pod.is_ready])
        assert ready >= self.ready, (ready, self.ready)


def explore(journal: Path, examples: int, steps: int, **options: Any) -> None:
    """Let hypothesis look for a way to take down what serves."""
    machine = type("Machine", (DeploymentMachine,), {"journal": journal})
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        **options,
    )
    run_state_machine_as_test(machine, settings=chosen)


@pytest.mark.system
def test_what_is_proven_serves_on_whatever_happens(empty_store: Path) -> None:
    """A few short histories, the same ones each time."""
    explore(empty_store.with_name("promotion.db"), 8, 8, derandomize=True)


@pytest.mark.system
@pytest.mark.peers
@pytest.mark.timeout(900)
def test_what_is_proven_serves_on_whatever_happens_for_long(empty_store: Path) -> None:
    """Many long histories, other ones each time."""
    explore(empty_store.with_name("promotion.db"), 40, 20)


def test_the_drawing_shows_the_states_as_they_follow() -> None:
    """docs/DEPLOYMENT.md and the code name the same steps."""
    text = (REPOSITORY / "docs" / "DEPLOYMENT.md").read_text(encoding="utf-8")
    (drawing,) = re.findall(r"```mermaid\nstateDiagram-v2\n(.*?)```", text, re.DOTALL)
    drawn = set(re.findall(r"(\S+) --> (\S+?)(?: :.*)?$", drawing, re.MULTILINE))

    steps = {(state.value, following.value) for state, each in TRANSITIONS.items() for following in each}
    ends = {(state.value, "[*]") for state, each in TRANSITIONS.items() if not each}
    assert steps | ends | {("[*]", DeploymentState.APPLYING.value)} == drawn
