"""The sample of steps at which a command is killed."""

from __future__ import annotations

from tests.system.drivers.steps import every, sample


def test_a_sample_holds_every_kind_of_step() -> None:
    """The first, the last, one of each kind whatever it is done to, and a fifth of all; always the same."""
    written = ["before INSERT INTO event (id) VALUES (?)", "before UPDATE entry SET stage = ?"]
    steps = [
        *[f"before CREATE TABLE {name}" for name in "abc"],
        *written * 10,
        "before DELETE FROM outbox",
        "before COMMIT",
    ]

    chosen = sample(steps)

    assert chosen == sample(steps) == sorted(chosen)
    assert {1, len(steps) - 1, len(steps)} <= set(chosen) <= set(every(steps))
    assert {*written} <= {steps[number - 1] for number in chosen}
    assert len(steps) / 5 <= len(chosen) < len(steps) / 2


def test_among_steps_of_one_kind_one_of_five_is_drawn() -> None:
    """And none where there are none."""
    assert 5 == len(sample(["before COMMIT"] * 23))
    assert [1, 2] == sample(["before COMMIT"] * 2)
    assert [] == sample([])
