"""What one promotion costs on SQLite, without scoring, and whether it depends on the size of the registry.

Run it as `python benchmarks/promotion.py`; it works in a temporary folder and takes about a minute.
"""

from __future__ import annotations

import itertools
import logging
import os
import sqlite3
import statistics
import sys
import tempfile
import time
import warnings
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
import click

import promotion.cli.environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from promotion.service import PromotionService

VERSIONS = 20
"""Of each registered model."""


@click.command(help=__doc__)
@click.option(
    "--models", multiple=True, default=(1, 10, 100, 500), show_default=True, help="Registered models, growing."
)
@click.option("--promotions", default=20, show_default=True, help="In each registry.")
def main(models: tuple[int, ...], promotions: int) -> None:
    """Grow one registry step by step, promote in it, print a table."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "config").mkdir()
        (home / "artifact").mkdir()
        (home / "artifact" / "model.bin").write_bytes(b"0" * 100_000)
        os.environ["PROMOTION_HOME"] = folder
        service = _service()
        versions = itertools.cycle([1, 2])
        print("One promotion (synchronise, check, commit, project) of a model without configuration, milliseconds")
        print(f"{'models':>7} {'versions':>9} {'p50':>6} {'p95':>6} {'CPU p50':>8}")
        for count in models:
            _grow(home, count)
            if count == models[0]:
                _promote_in_turn(service, versions, promotions)  # imports, migrations, the first connection
            clock, processor = _promote_in_turn(service, versions, promotions)
            p50, p95 = statistics.median(clock), statistics.quantiles(clock, n=20)[-1]
            print(f"{count:>7} {count * VERSIONS:>9} {p50:>6.0f} {p95:>6.0f} {statistics.median(processor):>8.0f}")


def _service() -> PromotionService:
    from promotion.bootstrap import open_promotions
    from promotion.config.settings import Settings

    return open_promotions(Settings.from_environment())


def _grow(home: Path, models: int) -> None:
    """Bring the registry to that many models; the first by MLflow, the others copied as rows, which is faster."""
    from mlflow import MlflowClient

    client: Any = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    if not client.search_registered_models():
        client.create_registered_model("model-0")
        for _ in range(VERSIONS):
            client.create_model_version("model-0", source=str(home / "artifact"))
    with closing(sqlite3.connect(home / "mlflow.db")) as store, store:
        for table in ("registered_models", "model_versions"):
            columns = [row[1] for row in store.execute(f"PRAGMA table_info({table})")]
            copied = ", ".join({"name": "?", "current_stage": "'None'"}.get(column, column) for column in columns)
            for number in range(1, models):
                store.execute(
                    f"INSERT OR IGNORE INTO {table} SELECT {copied} FROM {table} WHERE name = 'model-0'",  # noqa: S608
                    (f"model-{number}",),
                )


def _promote_in_turn(
    service: PromotionService, versions: Iterator[int], promotions: int
) -> tuple[list[float], list[float]]:
    """Promote one version after the other of the same model; milliseconds by the clock and of the processor, each."""
    from promotion.service import Mover

    mover = Mover("benchmark", "measured")
    clock, processor = [], []
    for number in itertools.islice(versions, promotions):
        start, busy = time.perf_counter(), time.process_time()
        service.synchronise("model-0")
        plan = service.check(service.candidate("model-0", number))
        service.promote(plan, mover)
        clock.append((time.perf_counter() - start) * 1000)
        processor.append((time.process_time() - busy) * 1000)
    return clock, processor


if __name__ == "__main__":
    main()
