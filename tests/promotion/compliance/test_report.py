from __future__ import annotations

import csv
import io
import re
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from tests.promotion.compliance.months import FAMILY, HEART, HOSTILE, METRICS, Scribe, october
from tests.promotion.factories import a_family, a_journal, a_version, promote

from promotion.compliance import page as monthly
from promotion.compliance.facts import Month
from promotion.compliance.page import document, write_compliance_page
from promotion.compliance.report import Compliance, collect, verified
from promotion.compliance.spreadsheet import COLUMNS, harmless_cell, table
from promotion.config.family import load_configs
from promotion.config.policy import Review
from promotion.config.settings import REPOSITORY, Settings
from promotion.errors import PromotionError, UnknownFamily, UsageError
from promotion.journal import clock
from promotion.journal.journal import Journal
from promotion.journal.records import Authority, Change
from promotion.pages import page_link
from promotion.registry.stages import Stage

OCTOBER = Month.parse("2026-10")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The journal of that October, recorded once."""
    folder = tmp_path_factory.mktemp("october")
    with pytest.MonkeyPatch.context() as monkeypatch:
        october(a_journal(folder), monkeypatch)
    return folder / "promotion.db"


@pytest.fixture
def journal(recorded: Path, tmp_path: Path) -> Journal:
    """A copy of it."""
    shutil.copy(recorded, tmp_path)
    return a_journal(tmp_path)


@pytest.fixture
def scribe(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> Scribe:
    """Goes on with it; it is 3 November."""
    scribe = Scribe(journal, monkeypatch)
    scribe.at(3, month=11)
    return scribe


@pytest.fixture
def report(journal: Journal, scribe: Scribe) -> Compliance:
    return collect(journal, {}, OCTOBER)


def page_of(report: Compliance, folder: Path) -> str:
    path = folder / "page.html"
    write_compliance_page(report, path, spreadsheet=folder / "events.csv", journal_exists=True)
    return path.read_text(encoding="utf-8")


def write_past_the_journal(journal: Journal, statement: str) -> None:
    assert journal.database.file is not None
    with closing(sqlite3.connect(journal.database.file, isolation_level=None)) as database:
        database.execute(statement)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2026-10", datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)),
        (" 2026-12 ", datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)),
        ("2028-02", datetime(2028, 2, 1, tzinfo=UTC), datetime(2028, 3, 1, tzinfo=UTC)),
    ],
)
def test_a_month_is_from_its_first_moment_until_before_the_next_one(text: str, start: datetime, end: datetime) -> None:
    """In UTC, over the turn of the year too."""
    assert (start, end) == (Month.parse(text).start, Month.parse(text).end)


@pytest.mark.parametrize("text", ["", "2026", "2026-13", "2026-00", "0000-01", "9999-12", "10-2026", "2026-10-01", "x"])
def test_what_is_no_month_is_refused(text: str) -> None:
    """One line says what was expected; the last month of the calendar has no end."""
    with pytest.raises(UsageError, match="is no month: expected YYYY-MM"):
        Month.parse(text)


def test_each_act_is_told_once_in_its_place(report: Compliance) -> None:
    """Promotions without the rollback, the override beside them, refusals, words, changes outside."""
    assert ["1.1.0", "1.2.0", "7"] == [operation.main.version for operation in report.promotions]
    assert [("1.2.0", ["days in Staging"])] == [(o.main.version, o.main.overridden) for o in report.overrides]
    assert [("1.0.0", "1.1.0")] == [(o.main.version, o.replaced.version) for o in report.rollbacks if o.replaced]
    assert [["days in Staging", "approvals"]] == [act.refused for act in report.of("refuse")]
    assert ["reject", "approve", "approve"] == [act.event.action for act in report.reviewed]
    assert ["quarantine", "restore"] == [act.event.action for act in report.outside]
    assert [] == report.others
    assert [HEART, HEART] == [act.event.family for act in report.rehearsals]


def test_what_must_not_be_overlooked_comes_first(report: Compliance) -> None:
    """Overrides before quarantines before clocks; a closed incident is none of it, overdue reviews are not yet."""
    assert [
        "1 move overrode gates that refused",
        "1 change past the rules was quarantined",
        "2 records have a clock set by hand",
    ] == report.alerts


def test_who_served_when_has_no_gap_and_no_overlap(report: Compliance) -> None:
    """What was there when the month began is shown with the act that put it there, in September."""
    served = [(t.since.day, t.until and t.until.day, t.entry and t.entry.version) for t in report.tenures]

    assert [
        (1, 12, "1.0.0"),
        (12, 15, "1.1.0"),
        (15, 24, "1.0.0"),
        (24, None, "1.2.0"),
        (1, 28, "3"),
        (28, None, "7"),
    ] == served
    assert report.tenures[0].entry is not None
    assert 9 == report.tenures[0].entry.event.at.month


def test_a_time_without_production_is_shown_and_alarmed(journal: Journal, scribe: Scribe) -> None:
    """Nobody serves between two moves: a row of its own."""
    scribe.at(5, month=11)
    current = journal.production(FAMILY)
    assert current is not None
    gone = Authority("archive", "anna", "withdrawn")
    journal.move(FAMILY, [Change(current, Stage.ARCHIVED)], gone, expected_production=current.id)
    scribe.at(7, month=11)
    promote(journal, FAMILY, a_version(FAMILY, 4), Authority("promote", "anna", "found one"))
    report = collect(journal, {}, Month.parse("2026-11"), FAMILY)

    assert [("1.2.0", 5), (None, 7), ("4", None)] == [
        (t.entry.version if t.entry else None, t.until.day if t.until else None) for t in report.tenures
    ]
    assert "1 time without a version in Production" in report.alerts
    assert ["archive"] == [act.event.action for act in report.others]


def test_before_its_first_version_a_family_misses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its story begins with the first promotion, not with an alarm."""
    journal = a_journal(tmp_path)
    scribe = Scribe(journal, monkeypatch)
    scribe.at(10)
    promote(journal, HEART, a_version(f"{HEART}-random_forest", 1))
    report = collect(journal, {}, OCTOBER)

    assert [(10, "1")] == [(t.since.day, t.entry and t.entry.version) for t in report.tenures]
    assert [] == report.alerts


