"""`scripts/promotion-report.py`: the page a reviewer reads before approving."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.commands.governed_home import GOVERNED
from tests.promotion.factories import Store

from promotion.config.settings import REPOSITORY

pytestmark = pytest.mark.system

Report = Callable[..., Result]
NAMED = ("--model-name", GOVERNED, "--version", "1.2.0")


@pytest.fixture
def report() -> Report:
    """Call the command in this process."""
    main = runpy.run_path(str(REPOSITORY / "scripts" / "promotion-report.py"), run_name="promotion_report")["main"]
    return lambda *arguments: CliRunner().invoke(main, arguments)


def test_the_documented_line(governed: Store, report: Report) -> None:
    """The page is where the document says; the refusal is told, is no failure, and nothing is recorded."""
    before = governed.rows()

    result = report(*NAMED)

    page = governed.home / "reports" / "promotion" / f"{GOVERNED}-v3.html"
    assert 0 == result.exit_code, result.output
    assert [f"📋 {GOVERNED} v3 may not enter Production: days in Staging, approvals", f"✅ {page}"] == (
        result.stdout.splitlines()
    )
    text = page.read_text(encoding="utf-8")
    assert "May not enter Production: 2 of" in text
    for role in ("data-science", "devops", "business", "security"):
        assert f'<th scope="row">{role}</th>' in text
    assert before == governed.rows()


def test_what_may_pass_is_said_too(governed: Store, report: Report, tmp_path: Path) -> None:
    """Back into Staging: only soundness is asked, and the page goes where it was asked for."""
    page = tmp_path / "deep" / "page.html"

    result = report("--model-name", GOVERNED, "--version", "1.0.0", "--to-stage", "staging", "--output", str(page))

    assert 0 == result.exit_code, result.output
    assert "may enter Staging" in result.stdout
    assert "✓</span> May enter Staging" in page.read_text(encoding="utf-8")


def test_as_json_it_is_one_document(governed: Store, report: Report, tmp_path: Path) -> None:
    """The gate report and where the page is."""
    page = tmp_path / "page.html"

    document = json.loads(report(*NAMED, "--output", str(page), "--json").stdout)

    assert (0, str(page), "1.2.0") == (document["exit_code"], document["page"], document["report"]["version"])
    assert page.is_file()


@pytest.mark.parametrize(
    ("name", "version", "exit_code", "message"),
    [
        (GOVERNED, "7.7.7", 2, "has no version 7.7.7"),
        (GOVERNED, "newest", 2, "'newest' is no version"),
        ("nobody", "1", 2, "nobody"),
        (GOVERNED, "1.1.0", 5, "is in Production already"),
    ],
)
def test_what_cannot_be_reported(
    governed: Store, report: Report, tmp_path: Path, name: str, version: str, exit_code: int, message: str
) -> None:
    """One line and the documented exit code, no page."""
    result = report("--model-name", name, "--version", version, "--output", str(tmp_path / "page.html"))

    assert (exit_code, 1) == (result.exit_code, len(result.stderr.splitlines())), result.output
    assert message in result.stderr
    assert [] == list(tmp_path.iterdir())


def test_a_page_that_cannot_be_written_is_one_line(governed: Store, report: Report, tmp_path: Path) -> None:
    """A file is in the way of the folder."""
    (tmp_path / "taken").write_text("")

    result = report(*NAMED, "--output", str(tmp_path / "taken" / "page.html"))

    assert 1 == result.exit_code
    assert "cannot be written" in result.stderr.splitlines()[-1]


def test_as_markdown_it_goes_to_the_output(governed: Store, report: Report, tmp_path: Path) -> None:
    """For the summary of a pipeline: each gate, each role, and what a reviewer types; a file where one is asked for."""
    before = governed.rows()
    told = report(*NAMED, "--format", "markdown")
    written = report(*NAMED, "--format", "markdown", "--output", str(tmp_path / "summary.md"), "--json")

    assert (0, 0) == (told.exit_code, written.exit_code), told.output
    lines = told.stdout.splitlines()
    assert f"### {GOVERNED} v3 (1.2.0)" == lines[0]
    assert "**❌ may not enter Production: days in Staging, approvals**" in lines
    assert "| | gate | measured | required |" in lines
    assert "| ❌ | security | nobody yet |" in lines
    assert any(
        line.startswith("python mlops/registry/approve_model.py") and "--role security" in line for line in lines
    )
    assert told.stdout == (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert str(tmp_path / "summary.md") == json.loads(written.stdout)["page"]
    assert before == governed.rows()
    assert not (governed.home / "reports").exists()
