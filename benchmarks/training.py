"""Measure what explicit requirements save: our training beside the same one with MLflow's default `log_model` calls.

Both sides run as real processes, in turns, each in a home of its own with an empty MLflow store (MLflow takes two
seconds to create one, once). The default call is
`log_model(model, name=..., registered_model_name=...)` with the `skops_trusted_types` without which MLflow refuses the
trees, and nothing else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import click

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = REPOSITORY / "src"
SIDES = ("ours", "default")
TARGETS = {"log and register three candidates": 1 / 10, "all of train.py": 1 / 2}
_MARK = "seconds logging and registering:"


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Runs of each side; the table shows medians.")
@click.option("--side", type=click.Choice(SIDES), hidden=True, help="Be one measured process.")
def main(rounds: int, side: str | None) -> None:
    """Print a table: seconds of both sides, their ratio, and the ratio that is promised."""
    if side:
        _train(side)
        return
    measured: dict[str, dict[str, list[float]]] = {task: {name: [] for name in SIDES} for task in TARGETS}
    with tempfile.TemporaryDirectory() as folder:
        store = _empty_store(Path(folder))
        for number in range(rounds):
            # Whoever goes first has the colder disk cache; take turns.
            for name in SIDES if number % 2 == 0 else reversed(SIDES):
                logging, whole = _measure(name, store)
                for task, seconds in zip(TARGETS, (logging, whole), strict=True):
                    measured[task][name].append(seconds)
                click.echo(f"round {number + 1}, {name}: {logging:.2f} s of {whole:.2f} s", err=True)
    click.echo(f"{'median of ' + str(rounds) + ' runs':<36}{'ours':>9}{'default':>10}{'ratio':>8}{'target':>9}")
    for task, target in TARGETS.items():
        ours, default = (median(measured[task][name]) for name in SIDES)
        click.echo(f"{task:<36}{ours:>7.2f} s{default:>8.2f} s{ours / default:>8.3f}   ≤{target:>5.2f}")


def _empty_store(folder: Path) -> Path:
    """MLflow's tables in a SQLite file."""
    store = folder / "mlflow.db"
    code = "import sys, mlflow; mlflow.MlflowClient(sys.argv[1]).search_registered_models()"
    subprocess.run([sys.executable, "-c", code, f"sqlite:///{store}"], check=True, capture_output=True)  # noqa: S603
    return store


def _measure(side: str, store: Path) -> tuple[float, float]:
    """Train once in a fresh home; returns the seconds spent logging and registering, and those of the whole process."""
    with tempfile.TemporaryDirectory() as home:
        for name in ("config", "data"):
            shutil.copytree(REPOSITORY / name, Path(home) / name)
        shutil.copy(store, home)
        environment = {**os.environ, "PROMOTION_HOME": home}
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "PROMOTION_DATABASE_URL"):
            environment.pop(name, None)
        start = time.perf_counter()
        answer = subprocess.run(  # noqa: S603  # ourselves
            [sys.executable, __file__, "--side", side],
            env=environment,
            cwd=home,
            check=True,
            capture_output=True,
            text=True,
        )
        whole = time.perf_counter() - start
    logging = next(line for line in answer.stderr.splitlines() if line.startswith(_MARK))
    return float(logging.removeprefix(_MARK)), whole


def _train(side: str) -> None:
    """Run train.py's own command with a clock around each call that logs and registers."""
    sys.path.insert(0, str(SOURCES))
    from models.train import main as train
    from models.training import packaging, recording

    log: Callable[..., int] = packaging.log_and_register if side == "ours" else _log_by_default
    seconds: list[float] = []

    def timed(*arguments: Any, **named: Any) -> int:
        start = time.perf_counter()
        version = log(*arguments, **named)
        seconds.append(time.perf_counter() - start)
        return version

    setattr(recording, packaging.log_and_register.__name__, timed)
    train(args=[], standalone_mode=False)
    click.echo(f"{_MARK} {sum(seconds)}", err=True)


def _log_by_default(_run: Any, model: Any, _config: Any, name: str, _features: Any, _tags: Any, **_rest: Any) -> int:
    import mlflow.sklearn

    from promotion.artifacts.trusted_types import TRUSTED_TYPES

    information = mlflow.sklearn.log_model(
        model, name="model", registered_model_name=name, skops_trusted_types=sorted(TRUSTED_TYPES)
    )
    return int(information.registered_model_version)


if __name__ == "__main__":
    main()
