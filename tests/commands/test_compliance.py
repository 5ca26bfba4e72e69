"""`scripts/compliance-report.py`: the month on a page and in a spreadsheet."""

from __future__ import annotations

import csv
import json
import runpy
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.promotion.compliance.months import FAMILY, october
from tests.promotion.factories import a_journal

from promotion.config.settings import REPOSITORY

Report = Callable[..., Result]


@pytest.fixture
def report() -> Report:
    """Call the command in this process."""
    main = runpy.run_path(str(REPOSITORY / "scripts" / "compliance-report.py"), run_name="compliance_report")["main"]
    return lambda *arguments: CliRunner().invoke(main, arguments)


@pytest.fixture
def month(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with an October in its journal."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "keys"))
    october(a_journal(home), monkeypatch)
    return home


@pytest.mark.system
def test_the_documented_line(month: Path, report: Report) -> None:
    """Page and spreadsheet are where the document says, figures on the console, the override loud on stderr."""
    result = report("--month", "2026-10", "--verify")

    folder = month / "reports" / "compliance"
    assert 0 == result.exit_code, result.output
    assert result.stdout.startswith("📋 Compliance 2026-10: 3 promotions, 1 override, 1 rollback, 1 refusal,")
    assert [f"✅ {folder / 'compliance-2026-10.html'}", f"✅ {folder / 'compliance-2026-10.csv'}"] == (
        result.stdout.splitlines()[1:]
    )
    assert "⚠️ 1 move overrode gates that refused" in result.stderr
    page = (folder / "compliance-2026-10.html").read_text(encoding="utf-8")
    assert "events verified: nothing was changed after it was recorded." in page
    with (folder / "compliance-2026-10.csv").open(encoding="utf-8", newline="") as file:
        assert {FAMILY, "heart-disease"} == {row["family"] for row in csv.DictReader(file)}


def test_records_that_were_changed_end_in_exit_3(month: Path, report: Report) -> None:
    """The report is written all the same, with the finding on top."""
    with closing(sqlite3.connect(month / "promotion.db", isolation_level=None)) as database:
        database.execute("DROP TRIGGER promotion_event_no_update")
        database.execute("UPDATE promotion_event SET reason = 'routine' WHERE details LIKE '%override%'")

    result = report("--month", "2026-10", "--verify", "--json")

    document = json.loads(result.stdout)
    assert (3, 3) == (result.exit_code, document["exit_code"])
    assert not document["verification"]["intact"]
    assert "do not verify" in document["alerts"][0]
    assert "What does not verify" in Path(document["page"]).read_text(encoding="utf-8")
    assert "NOT sound" in result.stderr


@pytest.mark.system
def test_one_family_in_a_folder_of_ones_own(month: Path, report: Report, tmp_path: Path) -> None:
    """Both files carry the family's name."""
    result = report("--month", "2026-10", "--model", "heart-disease", "--output", str(tmp_path / "out"))

    assert 0 == result.exit_code, result.output
    assert ["compliance-2026-10-heart-disease.csv", "compliance-2026-10-heart-disease.html"] == sorted(
        path.name for path in (tmp_path / "out").iterdir()
    )


def test_an_empty_month_is_no_failure(home: Path, report: Report) -> None:
    """Even before there is a journal; none is created."""
    result = report("--month", "2020-02")

    assert 0 == result.exit_code, result.output
    assert "📋 Compliance 2020-02: nothing was recorded" == result.stdout.splitlines()[0]
    page = (home / "reports" / "compliance" / "compliance-2020-02.html").read_text(encoding="utf-8")
    assert "Nothing was recorded in this month" in page
    assert "There is no journal at" in page
    assert not (home / "promotion.db").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--month", "October"), "'October' is no month: expected YYYY-MM such as 2026-10"),
        (("--month", "2026-13"), "'2026-13' is no month"),
        (("--month", "2026-10", "--model", "nobody"), "unknown family 'nobody'"),
    ],
)
def test_usage_errors_are_one_line(month: Path, report: Report, arguments: tuple[str, ...], message: str) -> None:
    """Exit 2, nothing written."""
    result = report(*arguments)

    assert (2, 1) == (result.exit_code, len(result.stderr.splitlines())), result.output
    assert message in result.stderr
    assert not (month / "reports").exists()
