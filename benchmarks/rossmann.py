"""How good the sales ensemble is on past windows, against a plain LightGBM; or what each stage of it costs.

    python benchmarks/rossmann.py --train train.csv --store store.csv    quality on the last four windows of real data
    python benchmarks/rossmann.py --stores 1115                          cost of each stage on invented data

Each window is predicted by an ensemble that learned, chose its rounds and fitted its weights before the window's first
day; so was the member chosen that somebody without an ensemble would have sent: the best one in the folds before the
window. The plain LightGBM knows calendar, promotion and store table, each store as a category, and learns ln(sales).
"""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
    import promotion.cli.environment

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import pandas as pd

from models.forecast.data.generator import invent_sales
from models.forecast.data.sales import Sales, read_sales
from models.forecast.evaluation.rmspe import rmspe
from models.forecast.features import build_features
from models.forecast.history import History, day_numbers
from models.forecast.training.learning import Learner
from models.forecast.training.training import plan_of, train_ensemble
from models.forecast.windows import Window, folds_before, holdout, origins_of
from promotion.config.family import FamilyConfig, load_config
from promotion.config.settings import REPOSITORY, Settings

FAMILY = "rossmann-ensemble"
_PLAIN: dict[str, Any] = {
    "n_estimators": 600,
    "num_leaves": 63,
    "learning_rate": 0.05,
    "subsample": 0.8,
    "subsample_freq": 1,
    "colsample_bytree": 0.8,
    "random_state": 0,
    "n_jobs": 1,
    "verbose": -1,
}


@click.command()
@click.option("--train", "sales_file", type=click.Path(path_type=Path), help="Kaggle's train.csv.")
@click.option("--store", "store_file", type=click.Path(path_type=Path), help="Kaggle's store.csv.")
@click.option("--windows", default=4, show_default=True, help="How many windows of 42 days, newest first.")
@click.option(
    "--between", nargs=2, default=(1, 10**9), help="Numbers of the first and the last real store to learn from."
)
@click.option("--stores", default=20, show_default=True, help="Invented stores, where no files are given.")
@click.option("--threads", type=int, help="Threads a booster may use; all cores by default.")
def main(
    sales_file: Path | None,
    store_file: Path | None,
    windows: int,
    between: tuple[int, int],
    stores: int,
    threads: int | None,
) -> None:
    """Measure quality on real files, or cost on invented ones."""
    config = load_config(REPOSITORY / "config", FAMILY)
    if sales_file and store_file:
        data = read_sales(sales_file, store_file, config.data)
        data = replace(data, rows=data.rows[data.rows["Store"].between(*between)])
        measure_quality(config, data, windows, threads)
    else:
        measure_cost(config, stores)


def measure_quality(config: FamilyConfig, data: Sales, windows: int, threads: int | None) -> None:
    """Print RMSPE of the plain LightGBM, each member and the ensemble, a line a window."""
    plan = plan_of(config)
    learner = Learner(data, replace(plan, threads=threads or plan.threads))
    last = holdout(learner.history.last_day, plan.horizon)
    names = ["plain", *plan.params, "ensemble"]
    print(f"{'window':<26}" + "".join(f"{name:>10}" for name in names) + "   ensemble/best")
    table = []
    chosen: list[str] = []
    for window in [last, *folds_before(last, windows - 1)]:
        rows = learner.sold_in(window)
        sales = rows["Sales"].to_numpy(dtype=float)
        learned = learner.learn(window)
        ensemble = learned.ensemble
        features = build_features(rows, data.stores, learner.history, np.full(len(rows), window.origin))
        forecasts = {member.name: member.forecast(features) for member in ensemble.members}
        forecasts["ensemble"] = sum(
            (ensemble.weights[name] * forecast for name, forecast in forecasts.items()), np.zeros(len(rows))
        )
        scores = [_plain(data, window, rows), *(rmspe(sales, forecast) for forecast in forecasts.values())]
        table.append(scores)
        past = learned.cross_validation()
        chosen.append(min(ensemble.weights, key=lambda name: float(np.mean(past[name]))))
        weights = ", ".join(f"{weight:.2f}" for weight in ensemble.weights.values())
        _print_scores(window.label, scores, f"weights {weights}; its folds would have chosen {chosen[-1]}")
    found = np.array(table)
    _print_scores("mean", list(found.mean(axis=0)), "")
    rivals = {
        "the member that its folds would have chosen": found[range(windows), [names.index(name) for name in chosen]],
        "the member with the best mean of all windows": found[:, 1 + found[:, 1:-1].mean(axis=0).argmin()],
        "the member that each window itself names": found[:, 1:-1].min(axis=1),
        "plain": found[:, 0],
    }
    for rival, scores in rivals.items():
        wins = int((found[:, -1] < scores).sum())
        print(f"the ensemble beats {rival} in {wins} of {windows} windows (mean {scores.mean():.4f})")


