"""What a version costs to run, measured in a process of its own, so that neither we nor the version pay for the other.

How: a fresh interpreter without MLflow loads the registered model with `evaluation.loading.load_artifact`, answers 20
requests to warm up and then three blocks of at most 200 requests, each one raw row of the family's test rows in a data
frame, as serving would pass it. Every pool of threads is held at one thread. The garbage collector runs as it
always does. A block ends early after a second: a slow model's figures rest on fewer requests, `requests` says how many.

Noise: other work on the machine can only add to a latency. Of the three blocks the one with the lowest 95th percentile
is reported, as the one disturbed least. That forgives a disturbance of a second or two. For a machine that is busy all
the time the system counts how long each request waited for a processor (proc(5), schedstat): the 95th percentile
without that wait stands beside the one on the clock, with the load of the machine, and the gate does not hold the wait
against the model. What a busy machine costs besides, colder caches, stays in: on two cores shared with two endless
loops and other work a 7 ms model took 11 to 18 ms of CPU time. Its memory was the same.

Limits: it is the registered pipeline in Python that is measured, on this machine's processor, not the exported ONNX
model in its server (which is faster and smaller, but adds HTTP); and one request at a time, so no queueing.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promotion.errors import ArtifactRefused, PromotionError
from promotion.evaluation.cost_worker import BLOCK_REQUESTS
from promotion.evaluation.received.process import shared_environment
from promotion.gates.evidence import Measurement

if TYPE_CHECKING:
    import pandas as pd

TIMEOUT_SECONDS = 120.0
THREAD_POOLS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
)


def measure(artifact: Path, rows: pd.DataFrame, *, timeout: float = TIMEOUT_SECONDS) -> Measurement:
    """Measure the model under `artifact` on one-row requests; the module says how, and what the figures are not.

    Args:
        artifact: Folder of the model, with its MLmodel file.
        rows: Raw rows to ask with, at least one; rows × features.
        timeout: Seconds after which the process is ended.

    Raises:
        ArtifactRefused: The artifact is not one we load.
        PromotionError: The model crashes, fails on a row or does not end in time; the message says which.
    """
    try:
        process = subprocess.run(  # noqa: S603  # our own interpreter and module
            [sys.executable, "-P", "-m", "promotion.evaluation.cost_worker", str(artifact)],
            input=_document(rows.head(BLOCK_REQUESTS)),
            env=worker_environment(),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PromotionError(
            f"{artifact}: measuring did not end within {timeout:g} s: the model hangs or the machine is overloaded; "
            "try again when it is idle"
        ) from error
    if process.returncode or not process.stdout:
        raise PromotionError(f"{artifact}: the measuring process {_ending(process.returncode, process.stderr)}")
    figures: dict[str, Any] = json.loads(process.stdout)
    if "refused" in figures:
        raise ArtifactRefused(figures["refused"])
    if "failed" in figures:
        raise PromotionError(f"{artifact}: the model cannot answer a request of one row: {figures['failed']}")
    return Measurement(**figures)


def worker_environment() -> dict[str, str]:
    """Environment of the measuring process: the same, with one thread a pool."""
    return {**shared_environment(), **dict.fromkeys(THREAD_POOLS, "1")}


def _document(rows: pd.DataFrame) -> str:
    types = {str(name): str(dtype) for name, dtype in rows.dtypes.items()}
    return json.dumps({"columns": list(types), "types": types, "rows": rows.to_numpy(dtype=object).tolist()})


def _ending(code: int, talk: str) -> str:
    """Why the process ended, from its exit code and the last line it said."""
    if code == -signal.SIGKILL:
        return "was killed, as the system does when memory runs out: it needs more than this machine has free"
    if code < 0:
        return f"crashed with {signal.Signals(-code).name}: the model or a library it uses is broken"
    last = talk.strip().splitlines()[-1:] or ["it said nothing"]
    return f"ended with exit code {code}: {last[0]}"
