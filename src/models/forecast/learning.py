"""How the ensemble learns: every fold and the final fit see only what was known before their window."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.forecast.boosters import BOOSTERS, Booster, Fit, Sample
from models.forecast.data import Sales
from models.forecast.ensemble import Ensemble
from models.forecast.features import Features, build_features
from models.forecast.history import History, day_numbers
from models.forecast.scoring import best_scale, fit_weights, rmspe
from models.forecast.windows import Window, folds_before, holdout, training_rows

# Days further off than this, in ln(sales), are accidents: they count, but not with all their distance.
_FARTHEST = 0.5

Euros = NDArray[np.float64]
Progress = Callable[[str, int, int], None]
"""Told the booster at work, how many rounds are done, and how many there may be."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a training may do; the family's file says it.

    Attributes:
        horizon: Days a forecast reaches.
        folds: Windows before the final one on which weights and rounds are chosen.
        offsets: Shifts of the training origins, days.
        half_life: Days after which a row counts half.
        warm_up: Days of history before the first origin.
        fold_rows: Rows a fold learns from, at most; drawn at random.
        final_rows: The same for the final fit.
        rounds: Rounds of boosting, at most.
        patience: Rounds without gain before a fold stops.
        seed: Of everything random.
        threads: A booster may use.
        params: Each booster's own parameters, by name.
    """

    horizon: int
    folds: int
    offsets: Sequence[int]
    half_life: float
    warm_up: int
    fold_rows: int
    final_rows: int
    rounds: int
    patience: int
    seed: int
    threads: int
    params: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class FoldForecast:
    """What one booster, trained before a window, said about it.

    Attributes:
        window: The window.
        booster: As trained; its rounds are the best ones there.
        sales: What was sold on the open days, euros.
        forecast: What it foretold, euros.
    """

    window: Window
    booster: Booster
    sales: Euros
    forecast: Euros


@dataclass(frozen=True, slots=True)
class Learned:
    """An ensemble and how it came about.

    Attributes:
        ensemble: Ready to predict.
        window: Nothing in it was learned from.
        folds: By booster, one entry a fold, newest first.
        scales: By booster, the factor that makes its own RMSPE smallest on the folds.
        rows: Rows of the final fit.
    """

    ensemble: Ensemble
    window: Window
    folds: Mapping[str, Sequence[FoldForecast]]
    scales: Mapping[str, float]
    rows: int

    def cross_validation(self) -> dict[str, list[float]]:
        """RMSPE by member and of the ensemble, one number a fold, newest first; every member has its own scale."""
        scores = {
            name: [rmspe(fold.sales, self.scales[name] * fold.forecast) for fold in folds]
            for name, folds in self.folds.items()
        }
        weights = self.ensemble.weights
        scores["ensemble"] = [
            rmspe(fold[0].sales, sum((weights[each.booster.name] * each.forecast for each in fold), np.zeros(1)))
            for fold in zip(*self.folds.values(), strict=True)
        ]
        return scores


class Learner:
    """Learns ensembles from one data set; a fold that several windows need is learned once.

    Args:
        data: The rows.
        plan: What may be done.
        progress: Told about every round.
        report: Told the title of each booster that is done.
    """

    def __init__(
        self,
        data: Sales,
        plan: Plan,
        progress: Progress = lambda _name, _done, _total: None,
        report: Callable[[str], None] = lambda _title: None,
    ) -> None:
        self._plan = plan
        self._progress = progress
        self._report = report
        self._stores = data.stores
        self._sold = data.rows[data.rows["Sales"] > 0].reset_index(drop=True)
        self._days = day_numbers(self._sold["Date"])
        self.history = History.of(data.rows)
        self._tables: dict[tuple[int, int], tuple[Features, pd.DataFrame, NDArray[np.float64]]] = {}
        self._folds: dict[tuple[str, Window], FoldForecast] = {}

    def learn(self, window: Window | None = None) -> Learned:
        """Learn what is needed to forecast a window, from nothing but the days before it.

        Args:
            window: By default the last `plan.horizon` days of the data.

        Raises:
            ConfigError: A booster refuses a parameter.
        """
        window = window or holdout(self.history.last_day, self._plan.horizon)
        windows = folds_before(window, self._plan.folds)
        folds: dict[str, list[FoldForecast]] = {}
        members = []
        for name in self._plan.params:
            folds[name] = [self._fold(name, fold) for fold in windows]
            members.append(self._final(name, window, folds[name]))
            self._report(BOOSTERS[name].title)
        sales = np.concatenate([fold.sales for fold in next(iter(folds.values()))])
        pooled = {name: np.concatenate([fold.forecast for fold in of]) for name, of in folds.items()}
        weights = fit_weights(sales, np.stack(list(pooled.values()), axis=1))
        ensemble = Ensemble(
            members=members,
            weights=dict(zip(pooled, map(float, weights), strict=True)),
            history=self.history,
            stores=self._stores,
            horizon=self._plan.horizon,
            learned_until=window.origin,
        )
        scales = {name: best_scale(sales, forecast) for name, forecast in pooled.items()}
        rows = len(self._table(window.origin, self._plan.final_rows)[1])
        return Learned(ensemble, window, folds, scales, rows)

    def sold_in(self, window: Window) -> pd.DataFrame:
        """The rows with sales inside a window."""
        return self._sold[window.holds(self._days)]

    def _fold(self, name: str, window: Window) -> FoldForecast:
        key = (name, window)
        if key not in self._folds:
            rows = self.sold_in(window)
            features = build_features(rows, self._stores, self.history, np.full(len(rows), window.origin))
            sales = rows["Sales"].to_numpy(dtype=np.float64)
            stop = Sample(features.table, _target(sales, features), np.ones(len(rows)))
            learn = self._sample(window.origin, self._plan.fold_rows)
            booster = self._train(name, learn, stop, self._plan.rounds)
            forecast = np.expm1(features.base + booster.predict(features.table))
            self._folds[key] = FoldForecast(window, booster, sales, forecast)
        return self._folds[key]

    def _final(self, name: str, window: Window, folds: Sequence[FoldForecast]) -> Booster:
        rounds = max(1, round(float(np.mean([fold.booster.rounds for fold in folds]))))
        return self._train(name, self._sample(window.origin, self._plan.final_rows), None, rounds)

    def _train(self, name: str, learn: Sample, stop: Sample | None, rounds: int) -> Booster:
        plan, kind = self._plan, BOOSTERS[name]
        fit = Fit(plan.params[name], rounds, plan.patience, plan.seed, plan.threads)
        return kind.train(learn, stop, fit, lambda done: self._progress(kind.title, done, rounds))

    def _sample(self, last_known: int, most: int) -> Sample:
        features, rows, weight = self._table(last_known, most)
        return Sample(features.table, _target(rows["Sales"].to_numpy(dtype=np.float64), features), weight)

    def _table(self, last_known: int, most: int) -> tuple[Features, pd.DataFrame, NDArray[np.float64]]:
        key = (last_known, most)
        if key not in self._tables:
            plan = self._plan
            past = training_rows(
                self._sold,
                last_known,
                horizon=plan.horizon,
                offsets=plan.offsets,
                first_origin=self.history.first_day + plan.warm_up,
            )
            chosen = np.arange(len(past.rows))
            if chosen.size > most:
                chosen = np.sort(np.random.default_rng(plan.seed).choice(chosen, most, replace=False))
            rows = past.rows.iloc[chosen]
            features = build_features(rows, self._stores, self.history, past.origins[chosen])
            self._tables[key] = (features, rows, np.exp2(-past.age[chosen] / plan.half_life))
        return self._tables[key]


def _target(sales: Euros, features: Features) -> NDArray[np.float64]:
    """What a booster learns: how far ln(1 + sales) lies from what the store's own means say."""
    return np.clip(np.log1p(sales) - features.base, -_FARTHEST, _FARTHEST)
