"""`import promotion`: a training script's functions do what the commands do, and the document shows them at work."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from tests.promotion.factories import Store
from tests.promotion.shared_home import SharedHome

import promotion
from promotion import api
from promotion.artifacts.signature import verify_artifact
from promotion.config.settings import REPOSITORY
from promotion.errors import ArtifactTampered, GateRefused, NothingToDo, ProductionOccupied, UsageError
from promotion.evaluation.loading import UnloadableModel
from promotion.journal.records import Authority, Change
from promotion.registry.stages import Stage
from promotion.signing.keys import Keys

DOCUMENT = (REPOSITORY / "docs" / "API.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def _shared(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> SharedHome:
    made = SharedHome(tmp_path_factory.mktemp("api"), empty_store)
    for model in ("churn", "churn", "churn", "credit"):
        made.store.register(model)
    made.store.move("churn", 1, Stage.PRODUCTION)
    made.store.service().synchronise("churn")
    shutil.copytree(REPOSITORY / "data", made.store.home / "data")
    config = yaml.safe_load((REPOSITORY / "config" / "heart-disease.yaml").read_text(encoding="utf-8"))
    config |= {"family": "credit", "registered_model": "credit", "approvals": {"roles": ["risk"]}}
    (made.store.home / "config" / "credit.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    made.keep("serving")
    return made


@pytest.fixture
def churn(_shared: SharedHome, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Without configuration: churn v1 in Production, v2 and v3 nowhere; family credit asks for an approval."""
    store = _shared.back_to("serving")
    monkeypatch.setenv("PROMOTION_HOME", str(store.home))
    monkeypatch.setenv("PROMOTION_ACTOR", "anna")
    return store


def test_the_package_has_the_functions_and_imports_nothing_for_them() -> None:
    """Each is there, documented and typed; the package alone needs no dependency: an image has none of them."""
    for name in promotion.__all__:
        function = getattr(promotion, name)
        assert getattr(api, name) is function
        assert function.__doc__
        assert not [
            p for p in inspect.signature(function).parameters.values() if p.annotation is inspect.Parameter.empty
        ]
        assert f"`{name}(" in DOCUMENT
    assert set(promotion.__all__) <= set(dir(promotion))
    alone = "import promotion, sys; assert not {'promotion.api', 'click', 'mlflow'} & set(sys.modules)"
    command = [
        sys.executable,
        "-S",
        "-E",
        "-c",
        f"import sys; sys.path.insert(0, {str(REPOSITORY / 'src')!r}); {alone}",
    ]
    assert 0 == subprocess.run(command, check=False).returncode
    with pytest.raises(AttributeError, match="has no attribute 'promot'"):
        promotion.promot  # noqa: B018


def test_functions_stay_functions_when_everything_is_imported() -> None:
    """No module hides a function of its name."""
    modules = {path.stem for path in Path(api.__file__).parent.iterdir()}

    assert set() == modules & set(promotion.__all__)


