"""A version's two names."""

from __future__ import annotations

import pytest

from promotion.errors import UsageError
from promotion.registry.semver import is_semantic, next_minor, parse_version, require_semantic


@pytest.mark.parametrize(
    ("text", "expected"),
    [(3, 3), ("3", 3), (" 3 ", 3), ("v3", 3), ("1.2.0", "1.2.0"), ("v1.2.0", "1.2.0"), ("10.0.12", "10.0.12")],
)
def test_numbers_and_semantic_versions_are_told_apart(text: str | int, expected: int | str) -> None:
    """MLflow's number comes back as an integer, a semantic version as text; a leading v is habit."""
    assert expected == parse_version(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "-1", "1.2", "01.2.0", "1.2.0-rc1", "latest", "1.2.0.0", "v"),
        *("9" * 12, "9" * 5000, f"1.2.{'9' * 70}"),
    ],
)
def test_anything_else_is_refused_with_what_was_expected(text: str) -> None:
    """One line that shows both forms."""
    with pytest.raises(UsageError, match=r"is no version: expected MLflow's number \(3\) or a semantic version"):
        parse_version(text)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ([], "1.0.0"),
        (["3", "latest"], "1.0.0"),
        (["1.0.0"], "1.1.0"),
        (["1.9.0", "1.10.3"], "1.11.0"),
        (["1.9.0", "2.0.1", "7"], "2.1.0"),
    ],
)
def test_the_next_version_is_the_next_minor_one(known: list[str], expected: str) -> None:
    """Compared as numbers; what is no semantic version is passed over."""
    assert expected == next_minor(known)


def test_a_given_semantic_version_is_checked() -> None:
    """`--semver` takes three numbers and nothing else."""
    assert "1.2.0" == require_semantic("1.2.0")
    assert not is_semantic("1.2.0\n")
    with pytest.raises(UsageError, match=r"expected MAJOR.MINOR.PATCH such as 1.2.0"):
        require_semantic("3")
