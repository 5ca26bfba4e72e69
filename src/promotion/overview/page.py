"""The page about all families: `reports/index.html`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from promotion.overview.record import FamilyState, Overview
from promotion.pages import render_page, write
from promotion.pages.charts import Frame

SHOWN_SPANS = 40
"""How many spans of a family's past are drawn, the newest; the journal has all of them."""
_YEAR = timedelta(days=365)
_SHORTEST = timedelta(seconds=1)


def write_overview_page(
    overview: Overview, path: Path, *, home: Path, spell: Callable[[str], str] = lambda command: command
) -> None:
    """Write the page.

    Args:
        overview: What is known of the families.
        path: Of the page.
        home: The project's home, under which the other pages are.
        spell: Says a command as the reader calls it.

    Raises:
        PromotionError: It cannot be written.
    """
    frame = _frame(overview)
    asks = [(place, state, ask) for place, state in enumerate(overview.families) for ask in state.asks]
    page = render_page(
        Path(__file__).with_name("overview.html.j2"),
        overview=overview,
        reviews=[item for item in asks if item[-1].is_review],
        others=[item for item in asks if not item[-1].is_review],
        tiles=_tiles(overview),
        frame=frame,
        spell=spell,
        links=_links(path, home, overview.families),
        monthly=_monthly(path, home),
        shown_spans=SHOWN_SPANS,
        left=lambda since: min(max(frame.left, frame.across(since)), frame.right - 2),
    )
    write(path, page)


def _tiles(overview: Overview) -> list[tuple[int, str, bool]]:
    """How many, of what, and whether any is one too many."""
    states = overview.families
    return [
        (len(states), "families", False),
        (sum(state.serving is not None for state in states), "in Production", False),
        (sum(state.waiting is not None for state in states), "wait", False),
        (sum(ask.is_review for state in states for ask in state.asks), "approvals missing", False),
        (sum(bool(state.alerts) for state in states), "with alerts", True),
        (sum(bool(state.drift) for state in states), "drifted apart", True),
        (sum(state.report is not None and not state.report.passed for state in states), "last refused", False),
        (sum(bool(state.problem) for state in states), "broken files", True),
    ]


def _frame(overview: Overview) -> Frame:
    """One axis for all families: from the first move, at most a year ago, until now."""
    first: datetime = min((span.since for state in overview.families for span in state.spans), default=overview.at)
    since = min(max(first, overview.at - _YEAR), overview.at - _SHORTEST)
    return Frame((since, overview.at), left=0, right=1000, top=0, bottom=12, width=1000, height=12)


def _links(path: Path, home: Path, states: Sequence[FamilyState]) -> dict[str, list[tuple[str, str]]]:
    """Of each family the other pages that exist."""
    found: dict[str, list[tuple[str, str]]] = {}
    for state in states:
        versions = [(it.model, it.number) for it in (state.waiting, state.report) if it]
        versions += [(state.serving.entry.model, state.serving.entry.number)] if state.serving else []
        pages = {
            f"{model} v{number}": home / "reports" / "promotion" / f"{model}-v{number}.html"
            for model, number in dict.fromkeys(versions)
        }
        named = [(f"promotion report of {name}", page) for name, page in pages.items()]
        named.append(("monitoring", home / "reports" / "monitoring" / f"{state.family}.html"))
        found[state.family] = [(title, _address(page, path)) for title, page in named if _exists(page)]
    return found


def _monthly(path: Path, home: Path) -> list[tuple[str, str]]:
    """The compliance reports, newest first."""
    pages = sorted((home / "reports" / "compliance").glob("compliance-*.html"), reverse=True)
    return [(page.stem.removeprefix("compliance-"), _address(page, path)) for page in pages[:12]]


def _address(page: Path, origin: Path) -> str:
    return quote(os.path.relpath(page, origin.resolve().parent))


def _exists(page: Path) -> bool:
    """A name that is none for a file has no page."""
    try:
        return page.is_file()
    except (OSError, ValueError):
        return False
