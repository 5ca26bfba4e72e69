"""`promotion doctor` and `scripts/doctor.py`: what a person and a pipeline read of an installation's state."""

from __future__ import annotations

import json
import runpy

import pytest
from click.testing import CliRunner, Result
from tests.promotion.factories import Store

from promotion.cli.main import main
from promotion.config.settings import REPOSITORY
from promotion.registry.stages import Stage


@pytest.fixture
def team(store: Store) -> Store:
    """A registry with two versions in Production, and no family."""
    for path in (store.home / "config").glob("*.yaml"):
        path.unlink()
    for _ in range(2):
        number = store.register("churn", roc_auc=0.9)
        store.move("churn", number, Stage.PRODUCTION)
    return store


def doctor(*arguments: str) -> Result:
    script = runpy.run_path(str(REPOSITORY / "scripts" / "doctor.py"), run_name="doctor")["main"]
    result = CliRunner().invoke(script, arguments)
    assert "unexpected" not in result.output
    return result


@pytest.mark.usefixtures("team")
def test_findings_end_with_three_and_say_what_to_type() -> None:
    """Data on standard output, one line of talk; verbs for who called a verb, scripts for who called a script."""
    script, verb = doctor(), CliRunner().invoke(main, ["doctor"], prog_name="promotion")

    assert (3, 3) == (script.exit_code, verb.exit_code)
    assert "❌ churn: MLflow shows churn v1 and churn v2 in Production, the journal holds none" in script.stdout
    assert "→ python scripts/promote-model.py --reconcile --model churn" in script.stdout
    assert "→ promotion promote --reconcile --model churn" in verb.stdout
    assert script.stderr == "3 findings (2 unsigned, 1 production), each with what mends it\n"


@pytest.mark.usefixtures("team")
def test_json_has_checks_and_findings() -> None:
    """Each with check, kind, where, problem and remedy."""
    answer = doctor("--json")
    document = json.loads(answer.stdout)

    assert (3, 3) == (answer.exit_code, document["exit_code"])
    assert {"connection", "versions", "rights", "clock", "journal", "keys", "sandbox", "families", "registry"} == set(
        document["checks"]
    )
    assert {"check", "kind", "where", "problem", "remedy"} == set(document["findings"][0])


@pytest.mark.usefixtures("home")
def test_without_anything_nothing_is_wrong() -> None:
    """A fresh home."""
    answer = doctor()

    assert 0 == answer.exit_code, answer.output
    assert answer.stdout.startswith("✅ connection")


def test_no_connection_ends_with_one(team: Store, monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> None:
    """The line says which server did not answer; the other checks are printed all the same."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")

    answer = doctor()

    assert 1 == answer.exit_code
    assert "http://127.0.0.1:9: no connection" in answer.stderr
    assert "✅ sandbox" in answer.stdout or "sandbox" in answer.stdout
    assert waits


@pytest.mark.usefixtures("team")
@pytest.mark.system
def test_many_findings_of_one_kind_are_cut_and_counted(team: Store) -> None:
    """`--json` has all of them; text from outside stays in its line."""
    for number in range(15):
        team.register("late", roc_auc=0.9)
        team.client.set_registered_model_alias("late", f"a{number}", str(number + 1))
    team.sql("UPDATE registered_model_aliases SET version = version + 100 WHERE name = 'late'")

    answer = doctor()

    assert "… and 5 more of kind alias; --json has all of them" in answer.stdout
    assert 15 == sum(item["kind"] == "alias" for item in json.loads(doctor("--json").stdout)["findings"])
