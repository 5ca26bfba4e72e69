"""How the ensemble learns: every fold and the final fit see only what was known before their window."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.forecast.booster import Booster, Fit, Sample
from models.forecast.boosters import BOOSTERS
from models.forecast.data.sales import Sales
from models.forecast.ensemble import Ensemble, Euros, Member
from models.forecast.evaluation.rmspe import fit_weights, rmspe
from models.forecast.features import Features, build_features
from models.forecast.history import History, day_numbers
from models.forecast.windows import Window, days_needed, folds_before, holdout, sold_rows, training_rows
from promotion.config.forecasting import View
from promotion.errors import DataError

# Days further off than this, in ln(sales), are accidents: they count, but not with all their distance.
_FARTHEST = 0.5
# Origins each day is learned from, evenly spread over the horizon: a booster that sees a day from one distance only
# takes that distance's accidents for rules, most of all where the past is short.
_ORIGINS = 3

LearningProgress = Callable[[str, int, int], None]
"""Told the booster at work, how many rounds are done, and how many there may be."""


@dataclass(frozen=True, slots=True)
class LearningPlan:
    """What a training may do; the family's file says it.

    Attributes:
        horizon: Days a forecast reaches.
        folds: Windows before the final one on which weights and rounds are chosen.
        half_life: Days after which a row counts half.
        warm_up: Days of history before the first origin.
        fold_rows: Rows a fold learns from, at most; drawn at random.
        final_rows: The same for the final fit.
        rounds: Rounds of boosting, at most.
        patience: Rounds without gain before a fold stops.
        seed: Of everything random.
        threads: A booster may use.
        params: Each booster's own parameters, by name.
        views: How each booster looks at the past, by name.
    """

    horizon: int
    folds: int
    half_life: float
    warm_up: int
    fold_rows: int
    final_rows: int
    rounds: int
    patience: int
    seed: int
    threads: int
    params: Mapping[str, Mapping[str, Any]]
    views: Mapping[str, View]


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
    """

    ensemble: Ensemble
    window: Window
    folds: Mapping[str, Sequence[FoldForecast]]

    def cross_validation(self) -> dict[str, list[float]]:
        """RMSPE by member and of the ensemble, one number a fold, newest first."""
        scores = {name: [rmspe(fold.sales, fold.forecast) for fold in folds] for name, folds in self.folds.items()}
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
        plan: LearningPlan,
        progress: LearningProgress = lambda _name, _done, _total: None,
        report: Callable[[str], None] = lambda _title: None,
    ) -> None:
        self._plan = plan
        self._progress = progress
        self._report = report
        self._stores = data.stores
        self._sold = data.rows[data.rows["Sales"] > 0].reset_index(drop=True)
        self.history = History.of(data.rows)
        self._folds: dict[tuple[str, Window], FoldForecast] = {}

    def learn(self, window: Window | None = None) -> Learned:
        """Learn what is needed to forecast a window, from nothing but the days before it.

        Args:
            window: By default the last `plan.horizon` days of the data.

        Raises:
            ConfigError: A booster refuses a parameter.
            DataError: The sales do not reach far enough back.
        """
        window = window or holdout(self.history.last_day, self._plan.horizon)
        self._require_past(window)
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
        return Learned(ensemble, window, folds)

    def sold_in(self, window: Window) -> pd.DataFrame:
        """The rows of a window that a forecast can be judged on."""
        return sold_rows(self._sold, window)

    def _require_past(self, window: Window) -> None:
        """Refuse a history whose oldest fold would have nothing to learn from."""
        plan = self._plan
        length = window.last - window.origin
        needed = days_needed(length, plan.folds, plan.horizon, plan.warm_up)
        days = window.last - self.history.first_day + 1
        if days < needed:
            raise DataError(
                f"{days} days of sales are too few, at least {needed} are needed: {length} held out, {plan.folds} "
                f"windows of {length} before them, {plan.horizon} to learn from and {plan.warm_up} of warm-up; bring "
                "older sales, or lower forecast.folds, horizon_days or warm_up_days"
            )

    def _fold(self, name: str, window: Window) -> FoldForecast:
        key = (name, window)
        if key not in self._folds:
            rows = self.sold_in(window)
            features = build_features(rows, self._stores, self.history, np.full(len(rows), window.origin))
            stop = Sample(features.table, self._target(name, rows, features), np.ones(len(rows)))
            learn = self._sample(name, window.origin, self._plan.fold_rows)
            member = self._train(name, learn, stop, self._plan.rounds)
            sales = rows["Sales"].to_numpy(dtype=np.float64)
            self._folds[key] = FoldForecast(window, member.booster, sales, member.forecast(features))
        return self._folds[key]

    def _final(self, name: str, window: Window, folds: Sequence[FoldForecast]) -> Member:
        rounds = max(1, round(float(np.mean([fold.booster.rounds for fold in folds]))))
        return self._train(name, self._sample(name, window.origin, self._plan.final_rows), None, rounds)

    def _train(self, name: str, learn: Sample, stop: Sample | None, rounds: int) -> Member:
        plan, kind = self._plan, BOOSTERS[name]
        fit = Fit(plan.params[name], rounds, plan.patience, plan.seed, plan.threads)
        booster = kind.train(learn, stop, fit, lambda done: self._progress(kind.title, done, rounds))
        return Member(booster, learns_level=self._view(name).learns == "level")

    def _sample(self, name: str, last_known: int, most: int) -> Sample:
        """What a booster learns from when nothing behind `last_known` is known."""
        plan, first = self._plan, self._view(name).origin_offset
        past = training_rows(
            self._sold,
            last_known,
            horizon=plan.horizon,
            offsets=[first + place * plan.horizon // _ORIGINS for place in range(min(_ORIGINS, plan.horizon))],
            first_origin=self.history.first_day + plan.warm_up,
        )
        chosen = np.arange(len(past.rows))
        if chosen.size > most:
            chosen = np.sort(np.random.default_rng(plan.seed).choice(chosen, most, replace=False))
        rows = past.rows.iloc[chosen]
        features = build_features(rows, self._stores, self.history, past.origins[chosen])
        weight = np.exp2(-past.age[chosen] / plan.half_life)
        target = self._target(name, rows, features)
        usable = np.isfinite(target)
        return Sample(features.table[usable], target[usable], weight[usable])

    def _target(self, name: str, rows: pd.DataFrame, features: Features) -> NDArray[np.float64]:
        """What a booster learns of each row."""
        deviation = np.log1p(rows["Sales"].to_numpy(dtype=np.float64)) - features.base
        near = np.clip(deviation, -_FARTHEST, _FARTHEST)
        target: NDArray[np.float64] = features.base + near if self._view(name).learns == "level" else near
        return target

    def _view(self, name: str) -> View:
        return self._plan.views.get(name, View())
