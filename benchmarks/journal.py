"""What the journal's questions cost at 1,000 models × 100 versions × 20 events, and how fast an audit reads it.

Run it as `python benchmarks/journal.py`; it works in a temporary folder, needs 2 GB there and takes some minutes.
`--models 10` is quick; what is flat costs the same.
"""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
import click

import promotion.cli.environment

if TYPE_CHECKING:
    from promotion.journal.journal import Journal

REPETITIONS = 30
PAGE = 20
_BATCH = 10_000
_START = datetime(2026, 1, 1, tzinfo=UTC)
_REPOSITORY = Path(__file__).resolve().parents[1]


@click.command()
@click.option("--models", default=1000, show_default=True, help="Registered models, each a family of its own.")
@click.option("--versions", default=100, show_default=True, help="Of each model.")
@click.option("--events", type=click.IntRange(4), default=20, show_default=True, help="Of each version.")
@click.option("--url", help="An empty PostgreSQL database; SQLite in a temporary folder by default.")
def main(models: int, versions: int, events: int, url: str | None) -> None:
    """Build the journal, print a table of medians, audit it."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PROMOTION_HOME"] = folder
        os.environ["PROMOTION_DATABASE_URL"] = url or f"sqlite:///{Path(folder) / 'promotion.db'}"
        Path(folder, "config").mkdir()
        os.environ["PROMOTION_KEYS"] = str(Path(folder) / "keys")
        from promotion.audit.checkpoints import leave_checkpoint
        from promotion.journal.database import Database
        from promotion.journal.journal import Journal
        from promotion.signing.keys import Keys

        journal = Journal(Database(os.environ["PROMOTION_DATABASE_URL"]))
        start = time.perf_counter()
        total = build(journal, models, versions, events)
        print(f"{journal.database.backend}: {total:,} events built in {time.perf_counter() - start:.0f} s", flush=True)
        for name, question in questions(journal, f"model-{models // 2}").items():
            print(f"{name:<52} {milliseconds(question):>9.2f} ms", flush=True)
        # Every move leaves one, which an audit misses.
        leave_checkpoint(journal, Path(folder) / "checkpoints", Keys.from_environment, print)
        _register(f"model-{models // 2}", Path(folder))
        for command in (
            ["scripts/promote-model.py", "--history", "--model", f"model-{models // 2}"],
            ["scripts/audit.py", "show", "--model", f"model-{models // 2}", "--limit", str(PAGE)],
        ):
            print(f"{' '.join([*command[:2], 'of a family']):<52} {process(command)[0] * 1000:>9.0f} ms", flush=True)
        seconds, busy, mebibytes = process(["scripts/audit.py", "verify"])
        print(f"audit.py verify, whole process: {seconds:.1f} s, {total / seconds:,.0f} events/s;")
        print(f"   of the processor {busy:.1f} s, {total / busy:,.0f} events/s; {mebibytes:.0f} MiB at most")


def _register(model: str, folder: Path) -> None:
    from mlflow import MlflowClient

    MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").create_registered_model(model)


def build(journal: Journal, models: int, versions: int, events: int) -> int:
    """Insert rows as the journal would have written them, their chain included; returns how many events there are."""
    from promotion.journal.schema import family, gate_report, model_registry, model_version_detail, promotion_event

    names = [f"model-{number}" for number in range(models)]
    tables = {
        family: ({"name": name, "created_at": _START} for name in names),
        model_registry: ({"id": number, "name": name, "family": name} for number, name in enumerate(names, start=1)),
        model_version_detail: _versions(models, versions, events),
        gate_report: _reports(models, versions),
        promotion_event: _events(models, versions, events),
    }
    with journal.database.write() as connection:
        for table, rows in tables.items():
            while batch := list(islice(rows, _BATCH)):
                connection.execute(table.insert(), batch)
            if journal.database.backend == "postgresql" and "id" in table.c:
                ids = f"pg_get_serial_sequence('{table.name}', 'id')"
                connection.exec_driver_sql(f"SELECT setval({ids}, (SELECT max(id) FROM {table.name}))")  # noqa: S608
        connection.exec_driver_sql("ANALYZE")
        total = connection.exec_driver_sql("SELECT count(*) FROM promotion_event").scalar()
    return int(total or 0)


def _pairs(models: int, versions: int) -> Iterable[tuple[int, int, int]]:
    """Row, model and version; each round of training goes through all models, so that a family's rows lie apart."""
    pairs = itertools.product(range(versions), range(models))
    return ((row, model, version + 1) for row, (version, model) in enumerate(pairs, start=1))


def _registration(version: int) -> dict[str, Any]:
    return {
        "digest": f"{version:064x}",
        "signature": "s" * 900,
        "trainer": "tom",
        "feature_hash": "f" * 64,
        "metrics": {"roc_auc": 0.9, "accuracy": 0.87},
        "lineage": {"run": "r" * 32, "commit": "c" * 40, "data": "d" * 64},
    }


def _report(version: int) -> dict[str, Any]:
    gate = {"name": "roc_auc", "passed": True, "measured": "0.91", "required": "≥ 0.85", "why": "", "overridable": True}
    return {"passed": True, "evidence": f"{version:064x}", "results": [gate] * 20}


def _versions(models: int, versions: int, events: int) -> Iterator[dict[str, Any]]:
    for row, model, version in _pairs(models, versions):
        yield {
            "id": row,
            "model_id": model + 1,
            "family": f"model-{model}",
            "mlflow_version": version,
            "version": f"1.{version - 1}.0",
            "status": "production" if version == versions else "archived",
            # A model's first version archives none, so it has one event fewer.
            "registered_at": _START + timedelta(seconds=1 + (row - 1) * events - min(row - 1, models)),
            **_registration(version),
        }


