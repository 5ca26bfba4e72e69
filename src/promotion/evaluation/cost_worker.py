"""The process a model is measured in: nothing but what scoring needs, so that its memory is the model's own cost."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from promotion.errors import ArtifactRefused
from promotion.evaluation.processor import peak_resident, waited_ns

WARM_UP_REQUESTS = 20
BLOCKS = 3
BLOCK_REQUESTS = 200
# Ends warm-up and blocks of a slow model early: a second a request is known to be slow after one request.
BLOCK_SECONDS = 1.0
TAIL = 0.95


def measured_answer(artifact: Path, document: str) -> dict[str, Any]:
    """Load the model and time it.

    Args:
        artifact: Folder of the model.
        document: JSON object with `columns`, `types` (pandas dtype a column) and `rows` (cells).

    Returns:
        The figures of `gates.evidence.Measurement`; or only `refused` or `failed` with the reason in one line.
    """
    import pandas as pd

    from promotion.evaluation.loading import load_artifact

    table = json.loads(document)
    frame = pd.DataFrame(table["rows"], columns=table["columns"]).astype(table["types"])
    try:
        model = load_artifact(artifact)
    except ArtifactRefused as error:
        return {"refused": str(error)}
    try:
        figures = timed(
            getattr(model, "predict_proba", None) or model.predict, [frame.iloc[[row]] for row in range(len(frame))]
        )
    except Exception as error:  # noqa: BLE001  # a model may fail in any way; the parent reports it
        return {"failed": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    return {**figures, "peak_memory_mb": peak_memory() / 1e6}


def timed(
    predict: Callable[[Any], Any],
    requests: Sequence[Any],
    cpu_clock: Callable[[], int] = time.process_time_ns,
    wait_clock: Callable[[], int] = waited_ns,
) -> dict[str, Any]:
    """Time `predict` on one request after the other, in blocks, and keep the least disturbed block.

    Args:
        predict: Called with one request.
        requests: At least one; they take turns.
        cpu_clock: CPU time of whoever answers, in nanoseconds; this process by default.
        wait_clock: How long they waited for a processor, in nanoseconds; likewise.

    Returns:
        `latency_p50_ms`, `latency_p95_ms`, `undisturbed_p95_ms`, `waiting` and `cpu_ms_per_request` of the block with
        the lowest 95th percentile; `requests`: number of requests of all blocks; `load`: of the machine, a core.
    """
    import numpy as np

    turns = cycle(requests)
    clocks = cpu_clock, wait_clock
    _block(predict, turns, WARM_UP_REQUESTS, clocks)
    blocks = [_block(predict, turns, BLOCK_REQUESTS, clocks) for _ in range(BLOCKS)]
    latencies, waits, cpu = min(blocks, key=lambda block: float(np.quantile(block[0], TAIL)))
    undisturbed = np.maximum(np.subtract(latencies, waits), 0)
    return {
        "latency_p50_ms": float(np.median(latencies)) / 1e6,
        "latency_p95_ms": float(np.quantile(latencies, TAIL)) / 1e6,
        "undisturbed_p95_ms": float(np.quantile(undisturbed, TAIL)) / 1e6,
        "waiting": 1 - float(undisturbed.sum() / max(np.sum(latencies), 1)),
        "cpu_ms_per_request": cpu / len(latencies) / 1e6,
        "requests": sum(len(block[0]) for block in blocks),
        "load": os.getloadavg()[0] / (os.cpu_count() or 1),
    }


def _block(
    predict: Callable[[Any], Any],
    turns: Iterator[Any],
    size: int,
    clocks: tuple[Callable[[], int], Callable[[], int]],
) -> tuple[list[int], list[int], int]:
    """Latency of each request, how long of it a processor was waited for, and CPU time of them all, in nanoseconds."""
    cpu_clock, wait_clock = clocks
    latencies: list[int] = []
    waits: list[int] = []
    cpu, start = cpu_clock(), time.perf_counter_ns()
    for request in islice(turns, size):
        waited, before = wait_clock(), time.perf_counter_ns()
        predict(request)
        after = time.perf_counter_ns()
        latencies.append(after - before)
        waits.append(wait_clock() - waited)
        if after - start > BLOCK_SECONDS * 1e9:
            break
    return latencies, waits, cpu_clock() - cpu


def peak_memory() -> int:
    """Peak resident memory of this process since its program started, in bytes."""
    return peak_resident() or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS, where it is in bytes


def main() -> None:
    """Read rows from standard input, measure the artifact named on the command line, answer as JSON."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as pipe:
        # Whatever a library prints must not end up inside the answer.
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        json.dump(measured_answer(Path(sys.argv[1]), sys.stdin.read()), pipe)


if __name__ == "__main__":
    main()
