"""The fitted forecaster: raw rows in, euros out; three boosters, their weights, and the history they look back on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.forecast.booster import Booster
from models.forecast.boosters import BOOSTERS
from models.forecast.features import Features, build_features
from models.forecast.history import Days, History, day_numbers
from models.forecast.rows import STORE_COLUMNS, checked_rows
from models.forecast.windows import origins_of
from promotion.errors import ArtifactRefused, DataError

_FORMAT = 1
_FACTS, _HISTORY, _STORES = "ensemble.json", "history.npz", "stores.csv"
# Rows whose features are held in memory at once.
_CHUNK_ROWS = 200_000

Euros = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Member:
    """A booster and what its answers mean.

    Attributes:
        booster: Fitted.
        learns_level: Whether it answers ln(1 + sales); otherwise how far that lies from the features' base.
    """

    booster: Booster
    learns_level: bool

    @property
    def name(self) -> str:
        """The booster's name."""
        return self.booster.name

    def forecast(self, features: Features) -> Euros:
        """Sales in euros, shape (rows,)."""
        answer = self.booster.predict(features.table)
        euros: Euros = np.maximum(np.expm1(answer if self.learns_level else features.base + answer), 0)
        return euros


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Forecasts daily sales of known stores.

    Attributes:
        members: Fitted boosters.
        weights: By member; they add up to 1.
        history: Everything known when the model was made. Features of a day inside it use only what lies before that
            day's own window, so the model may be examined on its last days honestly.
        stores: Kaggle's store table.
        horizon: Days a forecast reaches.
        learned_until: Last day the boosters have learned from, days since 1970-01-01.
    """

    members: Sequence[Member]
    weights: Mapping[str, float]
    history: History
    stores: pd.DataFrame
    horizon: int
    learned_until: int

    def predict(self, rows: pd.DataFrame) -> Euros:
        """Forecast sales; a row's answer depends on that row alone, whatever stands beside it.

        Args:
            rows: Columns Store, Date, Open, Promo, StateHoliday, SchoolHoliday; others, Sales too, are not looked at.

        Returns:
            Euros, shape (rows,); 0 where the store is closed.

        Raises:
            DataError: The rows break their contract, or a store has no history.
        """
        return self.forecast(checked_rows(rows, self.stores, "rows"))

    def forecast(self, tidy: pd.DataFrame) -> Euros:
        """Forecast sales of rows that are checked already.

        Args:
            tidy: What `checked_rows` returned.

        Raises:
            DataError: A store has no history.
        """
        total = np.zeros(len(tidy))
        for name, forecast in self.forecast_members(tidy).items():
            total += self.weights[name] * forecast
        return total

    def forecast_members(self, tidy: pd.DataFrame) -> dict[str, Euros]:
        """What each member says of checked rows on its own, before weighting; shape (rows,) each."""
        answers = {member.name: np.zeros(len(tidy)) for member in self.members}
        is_open = np.flatnonzero(tidy["Open"].to_numpy() == 1)
        for start in range(0, is_open.size, _CHUNK_ROWS):
            at = is_open[start : start + _CHUNK_ROWS]
            part = tidy.iloc[at]
            features = build_features(part, self.stores, self.history, self.origins(day_numbers(part["Date"])))
            if np.isnan(features.base).any():
                row = part[np.isnan(features.base)].iloc[0]
                raise DataError(
                    f"store {row['Store']} had no sales before {row['Date']:%Y-%m-%d} could be forecast: leave its "
                    "rows out, or train on data that holds some"
                )
            for member in self.members:
                answers[member.name][at] = member.forecast(features)
        return answers

    def origins(self, days: Days) -> Days:
        """The last known day of each day's forecast."""
        return origins_of(days, self.history.last_day, self.horizon)

    def save(self, folder: Path) -> None:
        """Write native booster files, the history without objects, the store table as CSV and the rest as JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        for member in self.members:
            member.booster.save(folder)
        self.history.save(folder / _HISTORY)
        self.stores.to_csv(folder / _STORES, index=False)
        facts = {
            "format": _FORMAT,
            "weights": {member.name: self.weights[member.name] for member in self.members},
            "rounds": {member.name: member.booster.rounds for member in self.members},
            "learns_level": {member.name: member.learns_level for member in self.members},
            "horizon_days": self.horizon,
            "learned_until": str(np.datetime64(self.learned_until, "D")),
        }
        (folder / _FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Ensemble:
        """Read what `save` wrote.

        Raises:
            ArtifactRefused: A file is missing or malformed.
        """
        path = folder / _FACTS
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            weights = {str(name): float(weight) for name, weight in facts["weights"].items()}
            horizon, until, kind = (
                int(facts["horizon_days"]),
                np.datetime64(facts["learned_until"], "D"),
                facts["format"],
            )
            members = [Member(BOOSTERS[name].load(folder), bool(facts["learns_level"][name])) for name in weights]
            stores = pd.read_csv(folder / _STORES)[list(STORE_COLUMNS)]
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            summary = f"{type(error).__name__}: {error}"
            raise ArtifactRefused(f"{path}: missing or not a sales ensemble: {summary}") from error
        if kind != _FORMAT:
            raise ArtifactRefused(f"{path}: format {kind!r}, this code reads {_FORMAT}: use the commit of the version")
        history = History.load(folder / _HISTORY)
        return cls(members, weights, history, stores, horizon, int(until.astype(np.int64)))