def test_a_promoted_version_is_shown_as_it_was(report: Compliance) -> None:
    """Metrics of gates and training, schema, lineage, checksum, and whether they still are what was recorded."""
    snapshot = next(item for item in report.snapshots if item.act.version == "1.2.0")

    assert METRICS == snapshot.metrics == snapshot.registered_metrics
    assert "3" * 64 == snapshot.act.digest
    assert "de68" * 16 == snapshot.feature_hash
    assert "8b149fe2b0e5" == snapshot.lineage["git_commit"]
    assert (True, True) == (snapshot.is_report_intact, snapshot.is_registration_intact)
    assert ["1.0.0", "1.1.0", "1.2.0", "7"] == [item.act.version for item in report.snapshots]


def test_figures_that_were_changed_afterwards_are_flagged(journal: Journal, scribe: Scribe, tmp_path: Path) -> None:
    """A better metric in the row than the chain vouches for stands out, in the report and on its page."""
    write_past_the_journal(
        journal, """UPDATE model_version_detail SET metrics = '{"accuracy": 0.99}' WHERE version = '1.2.0'"""
    )
    report = collect(journal, {}, OCTOBER)

    assert ["1.2.0"] == [item.act.version for item in report.snapshots if item.is_altered]
    assert "1 promoted version has altered evidence" in report.alerts
    assert "altered after it was recorded" in page_of(report, tmp_path)


def test_a_renamed_row_does_not_rename_the_past(journal: Journal, scribe: Scribe) -> None:
    """Events are told under the name the chain has."""
    write_past_the_journal(journal, "UPDATE model_version_detail SET version = '9.9.9' WHERE version = '1.1.0'")
    report = collect(journal, {}, OCTOBER)

    assert "1.1.0" == report.promotions[0].main.version


