"""How often labels that come by chance take a version back, and how soon a really bad one goes: a year, many times."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[1] / "src")
    import promotion.cli.environment

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import click
import numpy as np

from promotion.config.policy import Monitoring
from promotion.evaluation.intervals import wilson
from promotion.monitoring.observe.figures import Labelled
from promotion.monitoring.observe.observation import Observation, Reading
from promotion.monitoring.observe.recent_windows import accuracy_lately
from promotion.monitoring.rollback_trigger import triggers

START = datetime(2026, 1, 1, tzinfo=UTC)
STEP = timedelta(hours=1)
"""Between two labels."""
LOOK = 100
"""Labels between two runs."""


@dataclass(frozen=True)
class Case:
    """A version: what it is worth, what it seemed to be worth at promotion, and on how many rows."""

    truth: float
    promised: float
    held_out: int


CASES = (
    Case(0.90, 0.90, 61),
    Case(0.90, 0.90, 430),
    Case(0.87, 0.90, 430),
    Case(0.85, 0.90, 430),
    Case(0.80, 0.90, 430),
    Case(0.75, 0.90, 430),
    Case(0.70, 0.90, 430),
    Case(0.70, 0.90, 61),
)


def labels_until_back(case: Case, labels: int, random: np.random.Generator, policy: Monitoring) -> int | None:
    """After how many labels the version is taken back; None if it stays."""
    value, low, high = wilson(int(random.binomial(case.held_out, case.promised)), case.held_out)
    promised = Reading(None, None, None, value, 0, enough=True, reference_low=low, reference_high=high)
    label = np.zeros(labels, dtype=np.int64)
    chosen = (random.random(labels) >= case.truth).astype(np.int64)
    times = np.array([round((START + STEP * place).timestamp() * 1e6) for place in range(labels)], dtype=np.int64)
    for end in range(LOOK, labels + 1, LOOK):
        # No more than the windows can hold.
        part = slice(max(0, end - policy.sustained.of * policy.sustained.minimum_labels), end)
        found = Labelled(START, START, end, times[part], chosen[part], label[part], np.empty(0))
        lately = accuracy_lately(found, promised, policy, START)
        seen = Observation(
            "any",
            "any",
            1,
            None,
            "champion",
            is_production=True,
            serves=True,
            since=START,
            until=START,
            rows=end,
            lately={"accuracy": lately},
        )
        if any(trigger.fires for trigger in triggers(seen, policy)):
            return end
    return None


@click.command()
@click.option("--labels", default=12_000, show_default=True, help="Labels a year.")
@click.option("--years", default=200, show_default=True, help="How many years of each case.")
def main(labels: int, years: int) -> None:
    """Print a row for each case."""
    policy, random = Monitoring(), np.random.default_rng(20261121)
    click.echo("really  at promotion (rows)  taken back within the year  labels until then, median")
    for case in CASES:
        found = [labels_until_back(case, labels, random, policy) for _ in range(years)]
        gone = [number for number in found if number is not None]
        median = f"{np.median(gone):,.0f}" if gone else "-"
        click.echo(
            f"{case.truth:6.2f}  {case.promised:12.2f} ({case.held_out:4})  {len(gone) / years:26.1%}  {median:>25}"
        )


if __name__ == "__main__":
    main()
