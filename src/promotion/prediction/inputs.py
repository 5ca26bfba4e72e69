"""Which rows a prediction is asked for: a file's, or the family's own; checked before a model sees them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from promotion.config.family import FamilyConfig
from promotion.data.datasets import checked_features, load_dataset, split_dataset
from promotion.data.tables import read_chunks

_ANSWERED = ("row", "prediction", "probability", "actual", "model", "version", "run_id")
"""Columns of the output, which an identifier cannot be called."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Checked rows.

    Attributes:
        features: What the model takes.
        shown: What goes into the output beside the answers, by the same index: the row's number, from 0, and what
            names it (an identifier; a store and a day).
        done: Share of all rows so far, 0 to 1.
        actual: The true answer where it is known.
    """

    features: pd.DataFrame
    shown: pd.DataFrame
    done: float
    actual: pd.Series | None = None


class AskedRows(ABC):
    """Rows to predict.

    Attributes:
        place: Where they come from, for people.
        path: The file they come from.
        notes: What somebody who uses the predictions has to know about the rows.
        data_sha256: Digest of the family's data, as its training runs have it; None for rows of another file.
    """

    def __init__(self, place: str, path: Path) -> None:
        self.place = place
        self.path = path
        self.notes: list[str] = []
        self.data_sha256: str | None = None

    @abstractmethod
    def check(self) -> None:
        """Look at the columns and the first rows, before a model is loaded.

        Raises:
            DataError: They break the family's contract.
        """

    @abstractmethod
    def chunks(self, model: Any) -> Iterator[Asked]:
        """All rows, checked.

        Args:
            model: Will answer them; may know more than the contract does.

        Raises:
            DataError: They break the family's contract.
        """


class FileRows(AskedRows):
    """Rows of a file, for a family that tells classes apart: its feature columns, its other columns optional."""

    def __init__(self, config: FamilyConfig, path: Path) -> None:
        super().__init__(str(path), path)
        self._config = config
        self._names = [name for name, column in config.data.columns.items() if column.type == "identifier"]

    def check(self) -> None:
        """Hold columns and first rows against the data contract."""
        for chunk in islice(read_chunks(self.path, as_text=True), 1):
            checked_features(self._config, chunk.rows, self.path)

    def chunks(self, model: Any) -> Iterator[Asked]:  # noqa: ARG002  # the contract says everything here
        """All rows, each chunk held against the data contract."""
        for chunk in read_chunks(self.path, as_text=True):
            features = checked_features(self._config, chunk.rows, self.path)
            features.index += chunk.first
            shown = chunk.rows[[name for name in self._names if name in chunk.rows]].set_index(features.index)
            shown = shown.rename(columns={name: f"{name} (of the file)" for name in _ANSWERED})
            shown.insert(0, "row", features.index)
            yield Asked(features, shown, chunk.done)


class SampleRows(AskedRows):
    """Rows of the family's test split, which no model has learned from, with the class each has (0, 1, ...).

    Args:
        config: The family.
        home: The project's home folder.
        count: How many, from the first on; all of them when None.
    """

    def __init__(self, config: FamilyConfig, home: Path, count: int | None) -> None:
        super().__init__(config.data.path, home / config.data.path)
        self._config = config
        self._home = home
        self._count = count

    def check(self) -> None:
        """Hold the family's file against its contract."""
        self.data_sha256 = load_dataset(self._config, self._home).sha256

    def chunks(self, model: Any) -> Iterator[Asked]:  # noqa: ARG002  # as above
        """The rows in one piece."""
        parts = split_dataset(load_dataset(self._config, self._home), self._config)
        features = parts.test_features.head(self._count or len(parts.test_target))
        actual = pd.Series(parts.test_target[: len(features)], index=features.index)
        yield Asked(features, pd.DataFrame({"row": features.index}, index=features.index), 1.0, actual)