def test_an_approval_without_event_is_named(journal: Journal, scribe: Scribe, tmp_path: Path) -> None:
    """Somebody wrote a row of the table by hand."""
    write_past_the_journal(
        journal,
        "INSERT INTO approval (version_id, role, approver, approved, comment, artifact_digest, evidence, "
        "gate_report_id, statement, created_at, expires_at) SELECT version_id, 'devops', 'mallory', 1, 'ok', "
        "artifact_digest, evidence, gate_report_id, 'forged', created_at, expires_at FROM approval LIMIT 1",
    )
    report = collect(journal, {}, OCTOBER)

    assert [f"devops: mallory for {FAMILY} 1.1.0"] == report.stray_approvals
    assert "mallory" in page_of(report, tmp_path)


def test_archived_versions_are_kept_as_long_as_the_family_says(journal: Journal, scribe: Scribe) -> None:
    """From the event that archived them; a year by default, and gone from the report once it is over."""
    short = a_family(HEART, retention={"days": 10})
    kept = collect(journal, {HEART: short}, OCTOBER).kept

    assert [("1.1.0", date(2027, 10, 15)), ("1.0.0", date(2027, 10, 24)), ("3", date(2026, 11, 7))] == [
        (item.act.version, item.until.date()) for item in kept
    ]
    scribe.at(3, month=12)
    assert ["1.1.0", "1.0.0"] == [
        item.act.version for item in collect(journal, {HEART: short}, Month.parse("2026-12")).kept
    ]


@pytest.mark.parametrize(("month", "severities"), [("2026-09", []), ("2026-10", ["critical"]), ("2026-11", [])])
def test_incidents_belong_to_the_months_they_were_open_in(
    month: str, severities: list[str], journal: Journal, scribe: Scribe
) -> None:
    """Opened and closed in October: neither earlier nor later."""
    assert severities == [item.severity for item in collect(journal, {}, Month.parse(month)).incidents]


def test_reviews_are_due_by_the_configuration(journal: Journal, scribe: Scribe) -> None:
    """From the last one, or now when there was none; of a version from its promotion."""
    review = {"criteria_days": 30, "last_criteria": date(2026, 9, 1), "performance_days": 90}
    report = collect(journal, {HEART: a_family(HEART, review=review)}, OCTOBER, HEART)
    due = {item.what: item.on for item in report.reviews}

    assert date(2026, 10, 1) == due["promotion criteria"]
    assert report.covered_until.date() == due["promotion process"]
    assert date(2027, 1, 26) == due["performance of heart-disease-logistic_regression 7"]
    assert ["promotion criteria"] == [item.what for item in report.overdue]
    assert 365 == Review().process_days


def test_one_family_alone(journal: Journal, scribe: Scribe) -> None:
    """Nothing of the others is left; a family nobody knows is refused with the known ones."""
    report = collect(journal, {}, OCTOBER, HEART)

    assert {HEART} == {act.event.family for act in report.acts} == {tenure.family for tenure in report.tenures}
    assert ([], []) == (report.incidents, report.overrides)
    assert ["7"] == [item.act.version for item in report.snapshots]
    with pytest.raises(UnknownFamily, match=rf"unknown family 'nobody'.*{FAMILY}, {HEART}"):
        collect(journal, {}, OCTOBER, "nobody")


def test_an_empty_month_says_so(journal: Journal, scribe: Scribe, tmp_path: Path) -> None:
    """In words, with who served all the same."""
    report = collect(journal, {}, Month.parse("2026-08"))
    page = page_of(report, tmp_path)

    assert ([], [], []) == (report.acts, report.tenures, report.alerts)
    assert "Nothing was recorded in this month" in page
    assert [",".join(COLUMNS)] == table(report).splitlines()


def test_without_a_journal_nothing_is_created(tmp_path: Path) -> None:
    """The report is empty and the database is still not there."""
    assert [] == collect(a_journal(tmp_path), {}, OCTOBER).acts
    assert [] == list(tmp_path.iterdir())