def _print_scores(label: str, scores: list[float], note: str) -> None:
    ratio = scores[-1] / min(scores[1:-1])
    print(f"{label:<26}" + "".join(f"{score:>10.4f}" for score in scores) + f"   {ratio:.3f}  {note}", flush=True)


def _plain(data: Sales, window: Window, rows: pd.DataFrame) -> float:
    """RMSPE of a LightGBM on what everybody would try first, fitted on the days before the window."""
    from lightgbm import LGBMRegressor

    past = data.rows[(data.rows["Sales"] > 0) & (day_numbers(data.rows["Date"]) <= window.origin)]
    model = LGBMRegressor(**_PLAIN)
    model.fit(_plain_features(past, data.stores), np.log(past["Sales"]))
    return rmspe(rows["Sales"].to_numpy(dtype=float), np.exp(model.predict(_plain_features(rows, data.stores))))


def _plain_features(rows: pd.DataFrame, stores: pd.DataFrame) -> pd.DataFrame:
    table = rows.drop(columns=["Sales", "Open"]).merge(stores, on="Store")
    date = table.pop("Date")
    table = table.assign(
        weekday=date.dt.day_of_week,
        year=date.dt.year,
        month=date.dt.month,
        day=date.dt.day,
        day_of_year=date.dt.day_of_year,
        week=date.dt.isocalendar().week.astype("int64"),
    )
    texts = table.columns[~table.dtypes.map(pd.api.types.is_numeric_dtype)]
    # LightGBM keeps the categories it has learned, so that a value means the same in every window.
    return table.astype(dict.fromkeys(["Store", *texts], "category"))


def measure_cost(config: FamilyConfig, stores: int) -> None:
    """Print seconds and peak memory so far of each stage, on invented stores."""
    with TemporaryDirectory(prefix="rossmann-") as folder:
        home = Path(folder)
        settings = replace(
            Settings.from_environment(),
            home=home,
            tracking_uri=f"sqlite:///{home / 'mlflow.db'}",
            registry_uri=f"sqlite:///{home / 'mlflow.db'}",
            database_url=f"sqlite:///{home / 'promotion.db'}",
        )
        files = home / config.data.path, home / config.forecast.stores if config.forecast else home
        files[0].parent.mkdir(parents=True)
        with _stage("invent"):
            invented = invent_sales(stores)
        with _stage("write CSV"):
            invented.train.to_csv(files[0], index=False)
            invented.store.to_csv(files[1], index=False)
        with _stage("read and check"):
            data = read_sales(*files, config.data)
        print(f"{'':<28}{len(data.rows):,} rows, {stores} stores")
        with _stage("features of every row"):
            days = day_numbers(data.rows["Date"])
            history = History.of(data.rows)
            known = data.rows[days > history.first_day + 42]
            origins = origins_of(day_numbers(known["Date"]), history.last_day, 42)
            build_features(known, data.stores, history, origins)
        with _stage("train, register, record"):
            result = train_ensemble(config, settings)
        print(f"{'':<28}holdout RMSPE {result.examined.holdout['rmspe']:.4f}")


@contextmanager
def _stage(name: str) -> Iterator[None]:
    begin, used = time.perf_counter(), time.process_time()
    yield
    seconds, cpu = time.perf_counter() - begin, time.process_time() - used
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{name:<28}{seconds:8.1f} s  {cpu:8.1f} s CPU  {memory:6.2f} GB peak", flush=True)


if __name__ == "__main__":
    main()
