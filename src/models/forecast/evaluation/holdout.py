"""What a sales ensemble is worth on the days it has not learned from, for the promotion gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from models.forecast.data.sales import forecast_of, load_sales
from models.forecast.ensemble import Ensemble
from models.forecast.evaluation.rmspe import rmspe, squared_errors
from models.forecast.history import day_numbers
from models.forecast.rows import INPUT_COLUMNS
from models.forecast.windows import days_needed, holdout, sold_rows
from promotion.config.family import FamilyConfig
from promotion.data.arrays import FloatArray
from promotion.errors import ArtifactRefused, DataError, PromotionError
from promotion.evaluation.cost import measure
from promotion.evaluation.holdout import ContractEvaluator, ScoredModel, paired_answers
from promotion.evaluation.loading import load_artifact
from promotion.gates.evidence import Evaluation, Interval, Measurement

RESAMPLES = 2000
METRICS = ("rmspe", "mape", "bias")


@dataclass(frozen=True, slots=True)
class Holdout:
    """The last days of the data.

    Attributes:
        rows: Days with sales, of stores that sold something before; the Sales column is taken off before a model
            sees them.
        sales: Euros, shape (rows,).
        sha256: Digest of the data.
    """

    rows: pd.DataFrame
    sales: FloatArray
    sha256: str


def score_ensemble(sales: FloatArray, forecast: FloatArray) -> dict[str, float]:
    """RMSPE, mean absolute percentage error and mean percentage error (bias), rows without sales ignored."""
    sold = sales > 0
    ratio = forecast[sold] / sales[sold] - 1
    values = {"rmspe": rmspe(sales, forecast), "mape": float(np.abs(ratio).mean()), "bias": float(ratio.mean())}
    return {name: values[name] for name in METRICS}


def rmspe_interval(rows: pd.DataFrame, first: FloatArray, second: FloatArray | None, seed: int) -> Interval:
    """RMSPE of a forecast, or its difference from a second one's, with its interval; see `cluster_interval`.

    Args:
        rows: Columns Store and Sales, sales above zero.
        first: Euros, shape (rows,).
        second: Euros, shape (rows,).
        seed: Of the drawing.
    """
    sales = rows["Sales"].to_numpy(dtype=np.float64)
    errors = [squared_errors(sales, forecast) for forecast in (first, second) if forecast is not None]
    return cluster_interval(rows["Store"], errors, seed, of_root=True)


def cluster_interval(drawn_by: ArrayLike, values: Sequence[FloatArray], seed: int, *, of_root: bool) -> Interval:
    """A mean over rows, or the first minus the second of two, with a 95 % percentile-bootstrap interval.

    Whole stores are drawn, because the days of one store err together (cluster bootstrap, Davison & Hinkley 1997,
    chapter 3.8); both means are of the same drawn stores.

    Args:
        drawn_by: What each row is drawn with, its store.
        values: One or two, each of shape (rows,).
        seed: Of the drawing.
        of_root: Whether the root of each mean is wanted.
    """
    _, store = np.unique(drawn_by, return_inverse=True)
    counts = np.bincount(store).astype(np.float64)
    draws = np.random.default_rng(seed).multinomial(len(counts), np.full(len(counts), 1 / len(counts)), RESAMPLES)
    drawn = np.concatenate([np.ones((1, len(counts))), draws])
    means = [(drawn @ np.bincount(store, weights=each)) / (drawn @ counts) for each in values]
    means = [np.sqrt(mean) for mean in means] if of_root else means
    found = means[0] if len(means) == 1 else means[0] - means[1]
    low, high = np.quantile(found[1:], [0.025, 0.975])
    return Interval(float(found[0]), float(low), float(high))


class ForecastEvaluator(ContractEvaluator):
    """Scores sales ensembles on one family's last days; those that learned from some of them are refused."""

    def evaluate(self, artifact: Path) -> ScoredModel:
        """Load the model under `artifact` and score it on the holdout; raises as `Evaluator.evaluate`."""
        held = self._holdout
        ensemble = _load(artifact)
        if ensemble.learned_until >= int(day_numbers(held.rows["Date"]).min()):
            until = np.datetime64(ensemble.learned_until, "D")
            raise PromotionError(
                f"the model has learned from days until {until}, inside the holdout: its score would mean nothing"
            )
        try:
            forecast = ensemble.predict(held.rows[list(INPUT_COLUMNS)])
        except DataError as error:
            raise PromotionError(f"the model cannot score the holdout: {error}") from error
        if not np.isfinite(forecast).all():
            raise PromotionError("the model cannot score the holdout: some of its forecasts are no finite numbers")
        return ScoredModel(score_ensemble(held.sales, forecast), len(held.rows), held.sha256, forecast)

    def difference(self, candidate: Evaluation, production: Evaluation, metric: str) -> Interval:
        """Candidate minus Production in RMSPE on the same rows, so below zero is better, with its interval.

        Raises:
            PromotionError: The two were not scored on the same rows, or the metric is another.
        """
        held = self._holdout
        if metric != "rmspe":
            raise PromotionError(f"unknown metric {metric!r}: forecasts are compared by rmspe")
        ours, theirs = paired_answers(candidate, production, held.sha256)
        return rmspe_interval(held.rows, ours, theirs, forecast_of(self._config).seed)

    @property
    def data_sha256(self) -> str:
        """Digest of the data files."""
        return self._holdout.sha256

    def load(self, artifact: Path) -> None:
        """Load the model under `artifact` and do nothing with it; raises as `evaluate` does for the artifact."""
        _load(artifact)

    def measure(self, artifact: Path) -> Measurement:
        """What one-row requests cost with the model under `artifact`; see `promotion.evaluation.cost`."""
        rows = self._holdout.rows[list(INPUT_COLUMNS)]
        return measure(artifact, rows.assign(Date=rows["Date"].dt.strftime("%Y-%m-%d")))

    def split_problems(self, trained: Mapping[str, Any]) -> list[str]:  # noqa: ARG002  # the protocol's
        """None: a model that has learned from the holdout is not scored."""
        return []

    def data_problems(self) -> list[str]:
        """What is wrong with the family's data; empty when all is well."""
        try:
            data = load_sales(self._config, self._home)
        except DataError as error:
            summary, *lines = error.lines
            return [line.removeprefix("- ") for line in lines] or [summary]
        plan = forecast_of(self._config)
        days = day_numbers(data.rows["Date"])
        needed = days_needed(plan.horizon_days, plan.folds, plan.horizon_days, plan.warm_up_days)
        found = int(days.max() - days.min()) + 1
        return [f"{found} days, expected at least {needed}"] if found < needed else []

    @cached_property
    def _holdout(self) -> Holdout:
        data = load_sales(self._config, self._home)
        days = day_numbers(data.rows["Date"])
        window = holdout(int(days.max()), forecast_of(self._config).horizon_days)
        rows = sold_rows(data.rows, window)
        return Holdout(rows, rows["Sales"].to_numpy(dtype=np.float64), data.sha256)


def _load(artifact: Path) -> Ensemble:
    model = load_artifact(artifact)
    if not isinstance(model, Ensemble):
        raise ArtifactRefused(f"{artifact}: expected a sales ensemble, found {type(model).__name__}")
    return model
