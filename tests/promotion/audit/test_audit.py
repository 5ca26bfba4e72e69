"""The audit of a real journal: sound as it was written, and what each kind of tampering brings to light."""

from __future__ import annotations

import json
import re
import shutil
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.promotion.audit.tampering import ATTACKS, EVENTS, HANDIWORK, fill, past_the_triggers, rewrite
from tests.promotion.factories import a_journal, a_version, promote

from promotion.audit import AuditReport, verify_journal
from promotion.audit.checkpoints import read_checkpoints
from promotion.audit.export import ExportSource, export
from promotion.audit.source import JournalSource
from promotion.errors import DataError, UsageError
from promotion.journal import clock
from promotion.journal.chain import digest
from promotion.journal.journal import Journal
from promotion.journal.records import Authority
from promotion.signing.keys import Keys


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    made = Keys(tmp_path_factory.mktemp("keys") / "signing-key.pem")
    made.signing_key()
    return made


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    fill(a_journal(folder), folder / "checkpoints", keys)
    return folder


@pytest.fixture
def journal(tmp_path: Path, recorded: Path) -> Journal:
    """A journal of the test's own, and its checkpoints beside it."""
    shutil.copytree(recorded, tmp_path, dirs_exist_ok=True)
    return a_journal(tmp_path)


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'promotion.db'}"


def audited(journal: Journal, keys: Keys, checkpoints: Path) -> AuditReport:
    return verify_journal(JournalSource(journal), read_checkpoints(checkpoints)[0], keys.trusted())


def audited_offline(journal: Journal, keys: Keys, checkpoints: Path) -> AuditReport:
    """As an auditor does it: with a file, and checkpoints that were archived elsewhere before."""
    path = checkpoints.with_name("journal.jsonl")
    export(JournalSource(journal), [], path, family=None)
    return verify_journal(ExportSource(path), read_checkpoints(checkpoints)[0], keys.trusted())


def test_a_journal_that_nobody_touched_is_sound(journal: Journal, keys: Keys, tmp_path: Path) -> None:
    """Registrations, approvals, promotions, an incident and a rollback leave nothing to complain about."""
    report = audited(journal, keys, tmp_path / "checkpoints")

    assert [] == report.findings
    assert report.is_sound
    assert (EVENTS, EVENTS, EVENTS) == (report.events, report.sequence, report.vouched)
    assert {"signed": 4} == report.checkpoints
    assert [] == report.notes


def test_an_export_says_the_same_as_the_database(journal: Journal, keys: Keys, tmp_path: Path) -> None:
    """Without the database, the file and its checkpoints give the same report."""
    online = audited(journal, keys, tmp_path / "checkpoints").as_json()
    offline = audited_offline(journal, keys, tmp_path / "checkpoints").as_json()

    assert online | {"source": ""} == offline | {"source": ""}


