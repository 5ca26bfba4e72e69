"""Two spellings of one person are one person, and a spelling that could be read as another's is refused."""

from __future__ import annotations

import re

import pytest

from promotion.approvals.people import actor, misreading, person, readable_person
from promotion.errors import UsageError

JOHN = "john.doe@company.com"
OTHERS = {
    "a blank before the @": "john.doe @company.com",
    "a zero-width space": "john\u200b.doe@company.com",
    "a soft hyphen": "john\u00ad.doe@company.com",
    "a Cyrillic letter": "j\u043ehn.doe@company.com",
    "a full-width letter": "\uff4aohn.doe@company.com",
    "a direction mark": "\u202ejohn.doe@company.com",
    "a no-break space": "john.doe\u00a0@company.com",
    "an escape sequence": "john.doe\x1b[2K@company.com",
    "a line break": "john.doe\n@company.com",
    "nothing": "  ",
    "no account": "@company.com",
    "a dot at the end": "john.doe.@company.com",
    "two dots": "john..doe@company.com",
    "quotes": '"john.doe"@company.com',
    "a comment": "john.doe(on call)@company.com",
    "a domain before the account": "COMPANY\\john.doe",
    "a scheme": "mailto:john.doe@company.com",
    "a route": "john.doe%company.com@relay.example",
    "a second @": "john.doe@company.com@relay.example",
    "a comma": "john.doe@company.com,",
    "an address as the name before another": '"john.doe@company.com" <eve@x.org>',
    "two addresses": "eve@x.org, John <john.doe@company.com>",
    "an ideographic full stop": "john\u3002doe@company.com",
}


@pytest.mark.parametrize(
    "spelling",
    [
        *(JOHN, "  John.Doe@company.com\n", "john.doe@laptop", "john.doe", f"<{JOHN}>", f"John Doe <{JOHN}>"),
        *("J <JOHN.DOE@x.org>", '"Doe, John" <john.doe@company.com>', "john.doe+approvals@company.com"),
    ],
)
def test_one_person_whatever_the_spelling(spelling: str) -> None:
    """Case, host, the name before an address and a mailbox's label make no other person."""
    assert "john.doe" == person(spelling) == readable_person(spelling)


@pytest.mark.parametrize("name", ["o'brien@company.com", "jane_d-2", "dependabot[bot]", "uid-1000@build-7.local:22"])
def test_a_plain_name_is_taken_as_it_is(name: str) -> None:
    """Also an apostrophe within, and the mark of an account that is a program's."""
    assert name.partition("@")[0] == readable_person(name)


@pytest.mark.parametrize("name", OTHERS.values(), ids=OTHERS)
def test_a_name_that_could_be_misread_is_refused(name: str) -> None:
    """One line that names the letter; nothing of it reaches a console as it is."""
    with pytest.raises(UsageError) as refused:
        readable_person(name)

    assert str(refused.value).isprintable()
    assert "john.doe@company.com" in str(refused.value)
    assert misreading(name)


@pytest.mark.parametrize(
    "name", [OTHERS[key] for key in OTHERS if key.startswith(("a blank", "a zero", "a soft", "a full-", "a no"))]
)
def test_what_nobody_sees_makes_no_other_person(name: str) -> None:
    """Records from before are compared without it."""
    assert "john.doe" == person(name)


@pytest.mark.parametrize("variable", ["PROMOTION_ACTOR", "BUILD_USER_ID"])
@pytest.mark.parametrize("name", ["caf\udce9", "a" * 257])
def test_an_account_that_no_journal_can_keep_is_named(
    variable: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is done in its name."""
    monkeypatch.delenv("PROMOTION_ACTOR", raising=False)
    monkeypatch.setenv(variable, name)

    with pytest.raises(UsageError, match=f"{variable} is .*: expected a name in UTF-8, at most 256 letters"):
        actor()


def test_the_acting_account_is_readable_without_a_login_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user without an entry in passwd can act, and be compared."""
    for name in ("PROMOTION_ACTOR", "BUILD_USER_ID"):
        monkeypatch.delenv(name, raising=False)

    def unknown() -> str:
        raise KeyError

    monkeypatch.setattr("getpass.getuser", unknown)

    assert readable_person(actor()).startswith("uid-")


@pytest.mark.parametrize(
    ("letter", "named"),
    [
        (" ", "a blank"),
        ("\t", "U+0009"),
        ("\n", "U+000A"),
        ("\x7f", "U+007F"),
        ("\u00a0", "NO-BREAK SPACE"),
        ("\u00df", "LATIN SMALL LETTER SHARP S"),
    ],
)
def test_the_letter_that_cannot_be_is_named(letter: str, named: str) -> None:
    """By what it is, or by its number: the one before `!` and the one behind `~` of ASCII are out already."""
    with pytest.raises(UsageError, match=re.escape(f": {named} in the name of a person")):
        readable_person(f"john{letter}doe")
    for plain in "!~":
        with pytest.raises(UsageError, match="no plain name of a person"):
            readable_person(f"john{plain}doe")


@pytest.mark.parametrize("name", ["a", "a" * 255, "a" * 256, "caf\u00e9"])
def test_an_account_that_a_journal_keeps_is_taken_as_it_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to 256 letters; the one who started the build is asked for where no actor is named."""
    monkeypatch.setenv("BUILD_USER_ID", name)
    monkeypatch.setenv("PROMOTION_ACTOR", "")
    assert name == actor()
    monkeypatch.setenv("PROMOTION_ACTOR", "anna")
    assert "anna" == actor()
