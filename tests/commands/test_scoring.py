"""A team's own models, scored on its own rows by the commands: what passes, what is refused, with which exit code."""

from __future__ import annotations

import json
import runpy
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.promotion.evaluation.received.made import (
    FEATURES,
    RandomForestClassifier,
    customers,
    fitted,
    save,
    save_code,
)
from tests.promotion.factories import Store

from promotion.config.settings import REPOSITORY

pytestmark = [pytest.mark.system, pytest.mark.timeout(400), pytest.mark.needs("bwrap")]
FILE = """
family: churn
registered_model: churn
task: binary-classification
holdout: {path: holdout.csv, target: churned, positive: "yes"}
rollback: {cool_down_hours: 0}
"""
BOX = "artifacts: {code: sandbox}\n"


@pytest.fixture
def team(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A home with nothing of ours in it, and the team's rows."""
    for path in (store.home / "config").glob("*.yaml"):
        path.unlink()
    customers().to_csv(store.home / "holdout.csv", index=False)
    monkeypatch.setenv("PROMOTION_HOME", str(store.home))
    monkeypatch.setenv("PROMOTION_ACTOR", "anna")
    store.client.create_registered_model("churn")
    return store


def rules(team: Store, more: str = "") -> None:
    """What the family's file says."""
    (team.home / "config" / "churn.yaml").write_text(FILE + textwrap.dedent(more))


def registered(team: Store, folder: Path) -> int:
    """A version with these files."""
    return int(team.client.create_model_version("churn", source=str(folder)).version)


def call(script: str, *arguments: str) -> Result:
    """Run a command file in this process."""
    main = runpy.run_path(str(REPOSITORY / script), run_name="command")["main"]
    result = CliRunner().invoke(main, arguments)
    assert "unexpected" not in result.stderr
    assert "train.py" not in result.output
    return result


def checked(number: int = 1) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Exit code, report and gates by name of a check."""
    result = call("mlops/registry/check_promotion.py", "--model-name", "churn", "--version", str(number), "--json")
    document = json.loads(result.stdout)
    report = document["report"]
    return result.exit_code, report, {gate["name"]: gate for gate in report["results"]}


def test_a_pickle_is_refused_scored_promoted_and_taken_back(team: Store, tmp_path: Path) -> None:
    """With the line that allows it; then a better one takes over, and the first comes back without being loaded."""
    forest = fitted(last=RandomForestClassifier(20, random_state=1))
    registered(team, save(tmp_path / "forest", forest, customers()[FEATURES], serialization_format="cloudpickle"))
    rules(team)
    code, _, gates = checked()
    assert 3 == code
    assert "write `artifacts: {code: sandbox}`" in gates["safe files"]["why"]
    assert not gates["model runs"]["passed"]

    rules(team, BOX)
    assert 0 == call("scripts/promote-model.py", "churn", "1").exit_code
    registered(team, save(tmp_path / "line", fitted(), customers()[FEATURES], serialization_format="cloudpickle"))
    code, report, gates = checked(2)
    assert 0 == code
    assert "better than Production" in gates
    assert report["difference"]["low"] < report["difference"]["value"] < report["difference"]["high"]
    assert 0 == call("scripts/promote-model.py", "churn", "2").exit_code
    rules(team)
    back = call("mlops/registry/rollback_model.py", "--model-name", "churn", "--reason", "worse")
    assert 0 == back.exit_code, back.output


def test_slices_and_custom_gates(team: Store, tmp_path: Path) -> None:
    """Groups with their intervals, a command that sees the evidence, and a page that shows both."""
    registered(
        team,
        save(
            tmp_path / "line",
            fitted(),
            customers()[FEATURES],
            serialization_format="skops",
            skops_trusted_types=["numpy.dtype"],
        ),
    )
    (team.home / "profit.py").write_text(
        "import json, pathlib, sys\n"
        "evidence = json.load(sys.stdin)\n"
        "assert (pathlib.Path(evidence['artifact']) / 'MLmodel').is_file()\n"
        "value = evidence['candidate']['metrics']['recall'] * 100\n"
        "print(json.dumps({'passed': value > 99, 'measured': f'{value:.0f} EUR', 'required': '> 99 EUR'}))\n"
    )
    rules(
        team,
        f"""
        gates:
          slices: [{{column: plan, metric: recall, minimum: 0.99}}, {{column: age, metric: accuracy, bins: [30, 60]}}]
          custom: [{{name: profit, command: [{sys.executable}, profit.py]}}]
        """,
    )
    code, report, gates = checked()

    assert 3 == code
    assert {"recall by plan", "profit"} == {name for name, gate in gates.items() if not gate["passed"]}
    assert "EUR" in gates["profit"]["measured"]
    assert ["< 30", "30 – 60", "≥ 60"] == [each["group"] for each in report["slices"] if each["column"] == "age"]
    page = team.home / "page.html"
    result = call("scripts/promotion-report.py", "--model-name", "churn", "--version", "1", "--output", str(page))
    assert 0 == result.exit_code, result.output
    for text in ("recall by plan", "profit", "Groups of rows", "30 – 60"):
        assert text in page.read_text()


def test_a_holdout_without_target_is_refused_with_its_digest(team: Store, tmp_path: Path) -> None:
    """Nothing is loaded, and the digest stands in the report."""
    registered(team, save_code(tmp_path / "code", "raise RuntimeError('loaded')", customers()[FEATURES]))
    customers().drop(columns="churned").to_csv(team.home / "holdout.csv", index=False)
    rules(team, BOX)
    code, report, gates = checked()

    assert 3 == code
    assert "column 'churned' is missing (the target" in gates["holdout"]["why"]
    assert "loaded" not in json.dumps(report)
    assert report["data_sha256"][:12] in gates["holdout"]["measured"]
    (team.home / "holdout.csv").unlink()
    result = call("mlops/registry/check_promotion.py", "--model-name", "churn", "--version", "1")
    assert (1, 1) == (result.exit_code, len(result.stderr.strip().splitlines())), result.stderr


def test_a_hostile_model_is_refused_in_one_line(team: Store, tmp_path: Path) -> None:
    """By a gate, with what it did."""
    registered(team, save_code(tmp_path / "evil", "Path('/etc/evil').write_text('x')", customers()[FEATURES]))
    rules(team, BOX)
    code, _, gates = checked()

    assert 3 == code
    assert "the model fails" in gates["model runs"]["why"]
    assert 1 == len(gates["model runs"]["why"].splitlines())