def test_a_month_that_lasts_is_marked(journal: Journal, scribe: Scribe, tmp_path: Path) -> None:
    """Who reads it in its middle must not take it for the whole."""
    scribe.at(20, 12)
    report = collect(journal, {}, OCTOBER)

    assert "The month has not ended: this is what was recorded until 2026-10-20 12:00:00." in page_of(report, tmp_path)


def test_a_month_that_has_not_begun_is_no_quiet_month(journal: Journal, scribe: Scribe, tmp_path: Path) -> None:
    """Nothing in it is no news, and nothing is overdue before its day."""
    report = collect(journal, load_configs(REPOSITORY / "config"), Month.parse("2027-02"))
    page = page_of(report, tmp_path)

    assert "to before 2027-03-01 00:00:00, not begun yet" in page
    assert "The month has not begun: it is 2026-11-03, and nothing can have been recorded in it." in page
    assert document(report)["remark"].startswith("The month has not begun")
    assert [] == report.alerts
    assert "" == collect(journal, {}, OCTOBER).remark


def test_the_box_at_the_top_names_who_overrode_what(report: Compliance, tmp_path: Path) -> None:
    """Under the alert that counts them: the person, the gates, the version, the reason."""
    page = page_of(report, tmp_path)
    box = page[page.index('class="verdict') : page.index('class="tiles"')]

    assert [f"john.doe@company.com overrode days in Staging for {FAMILY} 1.2.0: {HOSTILE}"] == report.override_lines
    assert f"john.doe@company.com overrode days in Staging for {FAMILY} 1.2.0: =HYPERLINK" in box


def test_what_people_wrote_is_text_on_the_page(report: Compliance, tmp_path: Path) -> None:
    """A reason cannot become markup, and the page asks nobody for anything."""
    page = page_of(report, tmp_path)

    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert [] == re.findall(r"(?:src|href)=(?!\"#).{9}|url\(|@import", page)
    assert page.index("<h2>Overrides</h2>") < page.index("<h2>In Production</h2>") < page.index("<h2>Promotions</h2>")


