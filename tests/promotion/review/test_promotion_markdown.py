"""Text from outside stays text where Markdown is shown."""

from __future__ import annotations

import pytest

from promotion.review.promotion_markdown import _block, _cell


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a | b", r"a \| b"),
        ("[x](http://evil)", r"\[x\](http://evil)"),
        ("<img src=x>", r"\<img src=x>"),
        ("`rm`", r"\`rm\`"),
        ("**bold**", r"\*\*bold\*\*"),
        ("~~gone~~", r"\~\~gone\~\~"),
        ("&#64;team", r"\&#64;team"),
        ("@team look", "@\u2060team look"),
        ("anna@example.com", "anna@example.com"),
        ("two\nlines", r"two\\nlines"),
    ],
)
def test_a_cell_holds_text_alone(text: str, shown: str) -> None:
    """Neither a column, a link, a picture, code nor a call."""
    assert shown == _cell(text)


def test_no_name_ends_a_block_of_commands() -> None:
    """A line break in a model's name begins no line of the page."""
    first, command, last = _block(["approve 'churn\n```\n# approved by all'"])

    assert ("```bash", r"approve 'churn\n```\n# approved by all'", "```") == (first, command, last)
