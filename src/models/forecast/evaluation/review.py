"""Two sales ensembles on the same last days: what a person checks before one of them goes to Production."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.forecast.data.sales import forecast_of, load_sales
from models.forecast.ensemble import Ensemble
from models.forecast.evaluation.anomalies import anomaly_table, best_days, disagreement_table, find_anomalies, has_none
from models.forecast.evaluation.holdout import cluster_interval
from models.forecast.evaluation.rmspe import squared_errors
from models.forecast.history import day_numbers
from models.forecast.rows import INPUT_COLUMNS
from models.forecast.windows import holdout, sold_rows
from promotion.config.family import FamilyConfig
from promotion.config.settings import Settings
from promotion.data.arrays import FloatArray
from promotion.errors import DataError
from promotion.gates.evidence import Interval
from promotion.pages import number
from promotion.pages.charts import Line, Timeline
from promotion.review.findings import NO, OPEN, YES, Check, Measure, ReviewFindings, Table, TableColumn, better

BIAS = 0.02
"""A bias below this share of sales is not worth a word, even where it is certain."""
WORSE = 1.10
"""A part is worse when its RMSPE is more than this times what it is compared with."""
RECENT_DAYS = 14
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class _Both:
    """Both versions' forecasts of the same rows, with sales above zero.

    Attributes:
        rows: Store, Date, Promo, and `type`, the kind of store.
        sales: Euros, shape (rows,).
        first: Forecast of the version under review.
        second: Forecast of the other one.
        seed: Of every drawing of stores.
    """

    rows: pd.DataFrame
    sales: FloatArray
    first: FloatArray
    second: FloatArray
    seed: int

    def only(self, chosen: NDArray[np.bool_]) -> _Both:
        return _Both(self.rows[chosen], self.sales[chosen], self.first[chosen], self.second[chosen], self.seed)

    def pair(
        self, figure: Callable[[FloatArray, FloatArray], FloatArray], *, of_root: bool
    ) -> tuple[Interval, Interval, Interval]:
        """A mean over rows, or its root, with a 95 % interval: of the first, the second, and their difference."""
        ours, theirs = figure(self.sales, self.first), figure(self.sales, self.second)
        # Of one store nothing but its days can be drawn.
        stores = self.rows["Store"].to_numpy()
        drawn_by = stores if (stores != stores[0]).any() else np.arange(len(stores))
        of_first, of_second, of_both = (
            cluster_interval(drawn_by, values, self.seed, of_root=of_root)
            for values in ([ours], [theirs], [ours, theirs])
        )
        return of_first, of_second, of_both


def review_forecasts(
    config: FamilyConfig, settings: Settings, first: Ensemble, second: Ensemble | None, names: tuple[str, ...]
) -> ReviewFindings:
    """Hold two ensembles against each other on the holdout, the last days of the family's data.

    Args:
        config: The family.
        settings: Where its data is.
        first: Under review.
        second: What it would replace; None where nothing serves yet.
        names: Of both, for people.

    Raises:
        DataError: The data is missing, breaks its contract, or has no row that both can forecast.
    """
    data = load_sales(config, settings.home)
    plan = forecast_of(config)
    window = holdout(int(day_numbers(data.rows["Date"]).max()), plan.horizon_days)
    rows = sold_rows(data.rows, window)
    models = [first, second] if second else [first]
    known = rows["Store"].isin(set.intersection(*map(_stores, models))).to_numpy()
    notes = [f"{(~known).sum()} rows of stores that one of both does not know are left out"] if not known.all() else []
    rows = rows[known].reset_index(drop=True)
    if rows.empty:
        raise DataError(
            f"{config.data.path}: no row of the last {plan.horizon_days} days that both versions can forecast"
        )
    inputs, sales = rows[list(INPUT_COLUMNS)], rows["Sales"].to_numpy(dtype=np.float64)
    kinds = rows["Store"].map(data.stores.set_index("Store")["StoreType"])
    answers = [model.predict(inputs) for model in models]
    both = _Both(rows.assign(type=kinds), sales, answers[0], answers[-1], plan.seed)
    seen = [name for name, model in zip(names, models, strict=True) if model.learned_until > window.origin]
    notes += [f"{name} has learned from some of these days: its figures flatter it" for name in seen]
    measures = _measures(both)
    types = _groups(both, both.rows["type"].astype(str), "store type ")
    weeks = _groups(both, _week(both.rows, window.origin), "from ")
    anomalies = find_anomalies(both.rows, both.first, both.second, best_days(data.rows, window.origin))
    checks = [
        *([better(measures[0], (names[0], names[1]), seen)] if second else []),
        _is_reasonable(types),
        _is_unbiased(measures[-1], types),
        _is_good_lately(both, window.last),
        has_none(anomalies, len(rows)),
    ]
    weekdays = both.rows["Date"].dt.day_of_week.map(dict(enumerate(_WEEKDAYS)))
    promo = both.rows["Promo"].map({0: "without promotion", 1: "with promotion"})
    tables = [
        _group_table("store_types", "By store type", types),
        _group_table("weeks", "By week, the newest last", weeks),
        _group_table("promotions", "With and without promotion", _groups(both, promo, "")),
        _group_table("weekdays", "By weekday", _groups(both, weekdays, "", order=_WEEKDAYS)),
        *([disagreement_table(both.rows, both.first, both.second)] if second else []),
        anomaly_table(anomalies),
    ]
    if second is None:
        measures = [replace(measure, second=None, difference=None) for measure in measures]
        tables = [_of_one(table) for table in tables]
    return ReviewFindings(
        rows=len(rows),
        about=f"days with sales of {rows['Store'].nunique()} stores, {window.label}, the last of {config.data.path}",
        checks=checks,
        measures=measures,
        tables=tables,
        notes=notes,
        timelines=[_residuals(both, has_second=second is not None)],
    )


def _of_one(table: Table) -> Table:
    """A table without what it says of the second version."""
    columns = [column for column in table.columns if not column.key.startswith("second")]
    return replace(table, columns=columns, drawn=table.drawn[:1])


def _residuals(both: _Both, *, has_second: bool) -> Timeline:
    """How far the forecasts of each day lie from its sales, on average over the stores."""
    by_day = both.rows.groupby("Date").indices

    def line(said: FloatArray) -> list[tuple[datetime, float | None]]:
        error = _ratio(both.sales, said)
        return [(pd.to_datetime(str(day)).to_pydatetime(), float(error[at].mean())) for day, at in by_day.items()]

    first = line(both.first)
    ends = first[0][0], first[-1][0] + timedelta(days=len(first) == 1)
    before = line(both.second) if has_second else []
    title = "Mean of forecast / sales − 1, each day"
    return Timeline(title, *ends, first, before, [Line(0.0, "promotion", "as sold")], spelling="+.0%")


def _stores(model: Ensemble) -> set[int]:
    return set(model.history.stores.tolist()) & set(model.stores["Store"].tolist())


def _measures(both: _Both) -> list[Measure]:
    return [
        Measure("RMSPE", *both.pair(squared_errors, of_root=True), lower_is_better=True, decides=True),
        Measure("MAPE", *both.pair(lambda sales, said: np.abs(said / sales - 1), of_root=False), lower_is_better=True),
        Measure("bias", *both.pair(_ratio, of_root=False)[:2], difference=None),
    ]


def _ratio(sales: FloatArray, forecast: FloatArray) -> FloatArray:
    return forecast / sales - 1


def _groups(both: _Both, labels: pd.Series, prefix: str, order: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Figures of each part of the rows."""
    found = []
    values = labels.to_numpy()
    for label in [name for name in order if (values == name).any()] or sorted(set(values)):
        part = both.only(values == label)
        ours, theirs, _ = part.pair(squared_errors, of_root=True)
        first, second, _ = part.pair(_ratio, of_root=False)
        found.append(
            {
                "part": f"{prefix}{label}",
                "rows": len(part.sales),
                "mean_sales": float(part.sales.mean()),
                "first_mean": float(part.first.mean()),
                "second_mean": float(part.second.mean()),
                "first_rmspe": ours.value,
                "second_rmspe": theirs.value,
                "first_interval": ours,
                "second_interval": theirs,
                "first_bias": first,
                "second_bias": second,
            }
        )
    return found