@pytest.mark.system
def test_every_example_of_the_document_runs(
    churn: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In order, as one script; what is printed is what the comment says."""

    class Constant:
        def predict(self, rows: pd.DataFrame) -> str:
            return f"[1 0]{len(rows) or ''}"

    monkeypatch.setattr("promotion.evaluation.loading._load_foreign", lambda *_: Constant())
    script = "\n".join(re.findall(r"```python\n(.*?)```", DOCUMENT, flags=re.DOTALL))
    expected = [line for shown in re.findall(r"print\(.*\)  # (.*)", script) for line in shown.split(" / ")]

    exec(compile(script, "docs/API.md", "exec"), {"rows": pd.DataFrame()})  # noqa: S102  # the document is ours

    assert expected == capsys.readouterr().out.splitlines()
    assert {"churn v1": "Production", "churn v2": "Archived"} == churn.shown()


@pytest.mark.system
def test_a_registered_version_is_signed_and_recorded(churn: Store) -> None:
    """Digest and signature of the files as they are, who, under which version; once."""
    entry = promotion.register("churn", 2, semver="2.0.0", trainer="anna")

    assert ("2.0.0", "anna", Stage.NONE) == (entry.version, entry.trainer, entry.stage)
    registration = churn.service().journal.registration(entry.id)
    assert registration is not None
    assert registration.signature is not None
    verify_artifact(churn.artifact("churn", 2), registration.signature, Keys.from_environment().trusted())
    (event,) = promotion.history("churn", 2)
    assert ("register", "received as 2.0.0", "anna") == (event.action, event.reason, event.actor)
    with pytest.raises(NothingToDo, match=r"is registered already, as 2\.0\.0"):
        promotion.register("churn", 2)
    for semver, told in (("2.0", "no semantic version"), ("2.0.0", "has a version 2.0.0 already")):
        with pytest.raises(UsageError, match=told):
            promotion.register("churn", 3, semver=semver)


def test_files_that_changed_since_they_were_recorded_are_not_signed(churn: Store) -> None:
    """Whoever swaps them and registers gets no signature for the new ones."""
    version = churn.service().candidate("churn", 3)
    change = Change(version, Stage.STAGING, digest="d" * 64)
    journal = churn.service().journal
    serving = journal.production("churn")
    assert serving is not None
    journal.move("churn", [change], Authority("stage", "anna", "held"), expected_production=serving.id)

    with pytest.raises(ArtifactTampered, match="churn v3: its files are not those that were recorded"):
        promotion.register("churn", 3)


@pytest.mark.system
def test_promote_stages_puts_aside_and_refuses_as_the_commands_do(churn: Store) -> None:
    """Stages in any case, the newest version by default; an override and an occupied Production ask for a word."""
    staged = promotion.promote("churn", stage="staging")
    assert ("churn v3", "stage", None, "automated validation") == (
        str(staged.version),
        staged.action,
        staged.archived,
        promotion.history("churn", limit=1)[0].reason,
    )
    with pytest.raises(ProductionOccupied, match="archive_existing=True archives churn v1"):
        promotion.promote("churn", 3, archive_existing=False)
    with pytest.raises(UsageError, match="override_gates needs a reason"):
        promotion.promote("churn", 2, override_gates=True)
    assert "archive" == promotion.promote("churn", 3, stage="Archived").action
    assert {"churn v1": "Production", "churn v3": "Archived"} == churn.shown()


def test_questions_without_an_answer_are_usage_errors(churn: Store) -> None:
    """A reason that says nothing, a stage without gates, a version of nothing."""
    with pytest.raises(UsageError, match="the reason says nothing"):
        promotion.rollback("churn", reason=" ")
    with pytest.raises(UsageError, match="no gate is asked on the way to Archived"):
        promotion.check("churn", 2, stage="Archived")
    with pytest.raises(UsageError, match="version 2 of what"):
        promotion.history(version=2)
    assert [] == promotion.history("churn", 3)


def test_a_pickle_is_refused_by_every_mlflow(churn: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An MLflow that does not know the variable would load it: then we look."""
    import mlflow.pyfunc
    from mlflow import environment_variables

    # What loads is imported before, as in a process that has loaded a model already.
    assert mlflow.pyfunc.load_model
    monkeypatch.delattr(environment_variables, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    (churn.artifact("churn", 1) / "model.pkl").write_bytes(b"\x80\x04K\x01.")

    with pytest.raises(UnloadableModel, match=r"churn v1 cannot be loaded: model\.pkl: .*=true loads it all the same"):
        promotion.load_model("churn")


@pytest.mark.system
def test_a_version_is_marked_and_let_in_again(churn: Store) -> None:
    """What serves is not marked but rolled back; twice is nothing to do; a reason says something."""
    assert promotion.known_bad("churn", 2, reason="leaks the label").known_bad == "leaks the label"
    with pytest.raises(NothingToDo, match="known bad already"):
        promotion.known_bad("churn", 2, reason="leaks the label")
    with pytest.raises(GateRefused, match="not known bad"):
        promotion.promote("churn", 2, reason="all the same")

    assert promotion.known_bad("churn", "2", reason="it was the holdout", lift=True).known_bad is None
    assert promotion.history("churn", 2, limit=1)[0].action == "known bad lifted"
    with pytest.raises(GateRefused, match="serves in Production"):
        promotion.known_bad("churn", 1, reason="slow")
    with pytest.raises(UsageError, match="the reason says nothing"):
        promotion.known_bad("churn", 2, reason=" ")
