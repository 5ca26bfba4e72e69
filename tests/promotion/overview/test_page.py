"""The page about all families, as text."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.promotion.factories import Store
from tests.promotion.overview.full_house import NASTY, surveyed

from promotion.overview.page import write_overview_page
from promotion.overview.record import Overview


@pytest.fixture
def page(store: Store) -> str:
    """A house full of families."""
    reports = store.home / "reports"
    for name in ("promotion/churn-v3.html", "monitoring/churn.html", "compliance/compliance-2026-10.html"):
        (reports / name).parent.mkdir(parents=True, exist_ok=True)
        (reports / name).touch()
    write_overview_page(surveyed(store), reports / "index.html", home=store.home)
    return (reports / "index.html").read_text(encoding="utf-8")


def test_it_leads_to_the_pages_that_exist(page: str) -> None:
    """Relative to itself, so that an archive of the folder is whole."""
    for address in ("promotion/churn-v3.html", "monitoring/churn.html", "compliance/compliance-2026-10.html"):
        assert f'href="{address}"' in page
    assert "step 50 % (of 10, 50); advance at 10 %" in page
    assert "monitoring/quiet.html" not in page


def test_what_people_wrote_stays_text(page: str) -> None:
    """Names, reasons and findings: no tag, and nothing that turns text around."""
    assert "<img" not in page
    assert "<script" not in page
    assert "\u202e" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;\\u202e" in page
    assert NASTY not in page


def test_nothing_at_all_is_a_page_too(tmp_path: Path) -> None:
    """As is a place where nothing could be read, which is not called empty."""
    for unread, said in (([], "No family has a file"), (["MLflow cannot be read: <away>"], "No family could be read")):
        write_overview_page(Overview(datetime.now(UTC), [], unread), tmp_path / "index.html", home=tmp_path)
        text = (tmp_path / "index.html").read_text(encoding="utf-8")
        assert said in text
    assert "MLflow cannot be read: &lt;away&gt;" in text
