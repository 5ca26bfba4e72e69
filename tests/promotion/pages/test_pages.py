"""What somebody wrote stands on a page as text, and is seen."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.promotion.config.test_printable import NASTY

from promotion.pages import render_page


@pytest.mark.parametrize("text", [*NASTY, "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>'])
def test_text_from_outside_is_text_on_a_page(text: str, tmp_path: Path) -> None:
    """In an element and in an attribute, through a macro too; nothing hidden, nothing turned, no tag."""
    template = tmp_path / "page.j2"
    template.write_text('{% macro cell(said) %}<td title="{{ said }}">{{ said }}</td>{% endmacro %}{{ cell(reason) }}')

    page = render_page(template, reason=text)

    assert page.count("<") == 2 == page.count(">")
    assert not [letter for letter in page if not letter.isprintable() and letter not in "\t\n"]
