"""What the ensemble asks of a booster, whichever library it comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Vector = NDArray[np.float64]
OnRound = Callable[[int], None]
"""Told after each round of boosting how many are done."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows to learn from, or to stop by.

    Attributes:
        table: Features, float32.
        target: Shape (rows,).
        weight: Shape (rows,).
    """

    table: pd.DataFrame
    target: Vector
    weight: Vector


@dataclass(frozen=True, slots=True)
class Fit:
    """How one booster is trained.

    Attributes:
        params: Its library's own parameters, from the family's file.
        rounds: Rounds of boosting, at most.
        patience: Rounds without gain on the rows to stop by, after which it stops.
        seed: Of everything random.
        threads: How many it may use.
    """

    params: Mapping[str, Any]
    rounds: int
    patience: int
    seed: int
    threads: int


class Booster(ABC):
    """A fitted member of the ensemble.

    Attributes:
        name: In the family's file.
        title: As people write it.
        filename: Of the native file.
        rounds: Rounds of boosting that count.
        curve: Root mean square error on the rows to stop by, a round each; empty when there were none.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    filename: ClassVar[str]

    def __init__(self, model: Any, rounds: int, curve: list[float]) -> None:
        self._model = model
        self.rounds = rounds
        self.curve = curve

    @classmethod
    @abstractmethod
    def train(cls, learn: Sample, stop: Sample | None, fit: Fit, on_round: OnRound) -> Booster:
        """Fit on `learn`; with `stop`, keep the round that is best there.

        Raises:
            ConfigError: The library refuses a parameter.
        """

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Booster:
        """Read what `save` wrote.

        Raises:
            ArtifactRefused: The file is missing or not of this library.
        """

    @abstractmethod
    def predict(self, table: pd.DataFrame) -> Vector:
        """Answer every row, shape (rows,)."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the native file."""
