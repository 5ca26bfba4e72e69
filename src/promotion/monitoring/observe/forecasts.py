"""Observe a family that foretells sales: its forecasts beside what was sold, once the days have passed."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from promotion.errors import DataError, UsageError
from promotion.monitoring.observe.observation import Arrival, LeftOut, Observation, Reading, Service, Slice
from promotion.monitoring.observe.performance import reading
from promotion.monitoring.observe.watch import SLICES, KnownVersion, VersionKey, Watch

_STORE, _DATE, _FORECAST = "Store", "Date", "prediction"
_KEY = [_STORE, _DATE]
_RESAMPLES = 2000
_SEED = 20261121
_SUFFIXES = (".csv", ".parquet")


def observe_forecasts(watch: Watch, known: KnownVersion) -> list[Observation]:
    """What every version foretold for the days of the window; the one that foretold last comes first.

    The log is the table that `predict.py --output` writes; the labels are the sales, by store and date. A row's time is
    the day it is about. Days that are still to come are not looked at, and no mistake.

    Args:
        watch: What to look at; the engine is this process.
        known: What is known beside the log.

    Raises:
        UsageError: There is no such file.
        DataError: It cannot be read, or columns are missing.
    """
    if watch.engine != "pandas":
        raise UsageError(f"{watch.config.family!r} foretells sales: its tables are read by this process, not by Spark")
    target = watch.config.target.column
    rows = _read(Path(watch.source), [*_KEY, _FORECAST, "model", "version"])
    conflicting = 0
    if watch.labels is None:
        rows[target] = np.nan
    else:
        sales, conflicting = _sales(watch.labels, target)
        rows = rows.merge(sales, on=_KEY, how="left")
    earliest = watch.until - watch.window - (watch.policy.label_delay if watch.labels else timedelta())
    bad = int(rows[[_DATE, _FORECAST]].isna().any(axis="columns").sum())
    rows = rows.dropna(subset=[_DATE, _FORECAST])
    rows = rows[(rows[_DATE] > earliest) & (rows[_DATE] <= watch.until)]
    left_out = LeftOut(bad_lines=bad, conflicting_labels=conflicting)
    by_version = {_version(key): group for key, group in rows.groupby(["model", "version"])}
    newest = max(by_version, key=lambda version: (by_version[version][_DATE].max(), version[1]), default=None)
    serving = newest or known.production
    if serving is not None:
        by_version.setdefault(serving, rows.iloc[:0])
    found = [
        _observation(watch, known, version, group, serves=version == serving, left_out=left_out)
        for version, group in by_version.items()
    ]
    return sorted(found, key=lambda it: (not it.serves, it.model, -it.version))


def rmspe_and_mae(sales: Any, forecast: Any, store: Any) -> dict[str, tuple[float, float, float]]:
    """Root mean square percentage error over rows with sales, and mean absolute error in the target's unit.

    Their 95 % intervals resample whole stores, because the errors of one store are alike (cluster bootstrap; Cameron,
    Gelbach & Miller 2008, Review of Economics and Statistics 90:414-427).

    Args:
        sales: What was sold, shape (rows,).
        forecast: What was foretold, shape (rows,).
        store: Which store each row is of, shape (rows,).

    Returns:
        Value, lower and upper end by name; without the RMSPE where nothing was sold.
    """
    sold = sales > 0
    table = pd.DataFrame(
        {
            "squared": np.where(sold, (1 - forecast / np.where(sold, sales, 1)) ** 2, 0.0),
            "sold": sold.astype(float),
            "absolute": np.abs(sales - forecast),
            "rows": 1.0,
        }
    )
    sums = table.groupby(np.asarray(store)).sum().to_numpy()
    drawn = sums[np.random.default_rng(_SEED).integers(0, len(sums), (_RESAMPLES, len(sums)))].sum(axis=1)
    found = {}
    for name, value, sample in (
        ("rmspe", _root(sums.sum(axis=0)), _root(drawn)),
        ("mae", sums[:, 2].sum() / sums[:, 3].sum(), drawn[:, 2] / drawn[:, 3]),
    ):
        if np.isfinite(value):
            low, high = np.nanquantile(sample, [0.025, 0.975])
            found[name] = (float(value), float(low), float(high))
    return found


def _root(sums: Any) -> Any:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt(sums[..., 0] / sums[..., 1])


def _observation(
    watch: Watch, known: KnownVersion, version: VersionKey, rows: pd.DataFrame, *, serves: bool, left_out: LeftOut
) -> Observation:
    target, since = watch.config.target.column, watch.until - watch.window
    inside = rows[rows[_DATE] > since]
    labelled = rows.dropna(subset=[target])
    ends: tuple[datetime, datetime] | None = None
    coverage = None
    if len(labelled):
        newest = labelled[_DATE].max().to_pydatetime()
        ends = newest - watch.window, newest
        in_period = rows[(rows[_DATE] > ends[0]) & (rows[_DATE] <= ends[1])]
        labelled = labelled[labelled[_DATE] > ends[0]]
        coverage = len(labelled) / len(in_period)
    return Observation(
        family=watch.config.family,
        model=version[0],
        version=version[1],
        semver=known.semver.get(version),
        role="champion",
        is_production=known.production == version if known.is_recorded else None,
        serves=serves,
        since=since,
        until=watch.until,
        rows=len(inside),
        labelled=len(labelled),
        labelled_since=ends[0] if ends else None,
        labelled_until=ends[1] if ends else None,
        coverage=coverage,
        metrics=_readings(labelled, target, known.metrics.get(version, {}), watch.policy.minimum_labels),
        service=Service(problem="forecasts are made in batches, no server answers"),
        slices=_trend(labelled, target, ends) if ends else [],
        arrivals=[Arrival(inside[_DATE].min().to_pydatetime(), *version)] if len(inside) else [],
        left_out=left_out,
    )


def _readings(rows: pd.DataFrame, target: str, reference: Any, minimum: int) -> dict[str, Reading]:
    found = rmspe_and_mae(*(rows[name].to_numpy() for name in (target, _FORECAST, _STORE))) if len(rows) else {}
    enough = len(rows) >= minimum
    return {name: reading(found.get(name), reference.get(name), len(rows), enough=enough) for name in ("rmspe", "mae")}


def _trend(rows: pd.DataFrame, target: str, ends: tuple[datetime, datetime]) -> list[Slice]:
    step = (ends[1] - ends[0]) / SLICES
    found = []
    for number in range(SLICES):
        since, until = ends[0] + step * number, ends[0] + step * (number + 1)
        part = rows[(rows[_DATE] > since) & (rows[_DATE] <= until)]
        values: dict[str, float | None] = {}
        if len(part):
            measured = rmspe_and_mae(*(part[name].to_numpy() for name in (target, _FORECAST, _STORE)))
            values = {name: value for name, (value, _, _) in measured.items()}
        found.append(Slice(since, until, 0, len(part), values))
    return found


def _sales(path: Path, target: str) -> tuple[pd.DataFrame, int]:
    """What was sold by store and date, and how many of these stand there twice with different sales."""
    table = _read(path, [*_KEY, target]).dropna().drop_duplicates()
    twice = table.duplicated(_KEY, keep=False)
    return table[~twice], len(table[twice].drop_duplicates(_KEY))


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"{path}: forecasts and sales come as {' or '.join(_SUFFIXES)}, as predict.py writes them")
    try:
        table = pd.read_parquet(path) if path.suffix.lower() == ".parquet" else pd.read_csv(path, low_memory=False)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        summary = " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read: {summary}") from error
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise DataError(f"{path}: column {missing[0]!r} is missing: expected {', '.join(columns)}")
    table = table[columns].copy()
    table[_DATE] = pd.to_datetime(table[_DATE], errors="coerce", utc=True, format="ISO8601")
    for name in {_STORE, _FORECAST, columns[2]} & set(columns):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    return table


def _version(key: Any) -> VersionKey:
    model, version = key
    return str(model), int(version)
