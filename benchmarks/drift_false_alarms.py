"""How often drift is told where nothing drifted, and how often what the field sees is told: many runs, on counts."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[1] / "src")
    import promotion.cli.environment

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click
import numpy as np
from scipy import stats

from promotion.config.policy import Monitoring
from promotion.data.arrays import FloatArray
from promotion.export.documents import code_counts, value_histogram
from promotion.monitoring.drift.classes import Bins
from promotion.monitoring.drift.comparison import compare_distributions
from promotion.monitoring.observe.observation import Drift, Observation
from promotion.monitoring.thresholds import judge

AT = datetime(2026, 1, 1, tzinfo=UTC)
REFERENCES = (242, 1_000, 20_000)
LIVE = (200, 1_000, 10_000, 100_000)
MEASURED = (
    *(stats.norm(), stats.norm(50, 10), stats.uniform(), stats.expon(), stats.lognorm(1), stats.lognorm(2)),
    *(stats.t(2), stats.cauchy(), stats.pareto(1), stats.beta(0.3, 0.3)),
)
"""Of a column each, from no tail at all to tails without a mean."""
CODES = (np.array([0.5, 0.5]), np.array([0.97, 0.03]), (share := 1 / np.arange(1.0, 61.0)) / share.sum())
"""Shares of codes, of a column each."""
Change = Callable[[FloatArray], FloatArray]


def _top_decile(values: FloatArray) -> FloatArray:
    return np.where(values >= np.quantile(values, 0.9), 10 * values, values)


def _some(values: FloatArray) -> FloatArray:
    return np.where(np.arange(len(values)) % 50 == 0, 12 * values, values)


def _inside(values: FloatArray) -> FloatArray:
    """Every decile holds as many as before, all in its middle."""
    edges = stats.norm(50, 10).ppf(np.linspace(0.005, 0.995, 11))
    place = np.clip(np.searchsorted(edges, values) - 1, 0, 9)
    middles: FloatArray = (edges[place] + edges[place + 1]) / 2
    return middles


CHANGES: dict[str, Change] = {
    "top decile × 10": _top_decile,
    "2 % of the values × 12": _some,
    "shape inside deciles": _inside,
    "half a standard deviation": lambda values: values + 5,
}


def unchanged(reference: int, live: int, runs: int, random: np.random.Generator) -> int:
    """In how many runs any of thirteen columns is told, reference and live rows being drawn from one distribution."""
    columns: list[list[Drift]] = []
    for place, drawn in enumerate(MEASURED):
        many = []
        for _ in range(runs):
            found = value_histogram(drawn.rvs(reference, random_state=random))
            bins = Bins.measured(found["edges"], found["counts"])
            shares = np.diff([0.0, *drawn.cdf(bins.cuts), 1.0])
            counts = np.append(random.multinomial(live, shares), 0)
            many.append(compare_distributions(f"x{place}", "feature", bins, counts, minimum_rows=200))
        columns.append(many)
    for place, shares in enumerate(CODES):
        many = []
        for drawn in random.multinomial(reference, shares, size=runs):
            seen = drawn > 0
            bins = Bins.coded({str(code): int(drawn[code]) for code in np.flatnonzero(seen)})
            counts = random.multinomial(live, shares)
            known = np.array([*counts[seen], counts[~seen].sum(), 0])
            many.append(compare_distributions(f"c{place}", "feature", bins, known, minimum_rows=200))
        columns.append(many)
    return sum(is_told(list(run)) for run in zip(*columns, strict=True))


def changed(change: Change, reference: int, live: int, runs: int, random: np.random.Generator) -> int:
    """In how many runs one column of thirteen is told that changed."""
    told = 0
    for _ in range(runs):
        found = value_histogram(random.normal(50, 10, reference))
        bins = Bins.measured(found["edges"], found["counts"])
        counts = bins.count(change(random.normal(50, 10, live)))
        drift = compare_distributions("x", "feature", bins, counts, minimum_rows=200)
        told += is_told([drift] * len((*MEASURED, *CODES)))
    return told


def is_told(drifts: list[Drift]) -> bool:
    """Whether a run of the monitor says so, an info included."""
    seen: Any = Observation(
        "any", "any", 1, None, "champion", is_production=True, serves=True, since=AT, until=AT, rows=1, drift=drifts
    )
    return any(finding.level for finding in judge(seen, Monitoring()) if finding.key.startswith("drift:"))


@click.command()
@click.option("--runs", default=1_000, show_default=True, help="Runs of each row of the first table.")
def main(runs: int) -> None:
    """Print a table of false alarms, and one of changes that are told."""
    random = np.random.default_rng(20261130)
    click.echo("| reference rows | " + " | ".join(f"{live:,} live" for live in LIVE) + " |")
    click.echo("|---" * (len(LIVE) + 1) + "|")
    for reference in REFERENCES:
        shares = [f"{unchanged(reference, live, runs, random) / runs:.1%}" for live in LIVE]
        click.echo(f"| {reference:,} | {' | '.join(shares)} |")
    some = max(runs // 20, 1)
    click.echo(f"\n| what changed | {' | '.join(f'{reference:,} / {live:,}' for reference, live in SIZES)} |")
    click.echo("|---" * (len(SIZES) + 1) + "|")
    for name, change in CHANGES.items():
        shares = [f"{changed(change, *size, some, random) / some:.0%}" for size in SIZES]
        click.echo(f"| {name} | {' | '.join(shares)} |")


SIZES = ((242, 200), (242, 10_000), (1_000, 1_000), (20_000, 1_000), (20_000, 100_000))
"""Reference and live rows."""


if __name__ == "__main__":
    main()
