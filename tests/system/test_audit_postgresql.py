"""The audit on a real PostgreSQL: the chain under concurrency, and every tampering found offline."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.promotion.audit.tampering import ATTACKS, EVENTS, HANDIWORK, fill, past_the_triggers

from promotion.audit import verify_journal
from promotion.audit.checkpoints import read_checkpoints
from promotion.audit.export import ExportSource, export
from promotion.audit.findings import AuditFinding
from promotion.audit.source import JournalSource
from promotion.config.settings import REPOSITORY
from promotion.journal.database import Database
from promotion.journal.journal import Journal
from promotion.signing.keys import Keys

WRITERS, MOVES = 4, 25
PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from tests.promotion.factories import a_version, promote
from promotion.journal.database import Database
from promotion.journal.journal import Journal
journal = Journal(Database(sys.argv[1]))
sys.stdin.readline()
for number in range({moves}):
    promote(journal, sys.argv[2], a_version(sys.argv[2], number + 1))
journal.database._engine.dispose()
"""


@pytest.fixture
def journal(database: str) -> Iterator[Journal]:
    """A journal in it."""
    made = Journal(Database(database))
    yield made
    made.database._engine.dispose()


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys" / "signing-key.pem")


@pytest.mark.system
def test_a_journal_that_nobody_touched_is_sound(journal: Journal, keys: Keys, tmp_path: Path) -> None:
    """What PostgreSQL gives back hashes as what was written, times, JSON and all."""
    fill(journal, tmp_path / "checkpoints", keys)

    report = verify_journal(JournalSource(journal), read_checkpoints(tmp_path / "checkpoints")[0], keys.trusted())

    assert [] == report.findings
    assert (EVENTS, EVENTS, {"signed": 4}) == (report.events, report.vouched, report.checkpoints)


@pytest.mark.system
@pytest.mark.parametrize("attack", ATTACKS)
def test_tampering_with_events_is_found_offline(
    journal: Journal, database: str, keys: Keys, tmp_path: Path, attack: str
) -> None:
    """The database's owner drops the triggers and changes the past; export and archived checkpoints show it."""
    fill(journal, tmp_path / "checkpoints", keys)
    tamper, finding = ATTACKS[attack]
    with past_the_triggers(database) as connection:
        tamper(connection)

    export(JournalSource(journal), [], tmp_path / "journal.jsonl", family=None)
    checkpoints, _ = read_checkpoints(tmp_path / "checkpoints")
    report = verify_journal(ExportSource(tmp_path / "journal.jsonl"), checkpoints, keys.trusted())

    assert [line for line in map(str, report.findings) if re.search(finding, line)], report.findings


@pytest.mark.system
def test_rows_that_contradict_the_events_are_found(journal: Journal, database: str, keys: Keys, tmp_path: Path) -> None:
    """All of it at once: statuses, digests, reports, approvals and incidents that were changed by SQL."""
    fill(journal, tmp_path / "checkpoints", keys)
    cases = {name: case for name, case in HANDIWORK.items() if not name.startswith("deleted")}
    with past_the_triggers(database) as connection:
        for statement, _ in cases.values():
            connection.execute(text(statement))

    found = "\n".join(map(str, verify_journal(JournalSource(journal), [], keys.trusted()).findings))

    # Renaming the model renames it in all other findings.
    expected = [finding.replace("churn v2: its row", "fraud v2: its row") for _, finding in cases.values()]
    assert [] == [finding for finding in expected if not re.search(finding, found)], found


@pytest.mark.system
@pytest.mark.timeout(300)
def test_families_that_move_at_once_keep_one_unbroken_chain(journal: Journal, database: str) -> None:
    """Four processes commit moves of four families: no gap, no fork; audits meanwhile see no tampering."""
    with journal.database.write():
        pass
    program = PROGRAM.format(root=str(REPOSITORY), moves=MOVES)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", program, database, f"family-{number}"],
            cwd=REPOSITORY / "src",
            stdin=subprocess.PIPE,
            text=True,
        )
        for number in range(WRITERS)
    ]
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("go\n")
        writer.stdin.flush()
    meanwhile: list[AuditFinding] = []
    while any(writer.poll() is None for writer in writers):
        meanwhile += verify_journal(JournalSource(journal), [], {}).findings
    codes = []
    for writer in writers:
        writer.communicate()
        codes.append(writer.returncode)

    report = verify_journal(JournalSource(journal), [], {})
    assert [0] * WRITERS == codes
    assert [] == meanwhile
    assert [] == report.findings
    assert WRITERS * (2 * MOVES - 1) == report.events == report.sequence
