"""The simulation of rollbacks decides as the monitor does."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from tests.promotion.monitoring.test_rollback_trigger import seen

from promotion.config.policy import Monitoring
from promotion.config.settings import REPOSITORY
from promotion.evaluation.intervals import wilson
from promotion.monitoring.label_bias import label_bias
from promotion.monitoring.observe.observation import Lately, Reading, Stretch
from promotion.monitoring.rollback_trigger import triggers


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    """The benchmark, as a module."""
    name = "false_rollbacks"
    specification = importlib.util.spec_from_file_location(name, REPOSITORY / "benchmarks" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


def test_arrays_are_judged_as_one_run_is(simulation: ModuleType) -> None:
    """Whether a drop is certain enough to take a version back, for many counts."""
    random = np.random.default_rng(3)
    for held_out in (61, 430):
        for promised, right in zip(random.binomial(held_out, 0.93, 60), random.binomial(600, 0.82, 60), strict=True):
            value, low, high = wilson(int(right), 600)
            reference, reference_low, _ = wilson(int(promised), held_out)
            together = Reading(value, low, high, reference, 600, enough=True, reference_low=reference_low)
            at = seen("accuracy", [0.0]).lately["accuracy"].stretches[0].since
            bad = Stretch(at, at, 0.0, 200, enough=True)
            observation = replace(seen("accuracy", [0.0]), lately={"accuracy": Lately([bad] * 3, together)})
            (trigger,) = triggers(observation, Monitoring())

            assert trigger.fires == bool(simulation.is_certain(right, 600, promised, held_out, simulation.CERTAIN))


@pytest.mark.parametrize(
    "habit", ["everything", "a sample of 20 %, or late labels", "positives only", "doubtful cases first"]
)
def test_habits_are_judged_as_labels_are(simulation: ModuleType, habit: str) -> None:
    """Whether labelled rows look like all, of the class and of the score by tenths."""
    random, version, choice = np.random.default_rng(5), simulation.healthy(), simulation.habits()[habit]
    for _ in range(5):
        rows = random.multinomial(2000, version.rows.ravel()).reshape(10, 2)
        labelled = random.binomial(rows, np.broadcast_to(choice, (10, 2)).astype(float)).sum(axis=1)
        everything = rows.sum(axis=1)

        def table(counts: np.ndarray) -> list[np.ndarray]:
            place = np.repeat(np.arange(10), counts)
            # Spread over the period, which is not what is asked here.
            return [random.permutation(np.linspace(0, 1e9, len(place)).astype(np.int64)), place // 5, place / 10.0]

        found = label_bias(table(labelled), table(everything), ["no", "yes"])
        assert bool(found) == bool(simulation.looks_biased(labelled, everything))
