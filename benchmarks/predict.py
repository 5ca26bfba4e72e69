"""What the default engine costs beside what it cannot avoid: making features, and the boosters' own predict.

    python benchmarks/predict.py                     a million rows of 1,115 invented stores, CSV and Parquet

The baseline makes the features of all open rows at once and asks each booster once; rows of closed stores cost it
nothing. The engine answers the same rows chunk by chunk from memory. Reading with its checks, and writing, are timed
apart; the command does all of it. Each figure is the median of some rounds, baseline and engine in turn.
"""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
    import promotion.cli.environment

import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import click
import pandas as pd

from models.forecast import ENSEMBLE
from models.forecast.data.inputs import SalesFileRows, Span
from models.forecast.data.provision import provide_sales
from models.forecast.data.sales import forecast_of, load_sales
from models.forecast.ensemble import Ensemble
from models.forecast.features import build_features
from models.forecast.history import day_numbers
from models.forecast.rows import checked_rows
from models.forecast.training.training import train_ensemble
from promotion.artifacts.files import local_artifact
from promotion.config.family import FamilyConfig, load_config
from promotion.config.settings import REPOSITORY, Settings
from promotion.data.tables import CHUNK_ROWS, TableFile
from promotion.lookup import find_version
from promotion.prediction.batch import Done, predict_table
from promotion.prediction.predict_rows import answer
from promotion.registry.open import open_registry

FAMILY = "rossmann-ensemble"
_WARM_UP_DAYS = 100

Cost = tuple[float, float]
"""Seconds, and seconds of processor time."""


@click.command()
@click.option("--stores", default=1115, show_default=True, help="Invented stores.")
@click.option("--rows", default=1_000_000, show_default=True, help="Rows to predict, the newest ones.")
@click.option("--rounds", default=3, show_default=True, help="How often each figure is taken.")
def main(stores: int, rows: int, rounds: int) -> None:
    """Train a small ensemble on invented stores, then measure."""
    with TemporaryDirectory(prefix="predict-") as folder:
        home = Path(folder)
        uri = f"sqlite:///{home / 'mlflow.db'}"
        settings = replace(
            Settings.from_environment(),
            home=home,
            tracking_uri=uri,
            registry_uri=uri,
            database_url=f"sqlite:///{home / 'promotion.db'}",
        )
        config = load_config(REPOSITORY / "config", FAMILY)
        plan = forecast_of(config).model_copy(update={"invented_stores": stores})
        config = config.model_copy(update={"forecast": plan})
        provide_sales(config, home)
        train_ensemble(config, settings, sample=True)
        registry = open_registry(settings)
        version = find_version(registry, FAMILY, 1)
        with local_artifact(registry, version) as artifact:
            model = Ensemble.load(artifact / ENSEMBLE)
        kept = _newest(load_sales(config, home).rows, rows)
        sources = [home / "rows.csv", home / "rows.parquet"]
        kept.to_csv(sources[0], index=False)
        kept.to_parquet(sources[1], index=False)
        tidy = checked_rows(kept, model.stores, "rows")
        members = ", ".join(f"{member.name} {member.booster.rounds} rounds" for member in model.members)
        print(f"{len(tidy):,} rows, {(tidy['Open'] == 1).sum():,} of them open, {stores} stores; {members}")
        baseline, engine = [], []
        for _ in range(rounds):
            baseline.append(_cost(partial(_baseline, model, tidy)))
            engine.append(_cost(partial(_engine, model, tidy)))
        _print("features and boosters' own predict", baseline)
        _print("default engine, from memory", engine, baseline)
        for source in sources:
            reading = partial(_read, SalesFileRows(source, Span()), model)
            _print(f"read and check {source.suffix}", [_cost(reading) for _ in range(rounds)])
        found = pd.concat(_answered(model, tidy))
        for suffix in (".csv", ".parquet"):
            writing = partial(_write, found, home / f"out{suffix}")
            _print(f"write {suffix}", [_cost(writing) for _ in range(rounds)])
        for source in sources:
            target = home / f"whole{source.suffix}"
            whole = [_cost(partial(_command, settings, config, source, target)) for _ in range(rounds)]
            _print(f"read, load, predict, write {source.suffix}", whole, baseline)


def _newest(data: pd.DataFrame, count: int) -> pd.DataFrame:
    """So many rows with enough past to be forecast, the newest first; the newest once more where there are too few."""
    days = day_numbers(data["Date"])
    known = data[days > days.min() + _WARM_UP_DAYS].iloc[::-1]
    dated = known.assign(Date=known["Date"].dt.strftime("%Y-%m-%d"))
    found: pd.DataFrame = pd.concat([dated] * (1 + count // len(dated)), ignore_index=True).head(count)
    return found


def _baseline(model: Ensemble, tidy: pd.DataFrame) -> None:
    part = tidy[tidy["Open"] == 1]
    features = build_features(part, model.stores, model.history, model.origins(day_numbers(part["Date"])))
    for member in model.members:
        member.booster.predict(features.table)


def _engine(model: Ensemble, tidy: pd.DataFrame) -> None:
    for _ in _answered(model, tidy):
        pass


def _answered(model: Ensemble, tidy: pd.DataFrame) -> Iterator[pd.DataFrame]:
    for start in range(0, len(tidy), CHUNK_ROWS):
        part = tidy.iloc[start : start + CHUNK_ROWS]
        yield pd.concat([part[["Store", "Date"]], answer(model, part)], axis="columns")


def _read(asked: SalesFileRows, model: Ensemble) -> None:
    for _ in asked.chunks(model):
        pass


def _write(found: pd.DataFrame, path: Path) -> None:
    labelled = found.assign(row=range(len(found)), model=FAMILY, version=1, run_id="0" * 32)
    with TableFile(path) as table:
        for start in range(0, len(labelled), CHUNK_ROWS):
            table.write(labelled.iloc[start : start + CHUNK_ROWS])
        table.publish({})


def _command(settings: Settings, config: FamilyConfig, source: Path, target: Path) -> Done:
    """What the command does behind its options, MLflow's record included."""
    registry = open_registry(settings)
    return predict_table(
        registry,
        settings,
        config,
        find_version(registry, FAMILY, 1),
        SalesFileRows(source, Span()),
        output=target,
        engine="pandas",
        progress=lambda *_progress: None,
    )


def _cost(work: Callable[[], object]) -> Cost:
    begin, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begin, time.process_time() - used


def _print(name: str, costs: list[Cost], bare: list[Cost] | None = None) -> None:
    seconds, cpu = (median(each) for each in zip(*costs, strict=True))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    line = f"{name:<38}{seconds:8.2f} s {cpu:8.2f} s of processor time {memory:6.2f} GB peak so far"
    if bare is not None:
        ratios = (mine / median(theirs) for mine, theirs in zip((seconds, cpu), zip(*bare, strict=True), strict=True))
        line += "  x {:.3f}, of processor time x {:.3f}".format(*ratios)
    print(line, flush=True)


if __name__ == "__main__":
    main()
