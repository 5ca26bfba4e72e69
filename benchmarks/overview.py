"""Measures `promotion page` on 200 families with a past, whole processes from their start.

Each family has 20 versions in MLflow, of which every second one served, a version that waits for two approvals, a gate
report, an alert, a run of the monitor and a deployment.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click

if __name__ == "__main__":
    ROOT = Path(__file__).resolve().parents[1]
    sys.path[0] = str(ROOT)
    sys.path.insert(1, str(ROOT / "src"))

from benchmarks.registry_read import build

from promotion.journal.database import Database
from promotion.journal.journal import Journal
from promotion.journal.monitoring import MonitoringRun, add_run, open_book
from promotion.journal.records import Authority, Change, Entry
from promotion.journal.systems.deployments import add_deployment
from promotion.registry.stages import Stage

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "registry-page.py"
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Version:
    """What identifies a version of a registered model."""

    model: str
    number: int
    run_id: str | None = None


@click.command(help=__doc__)
@click.option("--families", default=200, show_default=True, help="Registered models, each its own family.")
@click.option("--versions", default=20, show_default=True, help="Versions of each, at least three.")
@click.option("--rounds", default=5, show_default=True, help="Measurements; the median is printed.")
def main(families: int, versions: int, rounds: int) -> None:
    """Build, measure, print a Markdown table."""
    with TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "config").mkdir()
        build(home / "mlflow.db", families, versions)
        journal = Journal(Database(f"sqlite:///{home / 'promotion.db'}"))
        for number in range(families):
            _live(journal, f"model-{number:03}", versions)
        seconds = statistics.median(_measured(home, rounds))
        size = (home / "reports" / "index.html").stat().st_size / MEGABYTE
        click.echo(f"{families} families x {versions} versions, whole process, median of {rounds}\n")
        click.echo("| families | seconds | MB |\n|---:|---:|---:|")
        click.echo(f"| {families} | {seconds:.2f} | {size:.2f} |")


def _live(journal: Journal, family: str, versions: int) -> None:
    """A past: every second version served, the last but one does, the one before it waits."""
    config = f"family: {family}\nregistered_model: {family}\napprovals: {{roles: [risk, data scientist]}}\n"
    (Path(journal.database.file or "").parent / "config" / f"{family}.yaml").write_text(config, encoding="utf-8")
    for number in [*range(1, versions - 2, 2), versions - 1]:
        _enter(journal, family, number)
    serving = journal.production(family)
    if serving is None:
        raise click.ClickException(f"{family}: nothing serves")
    waiting = Version(family, versions - 2)
    staged = [Change(waiting, Stage.STAGING)]
    journal.move(family, staged, Authority("stage", "anna", "validated"), expected_production=serving.id)
    journal.mark_done(journal.pending(family))
    journal.save_report(
        family=family,
        version=waiting,
        target=Stage.PRODUCTION,
        passed=False,
        report={"passed": False},
        evidence="e" * 64,
        actor="jenkins",
    )
    with open_book(journal, family) as book:
        book.add(serving.id, "accuracy", "warning", {"text": "accuracy 0.78 is below 0.80"})
    now = journal.now()
    add_run(journal, MonitoringRun(family, family, serving.number, now, now, 300, "warning", {}, []))
    _deploy(journal, family, serving)


def _enter(journal: Journal, family: str, number: int) -> None:
    current = journal.production(family)
    changes = [Change(current, Stage.ARCHIVED)] if current else []
    changes.append(Change(Version(family, number), Stage.PRODUCTION))
    expected = current.id if current else None
    journal.move(family, changes, Authority("promote", "anna", "better"), expected_production=expected)


def _deploy(journal: Journal, family: str, serving: Entry) -> None:
    with journal.transaction(family) as transaction:
        add_deployment(
            transaction,
            version_id=serving.id,
            environment="production",
            track="stable",
            cluster="https://cluster.example",
            image=f"registry.example/{family}:1",
            labels={"model": serving.model, "version": serving.number},
            state="deployed",
            predecessor=None,
            actor="jenkins",
        )


def _measured(home: Path, rounds: int) -> Iterator[float]:
    """Seconds of one process from its start to its end, again and again."""
    environment = {**os.environ, "PROMOTION_HOME": str(home), "MLFLOW_TRACKING_URI": f"sqlite:///{home / 'mlflow.db'}"}
    for _ in range(rounds):
        started = time.perf_counter()
        subprocess.run([sys.executable, SCRIPT], env=environment, check=True, capture_output=True)  # noqa: S603
        yield time.perf_counter() - started


if __name__ == "__main__":
    main()
