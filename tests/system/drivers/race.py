"""Let long-lived processes promote versions of one registered model at the same moment, round after round.

Each line on standard input is a round: `{"numbers": [...], "release": "promote" | "whole" | "rollback"}`, one version
for each process. The answer, one line of JSON, says of each process how its promotion ended and how long it took.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[3] / "src")

from promotion.bootstrap import open_promotions
from promotion.config.settings import Settings
from promotion.errors import ProjectionIncomplete, PromotionError
from promotion.rollbacks import roll_back
from promotion.service import Move, Mover, PromotionPlan, PromotionService

RACERS = 4
PATIENCE = 100.0  # seconds until a process that never answers counts as hanging


def run(orders: Connection, barrier: Barrier, model: str) -> None:
    """One process: a service opened once, then a promotion for each order."""
    service = open_promotions(Settings.from_environment())
    while (order := orders.recv()) is not None:
        number, release = order
        started = time.monotonic()
        try:
            if release == "whole":
                barrier.wait(PATIENCE)
            mover = Mover(f"racer {number}", "a race")
            if release == "rollback":
                promotion = _back(service, model, number, mover, barrier)
            else:
                plan = _check(service, model, number)
                if release == "promote":
                    barrier.wait(PATIENCE)
                started = time.monotonic()
                promotion = service.promote(plan, mover)
            code, error = (ProjectionIncomplete.exit_code if promotion.unprojected else 0), promotion.unprojected
        except PromotionError as refused:
            code, error = refused.exit_code, f"{type(refused).__name__}: {refused}"
        except Exception as unexpected:  # noqa: BLE001  # the test must see it instead of waiting
            code, error = -1, repr(unexpected)
        orders.send({"number": number, "code": code, "error": error, "seconds": time.monotonic() - started})


def _check(service: PromotionService, model: str, number: int) -> Any:
    candidate = service.candidate(model, number)
    service.synchronise(service.family(model))
    return service.check(candidate)


def _back(service: PromotionService, model: str, number: int, mover: Mover, barrier: Barrier) -> Move:
    """A rollback that waits for the others when its target is proven."""

    def checked(_plan: PromotionPlan) -> None:
        barrier.wait(PATIENCE)

    return roll_back(service, model, number, mover, force=True, keep_version_good=True, on_checked=checked)


def main(model: str) -> None:
    """Start the processes, and pass rounds and answers on."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(RACERS)
    ends = []
    for _ in range(RACERS):
        ours, theirs = context.Pipe()
        context.Process(target=run, args=(theirs, barrier, model), daemon=True).start()
        ends.append(ours)
    for line in sys.stdin:
        order = json.loads(line)
        for end, number in zip(ends, order["numbers"], strict=True):
            end.send((number, order["release"]))
        answers = [end.recv() if end.poll(PATIENCE) else {"code": None, "error": "no answer"} for end in ends]
        print(json.dumps(answers), flush=True)  # noqa: T201  # the answer to the test
    for end in ends:
        end.send(None)


if __name__ == "__main__":
    main(sys.argv[1])
