"""Pages for people: self-contained HTML that a browser shows, a printer prints and Jenkins archives.

Nothing is fetched when a page is opened: style and figures are inside, scripts there are none, and a content security
policy in the page says so to the browser.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from promotion.artifacts.signature import signed_by
from promotion.config.printable import printable
from promotion.data.files import write_whole
from promotion.errors import PromotionError

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = Path(__file__).parent
_SHOWN_DIGITS = 12
_LINKED = {"http", "https", "mailto"}


def render_page(template: Path, **facts: Any) -> str:
    """Fill a template; everything is escaped, and a fact the template misses is an error.

    Args:
        template: The file; what it extends and imports lies in this folder.
        facts: What it shows, by the template's names.
    """
    return _environment(template.parent).get_template(template.name).render(**facts)


def write(path: Path, text: str) -> None:
    """Write a page or a table whole or not at all; the folder is made where it is missing.

    Args:
        path: Where to.
        text: The content; line ends are written as they are.

    Raises:
        PromotionError: It cannot be written.
    """
    try:
        write_whole(path, text)
    except OSError as error:
        raise PromotionError(
            f"{path}: cannot be written: {error.strerror}; name another place with --output"
        ) from error


@cache
def _environment(folder: Path) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([folder, FOLDER]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"utc": utc, "day": day, "digits": digits, "number": number, "flat": flat, "signer": signer}
    return environment


def _shown(value: Any) -> Any:
    """Text as it may be seen: nobody turns, hides or overwrites what a page says. Markup is our own."""
    return value if not isinstance(value, str) or hasattr(value, "__html__") else printable(value, keep="\t\n")


def utc(at: datetime) -> str:
    """A moment to the second, as every page spells it."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def day(on: date) -> str:
    """A date as every page spells it."""
    return f"{on:%Y-%m-%d}"


def digits(digest: str | None) -> str:
    """The first digits of a digest, enough to tell two apart."""
    return digest[:_SHOWN_DIGITS] if digest else "—"


def number(value: float, spelling: str) -> str:
    """A number in Python's format, with a real minus sign."""
    return f"{value:{spelling}}".replace("-", "\N{MINUS SIGN}")


def flat(facts: Mapping[str, Any]) -> dict[str, str]:
    """Nested facts as lines: `{"data": {"sha256": "ab"}}` becomes `{"data sha256": "ab"}`; empty ones are left out."""
    lines: dict[str, str] = {}
    for name, value in facts.items():
        if isinstance(value, Mapping):
            lines |= {f"{name} {inner}": text for inner, text in flat(value).items()}
        elif isinstance(value, list | tuple):
            lines[name] = ", ".join(map(str, value))
        elif value is not None:
            lines[name] = str(value)
    return {name.replace("_", " "): text for name, text in lines.items() if text}


def signer(signature: str | None) -> str:
    """Whose key signed an artifact, in words."""
    if not signature:
        return "not signed"
    try:
        return f"by key {signed_by(signature)}"
    except PromotionError as error:
        return str(error)


def page_link(target: str, page: Path, home: Path) -> str:
    """What a link on a page leads to; empty when it must not be one.

    Args:
        target: An address, or a file relative to the project's home.
        page: Where the page will be.
        home: The project's home.
    """
    scheme = urlsplit(target).scheme
    if scheme:
        return target if scheme in _LINKED else ""
    return os.path.relpath(home / target, page.parent)