def test_long_tables_say_what_they_leave_out(
    report: Compliance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The page stays readable, the spreadsheet has everything."""
    monkeypatch.setattr(monthly, "ROWS", 2)
    page = page_of(report, tmp_path)

    assert "The first 2 of 3 rows; events.csv has all of them." in page
    assert "The first 2 of 4 versions." in page


def test_the_spreadsheet_has_every_event_and_no_formula(report: Compliance) -> None:
    """RFC 4180: CRLF, quotes around what needs them; what a spreadsheet would run begins with an apostrophe."""
    text = table(report)
    rows = list(csv.DictReader(io.StringIO(text, newline="")))

    assert len(report.acts) == len(rows) == text.count("\r\n") - 1
    assert [str(act.event.sequence) for act in report.acts] == [row["sequence"] for row in rows]
    assert f"'{HOSTILE}" in {row["reason"] for row in rows}
    assert [] == [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@x", "'@x"),
        ("\tx", "'\tx"),
        ("a=b", "a=b"),
        ("", ""),
        (-1, -1),
    ],
)
def test_cells_are_harmless(cell: object, expected: object) -> None:
    """Texts that begin like a formula are told apart from numbers and from everything else."""
    assert expected == harmless_cell(cell)


def test_the_document_names_every_column() -> None:
    """What a column means is written down."""
    text = (REPOSITORY / "docs" / "COMPLIANCE.md").read_text(encoding="utf-8")

    assert [] == [name for name in COLUMNS if f"`{name}`" not in text]


def test_as_data(report: Compliance) -> None:
    """What `--json` prints: figures, alerts and the moves by column."""
    data = document(report)

    assert {"promotions": 3, "overrides": 1, "rollbacks": 1} == {
        name: data["counts"][name] for name in ("promotions", "overrides", "rollbacks")
    }
    assert ["1.2.0"] == [row["version"] for row in data["overrides"]]
    assert "john.doe@company.com" == data["rollbacks"][0]["approver"]


def test_the_audit_goes_into_the_report(
    journal: Journal, scribe: Scribe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sound records are said to be; an edited event is the first alert and is named."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "keys"))
    monkeypatch.setenv("PROMOTION_HOME", str(tmp_path))
    settings = Settings.from_environment()
    assert verified(journal, settings).intact
    write_past_the_journal(journal, "DROP TRIGGER promotion_event_no_update")
    write_past_the_journal(journal, "UPDATE promotion_event SET actor = 'nobody' WHERE sequence = 2")
    report = collect(journal, {}, OCTOBER, verification=verified(journal, settings))
    page = page_of(report, tmp_path)

    assert report.alerts[0].startswith("The records do not verify")
    assert "What does not verify" in page
    assert "event 2" in page


def test_a_page_that_cannot_be_written_leaves_nothing(report: Compliance, tmp_path: Path) -> None:
    """One line names the file and the option; no half page, no temporary file."""
    (tmp_path / "taken").mkdir()
    with pytest.raises(PromotionError, match=r"taken: cannot be written: .*--output"):
        write_compliance_page(report, tmp_path / "taken", spreadsheet=tmp_path / "x.csv", journal_exists=True)

    assert [] == list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("docs/runbook.md", "../../docs/runbook.md"),
        ("https://wiki/runbook", "https://wiki/runbook"),
        ("mailto:ds@company.com", "mailto:ds@company.com"),
        ("javascript:alert(1)", ""),
    ],
)
def test_links(target: str, expected: str, tmp_path: Path) -> None:
    """Files are found from where the page is, addresses stay, and what a browser would run is no link."""
    assert expected == page_link(target, tmp_path / "reports" / "promotion" / "page.html", tmp_path)


def _dates(journal: Journal, month: str) -> list[tuple[int, str]]:
    report = collect(journal, {}, Month.parse(month))
    rows = [line.split(",")[0] for line in table(report).splitlines()[1:]]
    assert {str(item.act.event.sequence) for item in report.misdated} <= set(rows)
    assert bool(report.misdated) == any("dated out of order" in alert for alert in report.alerts)
    return [(item.act.event.sequence, f"{item.after:%m-%d} {item.before:%m-%d}") for item in report.misdated]


@pytest.mark.system
def test_a_record_dated_in_another_month_is_listed_where_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its place in the chain: an agent's clock was eight days ahead, another's a year behind."""
    journal = a_journal(tmp_path / "new")
    scribe = Scribe(journal, monkeypatch)
    for month, day in ((10, 25), (10, 26), (11, 6), (10, 29), (11, 2)):
        scribe.at(day, month=month)
        journal.record(FAMILY, a_version(FAMILY), Authority("refuse", "anna", "no"))
    monkeypatch.setattr(clock, "now", lambda: datetime(2025, 11, 3, tzinfo=UTC))
    journal.record(FAMILY, a_version(FAMILY), Authority("refuse", "anna", "no"))
    for day in (4, 5):
        scribe = Scribe(journal, monkeypatch)
        scribe.at(day, month=11)
        journal.record(FAMILY, a_version(FAMILY), Authority("refuse", "anna", "no"))

    assert [(3, "10-26 10-29")] == _dates(journal, "2026-10")
    assert [(6, "11-02 11-04")] == _dates(journal, "2026-11")
    assert [] == _dates(journal, "2026-09")


def test_a_rehearsal_is_listed_in_the_month_it_was_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever date it set."""
    journal = a_journal(tmp_path / "new")
    scribe = Scribe(journal, monkeypatch)
    for day in (3, 4):
        scribe.at(day)
        journal.record(FAMILY, a_version(FAMILY), Authority("refuse", "anna", "no"))
        scribe.at(1, month=12)
        journal.record(FAMILY, a_version(FAMILY), Authority("refuse", "anna", "no", details=dict(clock.MARK)))
    scribe.at(5)

    assert [(2, "10-03 10-04"), (4, "10-04 10-05")] == _dates(journal, "2026-10")


def test_an_undisturbed_month_has_no_record_out_of_order(report: Compliance) -> None:
    """Not even its rehearsal, which is told of anyway."""
    assert [] == report.misdated