def _week(rows: pd.DataFrame, origin: int) -> pd.Series:
    start = (day_numbers(rows["Date"]) - origin - 1) // 7 * 7 + origin + 1
    return pd.Series(np.asarray(start, dtype="datetime64[D]").astype(str), index=rows.index)


def _group_table(anchor: str, title: str, rows: list[dict[str, Any]]) -> Table:
    columns = [
        TableColumn("part", "Part"),
        TableColumn("rows", "Rows", ",d"),
        TableColumn("mean_sales", "Mean sales", ",.0f"),
        TableColumn("first_interval", "RMSPE", ".4f"),
        TableColumn("second_interval", "RMSPE of the other", ".4f"),
        TableColumn("first_bias", "Bias", "+.1%"),
        TableColumn("second_bias", "Bias of the other", "+.1%"),
    ]
    note = (
        "Bias: mean of forecast / sales − 1; below zero it underestimates. Intervals of 95 % from drawing whole stores."
    )
    return Table(anchor, title, note, columns, rows, drawn=("first_bias", "second_bias"))


def _is_reasonable(types: list[dict[str, Any]]) -> Check:
    bad = [part for part in types if part["first_rmspe"] > WORSE * part["second_rmspe"]]
    listed = ", ".join(f"{part['part'].removeprefix('store type ')} {part['first_rmspe']:.4f}" for part in types)
    says = f"RMSPE by type: {listed}"
    if bad:
        named = ", ".join(f"{part['part']} {part['second_rmspe']:.4f}" for part in bad)
        says += f"; more than {WORSE - 1:.0%} worse than the other's: {named}"
    return Check("Predictions look reasonable across store types", NO if bad else YES, says)


def _is_unbiased(measure: Measure, types: list[dict[str, Any]]) -> Check:
    parts = [("all stores", measure.first), *((part["part"], part["first_bias"]) for part in types)]
    biased = [(name, bias) for name, bias in parts if abs(bias.value) >= BIAS and not bias.low <= 0 <= bias.high]
    says = f"{number(measure.first.value, '+.1%')} over all"
    says += f", {number(measure.second.value, '+.1%')} before" if measure.second else ""
    if biased:
        kinds = {True: "overestimates", False: "underestimates"}
        says += "; " + ", ".join(f"{kinds[bias.value > 0]} {name} by {abs(bias.value):.1%}" for name, bias in biased)
    return Check("No obvious bias", NO if biased else YES, says)


def _is_good_lately(both: _Both, last: int) -> Check:
    recent = day_numbers(both.rows["Date"]) > last - RECENT_DAYS
    now, then = both.only(recent), both.only(~recent)
    question = f"Performs well on the last {RECENT_DAYS} days"
    if not len(now.sales) or not len(then.sales):
        return Check(question, OPEN, "no sales there, or none before")
    ours, theirs, before = (
        float(np.sqrt(squared_errors(part.sales, said).mean()))
        for part, said in ((now, now.first), (now, now.second), (then, then.first))
    )
    is_bad = ours > WORSE * theirs or ours > WORSE * before
    says = f"RMSPE {ours:.4f}, the other {theirs:.4f}; {before:.4f} on the days before"
    return Check(question, NO if is_bad else YES, says)
