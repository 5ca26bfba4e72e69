"""At which of its steps a command is killed: at every one, or at a sample that holds every kind of step."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

Steps = Callable[[Sequence[str]], list[int]]
"""The numbers, from 1, of the steps that are chosen among those a command goes through."""

ONE_OF = 5
VALUE = re.compile(r"[('\"\d].*|(?<=CREATE ).*", re.DOTALL)
"""Where a step's text ends to say what kind of step it is; making tables is one kind."""


def every(steps: Sequence[str]) -> list[int]:
    """All of them."""
    return list(range(1, len(steps) + 1))


def sample(steps: Sequence[str]) -> list[int]:
    """The first and the last, one of each kind, and others, always the same, until it is one of five."""
    numbers = every(steps)
    random.Random(len(steps)).shuffle(numbers)  # noqa: S311  # a draw that is the same in every run
    kinds = {VALUE.sub("", steps[number - 1]): number for number in numbers}
    chosen = {*numbers} & {1, len(steps), *kinds.values()}
    for number in numbers:
        if len(chosen) * ONE_OF < len(steps):
            chosen.add(number)
    return sorted(chosen)
