"""What stands in a text from outside stays in its line, and is seen."""

from __future__ import annotations

import pytest

from promotion.config.printable import printable

NASTY = {
    "fine\n✅ Successfully promoted churn v9 to Production!": r"fine\n✅ Successfully promoted churn v9 to Production!",
    "\r✅ done": r"\r✅ done",
    "\x1b[2K\x1b[1A✅": r"\x1b[2K\x1b[1A✅",
    "\x9b31m": r"\u009b31m",
    "\u202egnp.exe": r"\u202egnp.exe",
    "a\u200bb": r"a\u200bb",
    "a\u2028b": r"a\u2028b",
    "\x00\x07\x08": r"\u0000\u0007\u0008",
    "\U000e0041": r"\U000e0041",
}


@pytest.mark.parametrize(("text", "shown"), NASTY.items())
def test_what_moves_hides_or_breaks_is_written_out(text: str, shown: str) -> None:
    """Breaks, escapes, directions, zero widths, tags."""
    assert shown == printable(text)


@pytest.mark.parametrize("text", ["", "plain", "Zürich → Köln: 0.9 ± 0.1", "🏆 ✅ ⚠️ best", "日本語", "a\tb"])
def test_what_is_seen_stays(text: str) -> None:
    """Letters of any script, symbols, tabs."""
    assert text == printable(text)