def _reports(models: int, versions: int) -> Iterator[dict[str, Any]]:
    from promotion.journal.chain import digest

    for row, model, version in _pairs(models, versions):
        report = _report(version)
        yield {
            "id": row,
            "family": f"model-{model}",
            "model": f"model-{model}",
            "mlflow_version": version,
            "target": "production",
            "passed": True,
            "report": report,
            "digest": digest(report),
            "evidence": report["evidence"],
            "actor": "anna",
            "created_at": _START,
        }


def _events(models: int, versions: int, events: int) -> Iterator[dict[str, Any]]:
    """Registered, refused again and again, staged, promoted; promoting archives the version before."""
    from promotion.journal.chain import FIELDS, GENESIS, canonical, digest, link_event, moment

    previous, sequence = GENESIS, 0
    for row, model, version in _pairs(models, versions):
        registration = digest(_registration(version))
        moves = [("register", "none", "none", row)]
        moves += [("refuse", "none", "none", row)] * (events - 4) + [("stage", "none", "staging", row)]
        moves += [("promote", "production", "archived", row - models)] if version > 1 else []
        moves += [("promote", "staging", "production", row)]
        for action, from_status, to_status, version_id in moves:
            sequence += 1
            at = _START + timedelta(seconds=sequence)
            number = version if version_id == row else version - 1
            identity = {"model": f"model-{model}", "number": number, "version": f"1.{number - 1}.0"}
            details = {"digest": f"{number:064x}", "evidence": f"{version:064x}", "registration": registration}
            event: dict[str, Any] = {
                "sequence": sequence,
                "operation": f"{row:032x}",
                "family": f"model-{model}",
                "version_id": version_id,
                "action": action,
                "from_status": from_status,
                "to_status": to_status,
                "actor": "jenkins@build-agent",
                "reason": "best model of the newest training",
                "gate_report_id": row,
                "at": moment(at),
                "details": canonical(identity | details),
            }
            own = link_event(previous, (event[name] for name in FIELDS))
            yield event | {"at": at, "previous_hash": previous, "hash": own}
            previous = own


def questions(journal: Journal, family: str) -> dict[str, Callable[[], object]]:
    """What commands ask the journal, by name."""
    from promotion.audit.family_check import require_unaltered
    from promotion.journal.records import Authority, Change
    from promotion.journal.reviews import Reviews
    from promotion.registry.stages import Stage

    reviews = Reviews(journal)
    serving = journal.production(family)
    assert serving  # noqa: S101  # just built

    def move() -> None:
        current = journal.production(family)
        other = journal.entry(family, 1 if current and current.number != 1 else 2)
        if current and other:
            changes = [Change(current, Stage.ARCHIVED), Change(other, Stage.PRODUCTION)]
            journal.move(family, changes, Authority("promote", "me", "measured"), expected_production=current.id)

    return {
        f"history(limit={PAGE}), all families": lambda: journal.history(limit=PAGE),
        f"history(family, limit={PAGE})": lambda: journal.history(family, limit=PAGE),
        "history(family, version)": lambda: journal.history(family, version_id=serving.id),
        "history(since, until: one hour)": lambda: journal.history(
            since=_START + timedelta(hours=1), until=_START + timedelta(hours=2), limit=PAGE
        ),
        "knows(family)": lambda: journal.knows(family),
        "changed_by_hand(family)": lambda: journal.changed_by_hand(family),
        "entry(model, number)": lambda: journal.entry(family, 7),
        "entry(model, semantic version)": lambda: journal.entry(family, "1.7.0"),
        "entries(family)": lambda: journal.entries(family),
        "production(family)": lambda: journal.production(family),
        "productions(), all families": journal.productions,
        "previous(family)": lambda: journal.previous(family),
        "arrival(family, Staging), nobody there": lambda: journal.arrival(family, Stage.STAGING),
        "arrival(family, Production, version)": lambda: journal.arrival(family, Stage.PRODUCTION, serving.id),
        "production_at(family, an hour in)": lambda: journal.production_at(family, _START + timedelta(hours=1)),
        "reports(version)": lambda: journal.reports(serving),
        "approvals(version)": lambda: reviews.approvals(serving),
        "incidents(version)": lambda: reviews.incidents(entry=serving),
        "pending(family)": lambda: journal.pending(family),
        "every row of the family against its events": lambda: require_unaltered(journal, family),
        "move()": move,
    }


def milliseconds(question: Callable[[], object]) -> float:
    """The median of many times, after one that is not counted."""
    question()
    taken = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        question()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1000


def process(arguments: list[str]) -> tuple[float, float, float]:
    """Run a command file as a person does: seconds, seconds of the processor, most memory in MiB."""
    start, before, mebibytes = time.perf_counter(), os.times(), 0.0
    command = [sys.executable, str(_REPOSITORY / arguments[0]), *arguments[1:]]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as running:  # noqa: S603  # ours
        while running.poll() is None:
            mebibytes = max(mebibytes, _most_memory(running.pid))
            time.sleep(0.02)
    if running.returncode:
        sys.exit(f"{' '.join(arguments)} ended with {running.returncode}")
    after = os.times()
    busy = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - start, busy, mebibytes


def _most_memory(pid: int) -> float:
    """In MiB, as Linux counts it; getrusage would count this process, from which the other one was forked."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


if __name__ == "__main__":
    main()
