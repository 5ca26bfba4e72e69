"""What a missing program means for a run of the tests."""

from __future__ import annotations

import re

import pytest
from tests import programs
from tests.programs import INSTALL, needed, untested

from promotion.config.settings import REPOSITORY


@pytest.fixture
def nothing_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare machine."""
    monkeypatch.setattr(programs, "find", lambda _: None)
    monkeypatch.delenv("CI", raising=False)


def test_a_missing_program_skips_the_test_and_names_its_package(nothing_there: None) -> None:
    """So that who wants it tested knows what to install."""
    with pytest.raises(pytest.skip.Exception, match=r"^needs amtool: apt-get install prometheus-alertmanager$"):
        needed("amtool")


def test_where_everything_must_be_tested_it_is_a_failure(nothing_there: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that tests less than it should is not green."""
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="needs amtool: apt-get install prometheus-alertmanager"):
        needed("amtool")


def test_the_end_of_a_run_lists_what_was_left_out() -> None:
    """By program, with its package; another reason as it is."""
    reasons = [
        "Skipped: needs curl: apt-get install curl",
        "Skipped: needs curl: apt-get install curl",
        "Skipped: full moon",
    ]
    assert ["1 not run: Skipped: full moon", "2 not run for want of curl: apt-get install curl"] == untested(reasons)


def test_every_program_that_a_test_names_has_a_package() -> None:
    """A marker with a wrong name would fail on machines that lack it only."""
    named = {
        name
        for path in (REPOSITORY / "tests").rglob("*.py")
        for call in re.findall(r'(?:mark\.needs|needed)\(("[^)]+")\)', path.read_text(encoding="utf-8"))
        for name in re.findall(r'"([^"]+)"', call)
    }
    assert {"curl", "kubectl", "ssh-keygen"} <= named
    assert set() == named - set(INSTALL)


def test_nothing_else_skips() -> None:
    """One mechanism; but for a mount, which takes rights and no program, and what the lowest MLflow cannot do."""
    skipping = {
        path.relative_to(REPOSITORY / "tests").as_posix()
        for path in (REPOSITORY / "tests").rglob("*.py")
        if re.search(r"skipif|importorskip|pytest\.skip\(", path.read_text(encoding="utf-8"))
    }
    rights, lowest = {"promotion/factories.py"}, {"conftest.py", "promotion/registry/test_registry.py"}
    assert {"programs.py", "test_programs.py"} | rights | lowest == skipping
