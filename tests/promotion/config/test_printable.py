"""What stands in a text from outside stays in its line, and is seen."""

from __future__ import annotations

import pytest

from promotion.config.printable import as_cell, as_markdown, printable

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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("fine\n\n# Approved by the board", r"fine\\n\\n# Approved by the board"),
        ("[approved](https://evil.example)", r"\[approved\](https://evil.example)"),
        ("![](https://evil.example/seen.png)", r"!\[\](https://evil.example/seen.png)"),
        (r"\[x](y)", r"\\\[x\](y)"),
        ("<img src=x>`code`", r"\<img src=x>\`code\`"),
        ("five points better on October, 0.9 (was 0.85)", "five points better on October, 0.9 (was 0.85)"),
    ],
)
def test_markdown_holds_no_markup_of_somebody_elses(text: str, shown: str) -> None:
    """MLflow shows descriptions as Markdown: links, pictures, code and tags are text."""
    assert shown == as_markdown(text)


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", " =1+1", "\t=1", "\tx", "\uff1d1+1", "=cmd|' /C calc'!A0"]
)
def test_a_cell_is_no_formula(text: str) -> None:
    """Whatever blanks stand before it; a cell is one line."""
    assert f"'{text}" == as_cell(text)


@pytest.mark.parametrize(
    ("text", "shown"), [("a\r\n1,2,3", r"a\r\n1,2,3"), ("\n=1", r"\n=1"), ("0.9 - 0.8", "0.9 - 0.8")]
)
def test_a_cell_is_one_line(text: str, shown: str) -> None:
    """A break would begin another row for whoever reads lines."""
    assert shown == as_cell(text)
