"""Answer rows with Apache Spark: the same loader and the same function as without, spread over its executors.

The version's own files are not run: they travel inside a temporary MLflow model whose code is this project's, so that
executors need nothing but the packages, and refuse what `promotion.evaluation.loading.load_artifact` refuses.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from promotion.config.settings import PACKAGE
from promotion.data.arrays import with_cells
from promotion.errors import PromotionError, UsageError
from promotion.evaluation.tasks import checkout_models
from promotion.registry.tracking import quiet

VERSION = "version"
_HERE = Path(__file__).resolve().parent
_MODEL = "spark_model.py"
# Features of a row depend on its own store's past, which is summarised once a batch: few large batches are cheap.
_BATCH_ROWS = 100_000
_ROW = "row"


class SparkUnusable(UsageError):
    """Java is not installed, or too old."""


@contextmanager
def spark_answers(folder: Path) -> Iterator[Any]:
    """A function that answers checked rows on Spark.

    The session is the one `spark-submit` or Spark's own configuration describes; without any, this machine's cores.

    Yields:
        Takes checked rows, returns what `promotion.prediction.predict_rows.answer` returns.

    Raises:
        SparkUnusable: Java is missing.
        PromotionError: Inside, when Spark fails.
    """
    session = _session()
    try:
        with TemporaryDirectory(prefix="spark-") as scratch, quiet():
            model = _wrapped(folder, Path(scratch))
            yield lambda rows: _answer(session, model, rows)
    finally:
        session.stop()


def _session() -> Any:
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    # Executors on this machine run in this environment, whatever `python3` is on the path.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    try:
        session = (
            SparkSession.builder.appName("predict")
            .config("spark.ui.enabled", "false")
            .config("spark.ui.showConsoleProgress", "false")
            .config("spark.sql.execution.arrow.pyspark.enabled", "true")
            .config("spark.sql.execution.arrow.maxRecordsPerBatch", str(_BATCH_ROWS))
            .getOrCreate()
        )
    except (PySparkException, OSError) as error:
        summary = " ".join(str(error).split())
        raise SparkUnusable(
            "--engine spark cannot start Spark, which needs Java 17 or newer (Debian: apt-get install "
            f"default-jre-headless), or JAVA_HOME set to one ({summary})"
        ) from error
    session.sparkContext.setLogLevel("ERROR")
    return session


def _wrapped(folder: Path, scratch: Path) -> Path:
    """An MLflow model of the version's files and of this project's code that reads them."""
    import mlflow.pyfunc

    code = scratch / "code"
    for package in filter(None, (checkout_models(), PACKAGE)):
        shutil.copytree(package, code / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    model = scratch / "model"
    mlflow.pyfunc.save_model(
        model,
        python_model=str(_HERE / _MODEL),
        artifacts={VERSION: str(folder)},
        code_paths=[str(path) for path in sorted(code.iterdir())],
        pip_requirements=[],
    )
    return model


def _answer(session: Any, model: Path, rows: pd.DataFrame) -> pd.DataFrame:
    import mlflow.pyfunc
    import pyarrow as pa
    from pyspark.errors import PySparkException
    from pyspark.sql.functions import col, struct

    # Spark reads dots and backticks in a name, and tells no case: its columns go by their place.
    places = [f"c{place}" for place in range(rows.shape[1])]
    plain = _plain(rows).set_axis(places, axis="columns").assign(**{_ROW: range(len(rows))})
    table = pa.Table.from_pandas(plain, preserve_index=False)
    row = struct(*[col(place).alias(name) for place, name in zip(places, rows.columns, strict=True)])
    try:
        predict = mlflow.pyfunc.spark_udf(
            session, str(model), result_type="prediction double, probability double", env_manager="local"
        )
        frame = session.createDataFrame(table).repartition(session.sparkContext.defaultParallelism)
        found = frame.select(_ROW, predict(row).alias("answer")).select(_ROW, "answer.*").toArrow()
    except PySparkException as error:
        raise PromotionError(f"Spark failed: {_summary(error)}") from error
    answers: pd.DataFrame = found.to_pandas().sort_values(_ROW).drop(columns=_ROW).set_axis(rows.index)
    if answers["probability"].isna().all():
        return answers[["prediction"]]
    return answers.astype({"prediction": "int64"})


def _plain(rows: pd.DataFrame) -> pd.DataFrame:
    """Days as text, as they stand in a file: a model takes both."""
    days = rows.select_dtypes("datetime")
    return with_cells(rows, {str(name): cells.dt.strftime("%Y-%m-%d") for name, cells in days.items()})


def _summary(error: Exception) -> str:
    """The last line of what an executor said, which names the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.strip().startswith("at ")]
    return lines[-1] if lines else type(error).__name__


logging.getLogger("py4j").setLevel(logging.ERROR)
