"""What the sandbox costs: 100,000 rows by a booster inside it, beside `mlflow.pyfunc` in the open; and its start.

    python benchmarks/sandbox.py                     100,000 rows of 20 columns, XGBoost with 300 trees

Both are asked with the same frame and answer all of it; start-up and loading are timed apart. Inside, rows go in and
answers come out through pipes, typed by the signature. The sandbox's start is an empty program in it, less the same
program without. Each figure is the median of some rounds, in turn.
"""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
    import promotion.cli.environment

import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import click
import numpy as np
import pandas as pd

from promotion.config.evidence import RunLimits
from promotion.evaluation.received import sandbox
from promotion.evaluation.received.columns import typed_rows
from promotion.evaluation.received.flavours import describe_model
from promotion.evaluation.received.process import ModelWorker

_LIMITS = RunLimits(code="sandbox")


@click.command()
@click.option("--rows", default=100_000, show_default=True)
@click.option("--columns", default=20, show_default=True)
@click.option("--trees", default=300, show_default=True)
@click.option("--rounds", default=5, show_default=True)
def main(rows: int, columns: int, trees: int, rounds: int) -> None:
    """Print one line a figure."""
    with TemporaryDirectory() as place:
        folder = Path(place) / "model"
        frame = _model(folder, rows, columns, trees)
        inside, outside = _scored(folder, frame, rounds)
        print(
            f"{rows:,} rows: in the open {outside:.2f} s, in the sandbox {inside:.2f} s, ratio {inside / outside:.2f}"
        )
        start = _started(folder, rounds)
        print(f"start of the sandbox beside the interpreter's own: {start:.2f} s")


def _model(folder: Path, rows: int, columns: int, trees: int) -> pd.DataFrame:
    """Save a booster, and make the rows."""
    import mlflow.xgboost
    import xgboost
    from mlflow.models import infer_signature

    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(rows, columns)), columns=[f"x{place}" for place in range(columns)])
    learned = frame.head(20_000)
    target = learned.sum(axis=1) + random.normal(size=len(learned))
    model = xgboost.XGBRegressor(n_estimators=trees).fit(learned, target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pins = ["mlflow", "xgboost"]
        mlflow.xgboost.save_model(model, str(folder), signature=infer_signature(learned), pip_requirements=pins)
    return frame


def _scored(folder: Path, frame: pd.DataFrame, rounds: int) -> tuple[float, float]:
    """Seconds for all rows, inside and in the open."""
    import mlflow.pyfunc

    function = mlflow.pyfunc.load_model(str(folder))
    model = describe_model(folder, classes=False)
    order = {**model.order, "loader": "mlflow", "path": ""}
    with ModelWorker(folder, order, _LIMITS, in_sandbox=True) as worker:

        def ask() -> object:
            return worker.predict(typed_rows(frame, model.inputs, list(frame.columns), "rows"), len(frame))

        ask()
        function.predict(frame)
        found = [(_seconds(ask), _seconds(lambda: function.predict(frame))) for _ in range(rounds)]
    return median(each[0] for each in found), median(each[1] for each in found)


def _started(folder: Path, rounds: int) -> float:
    """Seconds that an empty program takes longer inside."""
    python = Path(sys.executable)
    command = [str(python), "-c", ""]
    prefixes = sandbox.interpreter_prefixes(python)
    boxed = sandbox.sandboxed(command, sandbox.readable(folder), Path(__file__), _LIMITS, prefixes)

    def run(line: list[str]) -> Callable[[], object]:
        return lambda: subprocess.run(line, env=sandbox.environment(), check=True)  # noqa: S603  # our own lines

    found = [(_seconds(run(boxed)), _seconds(run(command))) for _ in range(rounds)]
    return median(each[0] for each in found) - median(each[1] for each in found)


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
