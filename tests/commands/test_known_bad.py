"""`mlops/registry/known_bad.py`: a mark is set and lifted, with exit codes and as JSON."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result
from tests.commands.conftest import Promote
from tests.promotion.factories import Store

from promotion.config.settings import REPOSITORY

pytestmark = pytest.mark.system

MODEL = "churn"
WHY = ("--reason", "trained on the wrong month")


@pytest.fixture
def known_bad(store: Store, promote: Promote, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Two versions of a model without configuration; the first serves."""
    for _ in range(2):
        store.register(MODEL)
    assert 0 == promote(MODEL, "1").exit_code
    monkeypatch.setenv("PROMOTION_ACTOR", "anna")
    script = REPOSITORY / "mlops" / "registry" / "known_bad.py"
    main = runpy.run_path(str(script), run_name="known_bad")["main"]
    return lambda *arguments: CliRunner().invoke(main, arguments)


def test_a_marked_version_is_not_promoted_until_the_mark_is_lifted(
    known_bad: Callable[..., Result], promote: Promote
) -> None:
    """The reason is shown by the gate; lifting it needs a reason, too."""
    marked = known_bad(MODEL, "2", *WHY)
    assert (0, "✅ churn v2 is known bad: trained on the wrong month\n") == (marked.exit_code, marked.stdout)
    assert 3 == promote(MODEL, "2").exit_code

    lifted = known_bad(MODEL, "2", "--lift", "--reason", "the month was right", "--json")

    assert (0, False) == (lifted.exit_code, json.loads(lifted.stdout)["known_bad"])
    assert 0 == promote(MODEL, "2").exit_code


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((MODEL, "1", *WHY), 3, "serves in Production"),
        ((MODEL, "2", "--lift", *WHY), 5, "not known bad: nothing to do"),
        ((MODEL, "9", *WHY), 2, "has no version 9"),
        (("nobody", "1", *WHY), 2, "nobody"),
        ((MODEL, "2", "--reason", "  "), 2, "--reason says nothing"),
        ((MODEL, "2"), 2, "--reason"),
    ],
)
def test_what_is_not_done_says_why(
    known_bad: Callable[..., Result], arguments: tuple[str, ...], code: int, said: str
) -> None:
    """Exit codes as everywhere; nothing is recorded."""
    result = known_bad(*arguments)

    assert code == result.exit_code
    assert said in result.stderr


def test_what_mlflow_does_not_show_yet_is_said_with_its_code(
    known_bad: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark is recorded; as JSON, too, the answer names it and says what is left to do."""
    monkeypatch.setattr("promotion.marking.mark_known_bad", lambda *_: "MLflow does not answer")

    result = known_bad(MODEL, "2", *WHY, "--json")

    said = json.loads(result.stdout)
    assert (6, True) == (result.exit_code, said["known_bad"])
    assert "churn v2 is known bad: trained on the wrong month; but MLflow does not answer" == said["message"]