@pytest.mark.parametrize("offline", [False, True], ids=["database", "offline"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_tampering_with_events_is_found(
    journal: Journal, keys: Keys, tmp_path: Path, attack: str, *, offline: bool
) -> None:
    """Edited, deleted, cut off, rewritten with fitting hashes, inserted: each leaves a trace in the audit."""
    tamper, finding = ATTACKS[attack]
    with past_the_triggers(url(tmp_path)) as connection:
        tamper(connection)

    report = (audited_offline if offline else audited)(journal, keys, tmp_path / "checkpoints")

    assert not report.is_sound
    assert [line for line in map(str, report.findings) if re.search(finding, line)], report.findings


def _only(folder: Path, *kept: int) -> Path:
    """Take every checkpoint away but those of these events."""
    for path in folder.iterdir():
        if int(path.name.partition("-")[0]) not in kept:
            path.unlink()
    return folder


@pytest.mark.parametrize("is_rewritten", [False, True], ids=["as it was", "rewritten"])
@pytest.mark.parametrize(
    ("kept", "missed"),
    [((), (3, 7, 10, 11)), ((3, 7, 10), (11,)), ((3, 10, 11), (7,)), ((3, 7), (10, 11))],
    ids=["all", "newest", "middle", "older set"],
)
def test_a_checkpoint_that_is_gone_is_missed(
    journal: Journal, keys: Keys, tmp_path: Path, kept: tuple[int, ...], missed: tuple[int, ...], *, is_rewritten: bool
) -> None:
    """All, the newest, one in the middle, or an older set in their place; the chain may be rewritten then."""
    if is_rewritten:
        with past_the_triggers(url(tmp_path)) as connection:
            connection.execute(text("UPDATE promotion_event SET actor = 'mallory' WHERE sequence = 11"))
            rewrite(connection)

    report = audited(journal, keys, _only(tmp_path / "checkpoints", *kept))

    found = {finding.where for finding in report.findings if finding.what.startswith("missing: ")}
    assert {f"checkpoint of event {sequence}" for sequence in missed} == found
    assert not report.is_sound


def test_whoever_takes_the_list_away_as_well_is_found_by_the_move(journal: Journal, keys: Keys, tmp_path: Path) -> None:
    """A chain that was rewritten to name no checkpoint, without a list, without the newest ones."""
    with past_the_triggers(url(tmp_path)) as connection:
        connection.execute(text("DELETE FROM checkpoint"))
        connection.execute(text("UPDATE promotion_event SET actor = 'mallory' WHERE sequence = 9"))
        connection.execute(text("""UPDATE promotion_event SET details = replace(details, '"checkpoint":', '"x":')"""))
        rewrite(connection)
    _only(tmp_path / "checkpoints")

    (finding,) = audited(journal, keys, tmp_path / "checkpoints").findings

    assert (
        "checkpoint of event 10: missing: 5 moves since event 0, the first one event 3, vouched for by nothing but the "
        "database; each move leaves a signed checkpoint"
    ) == str(finding)


def test_a_checkpoint_without_its_signature_is_none(journal: Journal, keys: Keys, tmp_path: Path) -> None:
    """Whoever may write to the folder can make one up that fits a rewritten chain."""
    (newest,) = (tmp_path / "checkpoints").glob("11-*.json")
    newest.write_text(json.dumps(json.loads(newest.read_text()) | {"signature": None}))

    report = audited(journal, keys, tmp_path / "checkpoints")

    assert ["checkpoint of event 11"] == [finding.where for finding in report.findings]


def test_a_move_that_is_under_way_has_no_checkpoint_yet(journal: Journal, keys: Keys, tmp_path: Path) -> None:
    """It is told that nothing vouches for it; once MLflow shows it, its checkpoint is missed."""
    promote(journal, "fraud", a_version("fraud"))

    report = audited(journal, keys, tmp_path / "checkpoints")
    assert report.is_sound
    assert [
        "events 12 to 12 came after the newest signed checkpoint: nothing but the database vouches for these 1"
    ] == (report.notes)
    journal.mark_done(journal.pending())
    (finding,) = audited(journal, keys, tmp_path / "checkpoints").findings
    assert "checkpoint of event 12: missing: a move since event 11" in str(finding)


def test_an_export_misses_a_checkpoint_too(journal: Journal, keys: Keys, tmp_path: Path) -> None:
    """The chain names what was written before; the newest is missed by its move."""
    report = audited_offline(journal, keys, _only(tmp_path / "checkpoints", 3, 7))

    assert ["checkpoint of event 10", "checkpoint of event 10"] == [finding.where for finding in report.findings]


def test_time_that_ran_backwards_is_found(journal: Journal, keys: Keys, tmp_path: Path) -> None:
    """An agent's clock was wrong for a while, on a journal in a file."""
    present = clock.local()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", lambda: present + timedelta(days=8))
        promote(journal, "fraud", a_version("fraud"))
        assert audited(journal, keys, tmp_path / "checkpoints").is_sound
    ahead = audited(journal, keys, tmp_path / "checkpoints")
    assert ["event 12 (fraud, promote by anna)"] == [finding.where for finding in ahead.findings]
    assert "which is yet to come" in ahead.findings[0].what
    journal.record("fraud", a_version("fraud"), Authority("refuse", "anna", "no"))

    found = audited(journal, keys, tmp_path / "checkpoints").findings

    assert ["event 12 (fraud, promote by anna)", "event 13 (fraud, refuse by anna)"] == [item.where for item in found]
    assert "time ran backwards" in found[1].what


def test_a_rehearsal_is_noted_and_no_finding(
    journal: Journal, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its dates say nothing, and say so."""
    monkeypatch.setenv(clock.VARIABLE, "2050-01-01")
    promote(journal, "fraud", a_version("fraud"))
    monkeypatch.delenv(clock.VARIABLE)

    report = audited(journal, keys, tmp_path / "checkpoints")

    assert report.is_sound
    assert "1 recorded in a rehearsal: their dates were set by hand and not compared" in report.notes


def test_it_says_what_was_compared(journal: Journal, keys: Keys, tmp_path: Path) -> None:
    """How many of what with what, up to which event, by whose signatures."""
    report = audited(journal, keys, tmp_path / "checkpoints")

    assert [
        "11 events with their own hashes, the event before them, and the order of time",
        "2 approvals, 1 incidents, 2 reports, 2 versions with what the events say of them",
        "4 signed checkpoints with the hashes of the events they name, up to event 11; keys believed: "
        + ", ".join(keys.trusted()),
    ] == report.compared
    assert "2 rule sets with what the events say of them" == replace(report, rows={"rules": 2}).compared[1]


@pytest.mark.parametrize("case", HANDIWORK)
def test_rows_that_contradict_the_events_are_found(journal: Journal, keys: Keys, tmp_path: Path, case: str) -> None:
    """A status, digest, metric, mark, report, approval or incident changed by SQL does not fit what was recorded."""
    statement, finding = HANDIWORK[case]
    with past_the_triggers(url(tmp_path)) as connection:
        connection.execute(text(statement))

    report = audited(journal, keys, tmp_path / "nowhere")

    assert [line for line in map(str, report.findings) if re.search(finding, line)], report.findings


def test_a_report_exchanged_with_its_digest_is_found(journal: Journal, keys: Keys, tmp_path: Path) -> None:
    """Recomputing the digest does not help: the event that relies on the report holds it too."""
    content = {"passed": True}
    with past_the_triggers(url(tmp_path)) as connection:
        statement = "UPDATE gate_report SET report = :report, digest = :digest WHERE id = 1"
        connection.execute(text(statement), {"report": json.dumps(content), "digest": digest(content)})

    found = [str(finding) for finding in audited(journal, keys, tmp_path / "nowhere").findings]

    assert [line for line in found if "gate report 1: not the one that event 3 relies on" in line], found


def test_a_version_written_past_the_journal_is_found(journal: Journal, keys: Keys, tmp_path: Path) -> None:
    """A row that no event speaks of, and an event whose row is gone, are both told."""
    with past_the_triggers(url(tmp_path)) as connection:
        connection.execute(text("UPDATE model_version_detail SET id = 77 WHERE mlflow_version = 2"))

    found = [str(finding) for finding in audited(journal, keys, tmp_path / "checkpoints").findings]

    assert ["churn v2: in no event: written past the journal", "churn v2: row 2 is missing: deleted"] == found


def test_events_after_the_newest_checkpoint_are_named(journal: Journal, keys: Keys, tmp_path: Path) -> None:
    """What no checkpoint vouches for yet is sound, and said."""
    promote(journal, "fraud", a_version("fraud"))

    report = audited(journal, keys, tmp_path / "checkpoints")

    assert report.is_sound
    (note,) = report.notes
    assert note.startswith(f"events {EVENTS + 1} to {EVENTS + 1} came after the newest signed checkpoint")


def test_values_of_another_type_are_a_finding_and_no_crash(journal: Journal, keys: Keys, tmp_path: Path) -> None:
    """SQLite stores anything anywhere: bytes for a reason, text for a sequence, nonsense for details."""
    with past_the_triggers(url(tmp_path)) as connection:
        connection.execute(text("UPDATE promotion_event SET reason = x'00ff' WHERE sequence = 2"))
        connection.execute(text("UPDATE promotion_event SET details = '[]' WHERE sequence = 4"))
        connection.execute(text("UPDATE promotion_event SET sequence = 'last' WHERE sequence = 11"))

    found = "\n".join(map(str, audited(journal, keys, tmp_path / "nowhere").findings))

    assert "event 2 (churn, approve by bea): its content is not what its hash was made of: edited" in found
    assert "event 4: its details are not what any event of ours has" in found
    assert "event last: out of place, 11 was expected" in found


def test_a_busy_journal_is_sound_while_it_is_read(journal: Journal, keys: Keys, tmp_path: Path) -> None:
    """Promotions during an audit neither wait for it nor look like tampering."""
    stop = threading.Event()
    moved: list[str] = []

    def work() -> None:
        mine = a_journal(tmp_path)
        while not stop.is_set():
            moved.append(promote(mine, "fraud", a_version("fraud", len(moved) + 1)))

    writer = threading.Thread(target=work)
    writer.start()
    try:
        reports = [audited(journal, keys, tmp_path / "checkpoints") for _ in range(5)]
    finally:
        stop.set()
        writer.join()

    assert [] == [finding for report in reports for finding in report.findings]
    assert moved


def test_a_journal_that_never_was_is_empty_and_a_checkpoint_misses_it(
    recorded: Path, keys: Keys, tmp_path: Path
) -> None:
    """No database is nothing to audit, unless a checkpoint knows better."""
    empty = a_journal(tmp_path / "new")

    assert audited(empty, keys, tmp_path / "nowhere").is_sound
    assert 4 == audited(empty, keys, recorded / "checkpoints").count
    assert not (tmp_path / "new").exists()


def test_the_same_journal_gives_the_same_bytes(journal: Journal, tmp_path: Path) -> None:
    """Two exports can be compared with cmp."""
    checkpoints, _ = read_checkpoints(tmp_path / "checkpoints")
    for name in ("one", "two"):
        assert EVENTS == export(JournalSource(journal), checkpoints, tmp_path / name, family=None)

    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert '{"kind":"journal","format":1,' == (tmp_path / "one").read_text()[:29]


def test_checkpoints_inside_an_export_count(journal: Journal, keys: Keys, tmp_path: Path) -> None:
    """They go along, and their signatures are checked like those of a folder."""
    export(JournalSource(journal), read_checkpoints(tmp_path / "checkpoints")[0], tmp_path / "file", family=None)

    assert {"signed": 4} == verify_journal(ExportSource(tmp_path / "file"), [], keys.trusted()).checkpoints


def test_an_export_of_one_family_is_not_verified(journal: Journal, tmp_path: Path) -> None:
    """Its chain has gaps, so nothing could be said of what is missing."""
    promote(journal, "fraud", a_version("fraud"))
    assert 1 == export(JournalSource(journal, "fraud"), [], tmp_path / "fraud", family="fraud")

    with pytest.raises(UsageError, match="holds the family 'fraud' only"):
        ExportSource(tmp_path / "fraud")


@pytest.mark.parametrize(
    "content", ["", "hello", '{"kind":"event"}\n', '{"kind":"journal","format":1}\n{"kind":"event"}\n', "[1]\n"]
)
def test_a_file_that_is_no_export_is_one_clear_line(tmp_path: Path, content: str) -> None:
    """Empty, text, half a line, or lines without their columns."""
    path = tmp_path / "file"
    path.write_text(content)

    with pytest.raises(DataError, match="export"):
        verify_journal(ExportSource(path), [], {})


def test_an_export_that_cannot_be_written_leaves_nothing(journal: Journal, tmp_path: Path) -> None:
    """A missing folder is named; no half file stays."""
    with pytest.raises(DataError, match="cannot be written"):
        export(JournalSource(journal), [], tmp_path / "missing" / "file", family=None)
