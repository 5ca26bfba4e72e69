"""Text from outside as it may be printed: nobody can forge a line, move the cursor, or hide what stands there."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_LONGEST = 60
_SHORT = {"\n": "\\n", "\r": "\\r", "\x1b": "\\x1b"}
_MARKUP = re.compile(r"[\\`<\[\]]")
_FORMULA = frozenset("=+-@\uff1d\uff0b\uff0d\uff20")
"""With what a formula begins, full-width letters included."""
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
"""Categories of what moves, hides or turns text: controls, formats (bidirectional, zero-width), separators of lines."""


def printable(text: str, *, keep: str = "\t") -> str:
    r"""Write out what would not be seen: a line break as `\n`, an escape as `\x1b`, others as `\u202e`.

    Args:
        text: One line, whoever wrote it.
        keep: Characters that stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter in keep or not _is_hidden(letter) else _spelled(letter) for letter in text)


def first_names(names: Sequence[str], most: int = 8) -> str:
    """Names for a message: the first of them, and whether there are more."""
    return ", ".join(printable(name[:_LONGEST]) for name in names[:most]) + (", …" if len(names) > most else "")


def is_unicode(text: str) -> bool:
    """Whether it can be written as UTF-8: bytes that are none come from the system as halves of surrogate pairs."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def as_markdown(text: str) -> str:
    """The same where Markdown is shown, as in MLflow's descriptions: no link, picture, code or tag inside."""
    return _MARKUP.sub(r"\\\g<0>", printable(text))


def as_cell(text: str) -> str:
    """The same in a table's cell: no spreadsheet program takes it for a formula (OWASP, CSV injection)."""
    shown = printable(text)
    return f"'{shown}" if shown.startswith("\t") or shown.lstrip()[:1] in _FORMULA else shown


def _is_hidden(letter: str) -> bool:
    return unicodedata.category(letter) in _HIDDEN


def _spelled(letter: str) -> str:
    return _SHORT.get(letter) or (f"\\u{ord(letter):04x}" if ord(letter) < 0x10000 else f"\\U{ord(letter):08x}")  # noqa: PLR2004  # the last code point of four digits
