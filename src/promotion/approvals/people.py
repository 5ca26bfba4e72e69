"""Who a name means: the account that acts, and whether two spellings are one person."""

from __future__ import annotations

import getpass
import os
import re
import socket
import unicodedata
from collections.abc import Iterable

from promotion.config.printable import is_unicode
from promotion.errors import UsageError

_ATOM = r"[\w-]+(?:'[\w-]+)*"
_PLAIN = re.compile(rf"{_ATOM}(?:\.{_ATOM})*(?:\[bot\])?(?:\+[^@]*)?(?:@[\w.:\[\]-]+)?", re.ASCII)
"""An account or address without what mail programs leave out or take apart: quotes, comments, a second dot or @."""


_LONGEST, _SHOWN = 256, 40


def actor() -> str:
    """The person behind this process.

    `PROMOTION_ACTOR` if set, else the person who started the Jenkins build (`BUILD_USER_ID`, set by the build-user-vars
    plugin), else the login name with the host's.

    Raises:
        UsageError: The variable holds what no journal can keep: bytes that are no UTF-8, or hundreds of letters.
    """
    for variable in ("PROMOTION_ACTOR", "BUILD_USER_ID"):
        if named := os.environ.get(variable):
            if len(named) > _LONGEST or not is_unicode(named):
                raise UsageError(
                    f"{variable} is {named[:_SHOWN]!a}: expected a name in UTF-8, at most {_LONGEST} letters"
                )
            return named
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def person(name: str) -> str:
    """A name as it is compared: `John Doe <John.Doe@company.com>` and `john.doe@laptop` are one person.

    What nobody sees or types on purpose (blanks, zero-width characters, other forms of the same letter) makes no other
    person. Whether a name may be given at all, `readable_person` says.
    """
    shown = unicodedata.normalize("NFKC", _address(name))
    seen = "".join(
        letter for letter in shown if not letter.isspace() and not unicodedata.category(letter).startswith("C")
    )
    # What follows a plus is a label that the owner of the mailbox made up.
    return seen.casefold().partition("@")[0].partition("+")[0]


def readable_person(name: str) -> str:
    """The person a name means, in the form that is compared, where nobody could read it as another one.

    Args:
        name: An account or an address, `john.doe@company.com`, also as `John Doe <john.doe@company.com>`.

    Raises:
        UsageError: It is empty, or holds blanks, invisible characters or letters beyond ASCII, some of which look like
            others, or what mail programs leave out (quotes, comments, further dots); the message names the first.
    """
    address = _address(name)
    for letter in address:
        if not ("!" <= letter <= "~"):
            what = "a blank" if letter == " " else unicodedata.name(letter, f"U+{ord(letter):04X}")
            raise UsageError(
                f"{name!a}: {what} in the name of a person: write the account or address in plain ASCII, "
                "such as john.doe@company.com"
            )
    if not _PLAIN.fullmatch(address) or not person(address):
        raise UsageError(
            f"{name!a}: no plain name of a person: expected an account or address of letters, digits, _ and -, with "
            "single dots between them, such as john.doe@company.com"
        )
    return person(address)


def _address(name: str) -> str:
    """`john@company.com` of `John Doe <john@company.com>`; anything else without blanks around it."""
    stripped = name.strip()
    shown, bracket, address = stripped.rpartition("<")
    # A second address before the one that counts would be read as the person.
    is_named = bracket and stripped.endswith(">") and not {"@", "<", ">"} & set(shown)
    return address.removesuffix(">").strip() if is_named else stripped


def misreading(name: str) -> str:
    """Why a recorded name counts for nobody, as `readable_person` says it; empty when it does."""
    try:
        readable_person(name)
    except UsageError as error:
        return str(error)
    return ""


def persons(names: Iterable[str]) -> set[str]:
    """Names as they are compared, blank ones left out."""
    return {person(name) for name in names if name.strip()}


def trainers(account: str, commit_author: str | None, ci_accounts: Iterable[str]) -> list[str]:
    """The persons behind a training: who caused it and who wrote the code, never a CI account; empty when unknown."""
    machines = persons(ci_accounts)
    return sorted({name for name in (account, commit_author) if name and name.strip() and person(name) not in machines})
