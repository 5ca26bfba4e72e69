"""Who counts a log: this process, or the workers of Spark; both count by the same plan and give the same numbers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from zipfile import ZipFile

from promotion.config.settings import PACKAGE
from promotion.errors import DataError
from promotion.monitoring.observe.counting import Count, CountingPlan
from promotion.monitoring.observe.log_files import Part, find_parts, read

CountingEngine = Literal["pandas", "spark"]
Counter = Callable[[str, datetime, CountingPlan], Count]


def count_here(source: str, earliest: datetime, plan: CountingPlan) -> Count:
    """Count in this process, a block at a time.

    Args:
        source: See `promotion.monitoring.observe.log_files.find_parts`.
        earliest: See there.
        plan: What to count.

    Raises:
        UsageError: There is no log.
        DataError: It cannot be read.
    """
    total = Count()
    for part in find_parts(source, earliest):
        _count_part(total, part, plan)
    return total


def count_with_spark(source: str, earliest: datetime, plan: CountingPlan) -> Count:
    """Count on Spark's workers, each its share of the files; raises as `count_here` does.

    `spark-submit` or `SPARK_MASTER` name the cluster, this machine by default. The workers open the files themselves:
    the source must be one that all of them reach. They are sent this package; what it needs must be installed there.
    """
    from py4j.protocol import Py4JError
    from pyspark.sql import SparkSession

    parts = find_parts(source, earliest, split=True)
    if not parts:
        return Count()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    # Handed on to the workers, who then know a row by the same hash.
    os.environ["PYTHONHASHSEED"] = "0"
    builder = SparkSession.builder.appName(f"monitor {plan.family}").config("spark.ui.enabled", "false")
    if master := os.environ.get("SPARK_MASTER"):
        builder = builder.master(master)
    try:
        session = builder.getOrCreate()
        try:
            total = _collected(session.sparkContext, parts, plan)
        finally:
            session.stop()
    except Py4JError as error:
        # The beginning names the cause; pages of Java follow.
        summary = " ".join(str(error).split())[:200]
        raise DataError(f"Spark could not count {source}: {summary}") from error
    # Of a row that two workers met nobody knows whose to take back: one process sees them both.
    return count_here(source, earliest, plan) if total.shared else total


def _collected(context: Any, parts: list[Part], plan: CountingPlan) -> Count:
    with TemporaryDirectory() as folder:
        context.addPyFile(_package(Path(folder)))
        shared = context.broadcast(plan)
        counts = context.parallelize(parts, len(parts)).map(lambda part: _apart(part, shared.value))
        total = Count()
        for count, problem in counts.collect():
            if problem is not None:
                raise DataError(problem)
            total.add(count)
        return total


def _package(folder: Path) -> str:
    """The modules that workers need, as a file that Spark sends them."""
    archive = folder / "monitor.zip"
    with ZipFile(archive, "w") as file:
        for module in sorted(PACKAGE.rglob("*.py")):
            file.write(module, module.relative_to(PACKAGE.parent))
    return str(archive)


COUNTERS: dict[CountingEngine, Counter] = {"pandas": count_here, "spark": count_with_spark}


def _apart(part: Part, plan: CountingPlan) -> tuple[Count, str | None]:
    """What a worker counted, or why it could not: an exception would come home as pages of Java."""
    count = Count()
    try:
        _count_part(count, part, plan)
    except DataError as error:
        return count, str(error)
    return count, None


def _count_part(total: Count, part: Part, plan: CountingPlan) -> None:
    blocks = read(part, plan.names, plan.schema)
    # The next block is read and parsed while this one is counted.
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = reader.submit(next, blocks, None)
            total.take(plan, block)
