"""What is looked at for whom: a candidate, a version that goes back, and one that nobody configured."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.promotion.factories import START, Scored, a_family, a_version, an_entry

from promotion.config.family import FamilyConfig
from promotion.errors import DataError, PromotionError, RegistryUnreachable
from promotion.gates import RUNS, Context, gathering
from promotion.gates.gathering import Gatherer, _Files, _production_problem, _told
from promotion.journal import clock
from promotion.journal.records import Entry
from promotion.registry.stages import Stage

CANDIDATE = a_version("tiny-forest", 2)
ENTRY, SERVING = an_entry("tiny-forest", 2, Stage.STAGING), an_entry("tiny-linear", 1, Stage.PRODUCTION)
HOLDOUT = {"path": "holdout.csv", "target": "y"}
GATES: dict[str, Any] = {"data_quality": True, "split": "sound", "thresholds": {"roc_auc": {"minimum": 0.8}}}
TOLD = {"auc": {"minimum": 0.5, "from": "run"}}
TRAINED = a_family(gates=GATES)
RECEIVED, RULED = (
    FamilyConfig.model_validate({"family": "tiny", "registered_model": "tiny-*", **rows})
    for rows in (
        {
            "holdout": HOLDOUT,
            "task": "binary-classification",
            "selection_metric": "roc_auc",
            "gates": {"data_quality": True},
        },
        {},
    )
)


class Rows:
    """Says that each question was asked."""

    feature_hash, data_sha256 = "f" * 64, "d" * 64

    def data_problems(self) -> list[str]:
        """Asked."""
        return ["data"]

    def holdout_problems(self) -> list[str]:
        """Asked."""
        return ["holdout"]

    def split_problems(self, _lineage: Any) -> list[str]:
        """Asked."""
        return ["split"]

    def difference(self, _ours: Any, _theirs: Any, metric: str) -> str:
        """Asked."""
        return f"difference of {metric}"


class Looking(Gatherer):
    """Looks at no file, and remembers which version it was asked about.

    Attributes:
        asked: What it was asked.
        found: What the candidate's files say.
        rival: What those of the version in Production say.
        staged: When the candidate came into Staging.
        has_run: Whether the candidate was trained here, or run by the gates.
    """

    def __init__(self, *entries: Entry) -> None:
        self.asked: list[str] = []
        self.found = _Files(digest="a" * 64, evaluation=Scored({"roc_auc": 0.9}))
        self.rival = _Files(digest="b" * 64, evaluation=Scored({"roc_auc": 0.8}))
        self.staged: Any = None
        self.has_run = True
        self.run: Any = SimpleNamespace(is_deleted=False, metrics={"auc": 1.0})
        journal = SimpleNamespace(
            recorded_entries=lambda _family: entries,
            now=lambda: START,
            arrival=lambda _family, stage, number: (
                self.staged if (stage, number) == (Stage.STAGING, ENTRY.id) else None
            ),
            registration=lambda _number: None,
        )
        reviews = SimpleNamespace(incidents=lambda entry: [f"incident of {entry}"], approvals=lambda _entry: [])
        rulebook = SimpleNamespace(of=lambda _family, _config: None)
        super().__init__(
            cast("Any", journal),
            cast("Any", reviews),
            cast("Any", SimpleNamespace()),
            self._rows,
            cast("Any", rulebook),
            lambda config: f"{config.family} is invented",
        )

    def _rows(self, _config: FamilyConfig) -> Any:
        self.asked.append("rows")
        return Rows()

    def _examine(self, version: Any, *_rest: Any, is_rollback: bool, is_candidate: bool) -> _Files:
        self.asked.append(f"{version}{' going back' if is_rollback else ''}")
        assert is_candidate is (version is CANDIDATE)
        return self.found if is_candidate else self.rival

    def _asked(self, *_arguments: Any) -> dict[str, Any]:
        self.asked.append("custom")
        return {}

    def _run_of(self, *_arguments: Any) -> Any:
        self.asked.append("run")
        return self.run

    def _has_run(self, _entry: Entry) -> bool:
        return self.has_run

    def _ab_test(self, *_arguments: Any) -> dict[str, Any]:
        return {"it": "was asked"}

    def _rules_since(self, _rules: Any) -> Any:
        return lambda _digest: []

    def identities(self) -> Any:
        """None."""
        return None

    def look(self, config: FamilyConfig | None, to: Stage = Stage.PRODUCTION, *, is_rollback: bool = False) -> Context:
        """Everything the gates may ask for."""
        return self.gather("tiny", CANDIDATE, config, target=to, from_stage=None, is_rollback=is_rollback)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No rule ever changed, and no logged model is lost."""
    monkeypatch.setattr(gathering, "RuleHistory", lambda _journal: SimpleNamespace(since_promotion=lambda *_: []))
    monkeypatch.setattr(gathering, "has_lost_logged_model", lambda *_: True)


@pytest.mark.parametrize(
    ("config", "going_back", "asked", "data", "split", "holdout"),
    [
        (TRAINED, False, ["rows", "tiny-forest v2", "tiny-linear v1", "custom", "run"], True, True, False),
        (TRAINED, True, ["rows", "tiny-forest v2 going back"], False, False, False),
        (RECEIVED, False, ["rows", "tiny-forest v2", "tiny-linear v1", "custom", "run"], True, False, True),
        (RECEIVED, True, ["tiny-forest v2 going back"], False, False, False),
        (RULED, False, ["tiny-forest v2", "custom", "run"], False, False, False),
        (RULED, True, ["tiny-forest v2 going back"], False, False, False),
        (None, False, ["tiny-forest v2", "run"], False, False, False),
        (None, True, ["tiny-forest v2 going back"], False, False, False),
    ],
)
def test_whom_it_looks_at_and_what_it_asks(
    config: FamilyConfig | None, asked: list[str], *, going_back: bool, data: bool, split: bool, holdout: bool
) -> None:
    """Rows, the version that serves and the family's own gates only for a candidate; the way back waits for little."""
    gatherer = Looking(ENTRY, SERVING)
    found = gatherer.look(config, is_rollback=going_back)

    assert asked == gatherer.asked
    assert (("data",) if data else ()) == found.data_problems
    assert (("split",) if split else ()) == found.split_problems
    assert ((("holdout",), "d" * 64) if holdout else ((), None)) == (found.holdout_problems, found.data_sha256)
    assert (None if "rows" not in asked else "f" * 64) == found.feature_hash
    assert (config is not None) is bool(found.invented)
    assert going_back is not found.logged_model_is_deleted
    assert ("difference of roc_auc" if "tiny-linear v1" in asked else None) == cast("Any", found.difference)


@pytest.mark.parametrize(("entries", "has_run"), [((ENTRY,), True), ((ENTRY,), False), ((), True)])
def test_a_version_that_goes_back_is_loaded_where_it_has_run_before(
    entries: tuple[Entry, ...], *, has_run: bool
) -> None:
    """What nobody trained here, and no gate ever ran, is judged by its files alone; a candidate always is run."""
    back, candidate = Looking(*entries), Looking(*entries)
    back.has_run = candidate.has_run = has_run
    back.look(TRAINED, is_rollback=True)
    candidate.look(TRAINED)

    assert (bool(entries) and has_run) is ("rows" in back.asked)
    assert "rows" in candidate.asked


@pytest.mark.parametrize(
    ("entries", "to", "compared"),
    [
        ((ENTRY, SERVING), Stage.PRODUCTION, True),
        ((ENTRY, SERVING), Stage.STAGING, False),
        ((ENTRY,), Stage.PRODUCTION, False),
        ((), Stage.PRODUCTION, False),
    ],
)
def test_who_serves_is_compared_with_where_it_would_be_replaced(
    entries: tuple[Entry, ...], to: Stage, *, compared: bool
) -> None:
    """Not on the way to Staging, and not where nobody serves."""
    found = Looking(*entries).look(TRAINED, to)

    assert compared is (found.difference is not None)
    assert (SERVING if SERVING in entries else None) == found.production
    assert (ENTRY if entries else None) == found.entry
    assert ((f"incident of {ENTRY}",) if entries else ()) == found.incidents
    assert (ENTRY.digest if entries else None) == found.recorded_digest


def test_rules_that_are_absent_ask_for_nothing() -> None:
    """Neither for the data's quality, nor for a split, an A/B test or the trainer's figures."""
    found = Looking(ENTRY).look(a_family())
    assert ((), (), None, None) == (found.data_problems, found.split_problems, found.ab_test, found.run_metrics)

    config = a_family(gates={"ab_test": {"minimum_keys": 1, "policy": "better"}, "thresholds": TOLD})
    assert ({"it": "was asked"}, {"auc": 1.0}) == (
        (found := Looking(ENTRY).look(config)).ab_test,
        found.run_metrics,
    )
    assert Looking(ENTRY).look(config, is_rollback=True).ab_test is None
    without = Looking(ENTRY)
    without.run = None
    assert (False, None) == ((found := without.look(config)).run_is_deleted, found.run_metrics)
    without.run = SimpleNamespace(is_deleted=True, metrics={})
    assert without.look(config).run_is_deleted


@pytest.mark.parametrize(
    ("details", "since", "is_rehearsed"), [(None, None, False), ({}, START, False), (clock.MARK, None, True)]
)
def test_days_in_staging_count_from_an_arrival_that_was_no_rehearsal(
    details: dict[str, str] | None, since: Any, *, is_rehearsed: bool
) -> None:
    """A rehearsed one is said to be one."""
    gatherer = Looking(ENTRY)
    gatherer.staged = None if details is None else SimpleNamespace(at=START, details=details)
    found = gatherer.look(TRAINED)

    assert (since, is_rehearsed) == (found.staged_at, found.is_rehearsed)
    unknown = Looking()
    unknown.staged = gatherer.staged
    assert (None, False) == ((found := unknown.look(TRAINED)).staged_at, found.is_rehearsed)


@pytest.mark.parametrize(
    ("rival", "recorded", "problem"),
    [
        ({"evaluation": Scored({})}, "a", ""),
        ({"evaluation": Scored({})}, None, ""),
        ({"evaluation": Scored({}), "digest": "A"}, "a", "its artifact changed"),
        ({"evaluation": Scored({}), "digest": "b"}, "a", "its artifact changed"),
        ({"evaluation": Scored({}), "signature_problem": "forged"}, "a", "forged"),
        ({"artifact_problem": "gone"}, "a", "cannot be re-scored: gone"),
    ],
)
def test_what_is_wrong_with_the_version_that_serves(rival: dict[str, Any], recorded: str | None, problem: str) -> None:
    """It cannot be scored, is not what was recorded, or is signed wrongly."""
    found = _production_problem(an_entry(digest=recorded), _Files(**({"digest": "a"} | rival)))

    assert found.endswith(problem)
    assert bool(problem) is bool(found)


def test_a_version_that_serves_and_was_not_looked_at_has_no_problem() -> None:
    """Where it has no files there is one, whatever else is missing."""
    gatherer = Looking(ENTRY, SERVING)
    gatherer.rival = _Files()
    assert "" == gatherer.look(TRAINED).production_problem
    gatherer.rival = _Files(artifact_problem="gone")
    assert gatherer.look(TRAINED).production_problem.endswith("gone")
    gatherer.rival = _Files(digest="a" * 64)
    assert gatherer.look(TRAINED).production_problem


def test_a_command_is_told_numbers_or_nothing() -> None:
    """A metric that is no number is null, and so is what was not scored."""
    scored = Scored({"a": 1.5, "b": math.nan, "c": math.inf}, rows=7, data_sha256="d")

    assert {
        "model": "tiny-forest",
        "version": 2,
        "digest": "a",
        "rows": 7,
        "data_sha256": "d",
        "metrics": {"a": 1.5, "b": None, "c": None},
    } == _told(CANDIDATE, _Files(digest="a", evaluation=scored))
    bare = _told(CANDIDATE, _Files())
    assert (None, None, None, {}) == (bare["digest"], bare["rows"], bare["data_sha256"], bare["metrics"])


class Failing:
    """An evaluator whose questions fail, but for loading."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.is_loaded = False

    def evaluate(self, _folder: Path) -> Any:
        """Fails."""
        raise self.error

    measure = evaluate

    def load(self, _folder: Path) -> None:
        """Works."""
        self.is_loaded = True


def test_without_rows_a_version_that_goes_back_must_load(tmp_path: Path) -> None:
    """A candidate is refused; what cannot be measured is said, and what is broken stays broken."""
    rows = Failing(DataError("no rows"))
    found = _Files()
    Gatherer._run(found, tmp_path, cast("Any", rows), is_rollback=True)
    assert (True, True, None) == (rows.is_loaded, found.is_loaded, found.evaluation)
    with pytest.raises(DataError):
        Gatherer._run(_Files(), tmp_path, cast("Any", rows), is_rollback=False)
    broken = Failing(PromotionError("broken"))
    with pytest.raises(PromotionError, match="broken"):
        Gatherer._run(_Files(), tmp_path, cast("Any", broken), is_rollback=True)
    assert not broken.is_loaded

    Gatherer._measure(found, tmp_path, cast("Any", broken))
    assert (None, "broken") == (found.measurement, found.measurement_problem)


@pytest.mark.parametrize(
    ("provenance", "gates", "expected"),
    [
        ("trained", [], True),
        ("received", [], False),
        (None, [], False),
        (None, [(RUNS, True)], True),
        ("received", [(RUNS, True)], True),
        ("received", [(RUNS, False)], False),
        ("received", [("other", True), ("a check", True)], False),
        ("received", [("other", True), (RUNS, False), (RUNS, True)], True),
    ],
)
def test_a_version_ran_where_we_trained_it_or_the_gates_ran_it(
    provenance: str | None, gates: list[tuple[str, bool]], monkeypatch: pytest.MonkeyPatch, *, expected: bool
) -> None:
    """In any report that was kept; another gate that passed is none."""
    known = None if provenance is None else SimpleNamespace(provenance=provenance)
    monkeypatch.setattr(gathering, "registered", lambda _journal, _number: known)
    results = [{"name": name, "passed": passed} for name, passed in gates]
    gatherer = Looking(ENTRY)
    gatherer._journal = cast(
        "Any", SimpleNamespace(reports=lambda _entry: [SimpleNamespace(report={"results": results})])
    )

    assert expected is Gatherer._has_run(gatherer, ENTRY)


@pytest.mark.parametrize(("is_told", "is_raised"), [(True, True), (False, False), (None, False)])
def test_a_run_that_is_out_of_reach_matters_where_its_figures_are_asked_for(
    *, is_told: bool | None, is_raised: bool
) -> None:
    """Otherwise it is as if there were none."""
    gatherer = Looking(ENTRY)
    config = None if is_told is None else a_family(gates={"thresholds": TOLD if is_told else {}})

    def gone(_run: str) -> Any:
        raise RegistryUnreachable("it is down")

    gatherer._registry = cast("Any", SimpleNamespace(run=gone))
    version = cast("Any", SimpleNamespace(run_id="r1"))
    assert Gatherer._run_of(gatherer, cast("Any", SimpleNamespace(run_id="")), config) is None
    if is_raised:
        with pytest.raises(RegistryUnreachable):
            Gatherer._run_of(gatherer, version, config)
    else:
        assert Gatherer._run_of(gatherer, version, config) is None
    gatherer._registry = cast("Any", SimpleNamespace(run=lambda run: f"run {run}"))
    assert "run r1" == cast("Any", Gatherer._run_of(gatherer, version, config))


CUSTOM = a_family(gates={"custom": [{"name": "profit", "command": ["a"]}, {"name": "law", "command": ["b"]}]})


@pytest.mark.parametrize(
    ("config", "found", "now", "is_asked"),
    [
        (CUSTOM, {}, "a", True),
        (TRAINED, {}, "a", False),
        (CUSTOM, {"artifact_problem": "gone"}, "a", False),
        (CUSTOM, {"unsafe": ("a pickle",)}, "a", False),
        (CUSTOM, {"signature_problem": "forged"}, "a", False),
        (CUSTOM, {"digest": None}, "a", False),
        (CUSTOM, {}, "b", False),
        (CUSTOM, {}, "A", False),
    ],
)
@pytest.mark.parametrize("production", [SERVING, None])
def test_a_familys_own_gates_see_files_that_passed(
    config: FamilyConfig,
    found: dict[str, Any],
    now: str,
    production: Entry | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    is_asked: bool,
) -> None:
    """Every one of them is asked, unless a check refused the files or they changed since."""
    told: list[Any] = []
    gatherer = Looking(ENTRY)
    gatherer._rulebook = cast("Any", SimpleNamespace(home=tmp_path))
    monkeypatch.setattr(gathering, "local_artifact", lambda *_: nullcontext(tmp_path / "files"))
    monkeypatch.setattr(gathering, "artifact_digest", lambda _folder: now)

    def ask(rule: Any, evidence: Any, home: Path) -> str:
        told.append((evidence, home))
        return str(rule.name)

    monkeypatch.setattr(gathering, "ask", ask)

    answers = Gatherer._asked(
        gatherer, config, CANDIDATE, production, _Files(**({"digest": "a"} | found)), _Files(digest="p")
    )

    assert ({"profit": "profit", "law": "law"} if is_asked else {}) == cast("Any", answers)
    assert len(answers) == len(told)
    for evidence, home in told:
        assert ("tiny", "a", None, tmp_path) == (
            evidence["family"],
            evidence["candidate"]["digest"],
            evidence["holdout"],
            home,
        )
        assert (evidence["production"] or {}).get("digest") == ("p" if production else None)
        assert str(tmp_path / "files") == evidence["artifact"]


MEASURED = a_family(gates={"latency_p95_ms": 5.0})
BOXED = FamilyConfig.model_validate(
    {
        "family": "tiny",
        "registered_model": "tiny-*",
        "holdout": HOLDOUT,
        "task": "binary-classification",
        "selection_metric": "roc_auc",
        "artifacts": {"code": "sandbox"},
    }
)


@pytest.mark.parametrize(
    ("config", "found", "vouched", "boxed"),
    [
        (TRAINED, {"is_signed": True, "registered": "trained"}, True, False),
        (TRAINED, {"is_signed": True, "registered": "received"}, False, False),
        (TRAINED, {"is_signed": True}, False, False),
        (TRAINED, {"registered": "trained"}, False, False),
        (TRAINED, {"is_signed": True, "registered": "trained", "signature_problem": "forged"}, False, False),
        (RECEIVED, {}, False, False),
        (BOXED, {}, False, True),
    ],
)
def test_whose_code_is_trusted(
    config: FamilyConfig,
    found: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    vouched: bool,
    boxed: bool,
) -> None:
    """That of our own training, whose signature holds; the sandbox's is for models that were received."""
    said: list[tuple[bool, bool]] = []

    def scan(_folder: Path, *, code_is_vouched: bool, code_is_boxed: bool) -> list[str]:
        said.append((code_is_vouched, code_is_boxed))
        return ["a pickle"]

    monkeypatch.setattr(gathering, "scan", scan)
    monkeypatch.setattr(gathering, "foreign_requirements", lambda _folder: ["a remark"])
    known = found.get("registered")
    files = _Files(**(found | ({"registered": SimpleNamespace(provenance=known)} if known else {})))

    Gatherer._score(
        Looking(ENTRY), files, tmp_path, None, config, cast("Any", Rows()), is_rollback=False, is_candidate=True
    )

    assert [(vouched, boxed)] == said
    assert (("a pickle",), ("a remark",)) == (files.unsafe, files.remarks)
    assert files.artifact_problem.startswith("it is not loaded: ")
    assert (files.artifact_problem,) == files.schema_problems
    assert not files.is_loaded


@pytest.mark.parametrize(
    ("config", "candidate", "going_back", "scored", "is_measured"),
    [
        (MEASURED, True, False, True, True),
        (MEASURED, False, False, True, False),
        (MEASURED, True, True, True, False),
        (MEASURED, True, False, False, False),
        (TRAINED, True, False, True, False),
    ],
)
def test_only_a_candidate_is_measured(
    config: FamilyConfig,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    candidate: bool,
    going_back: bool,
    scored: bool,
    is_measured: bool,
) -> None:
    """Where a gate asks for it, and it was scored; every one that is loaded is held against the schema."""
    monkeypatch.setattr(gathering, "scan", lambda _folder, **_: [])
    monkeypatch.setattr(gathering, "foreign_requirements", lambda _folder: [])
    evaluator = SimpleNamespace(
        schema_problems=lambda _folder: ["a column"],
        evaluate=lambda _folder: Scored({}) if scored else None,
        measure=lambda _folder: "measured",
    )
    files = _Files()

    Gatherer._score(
        Looking(ENTRY),
        files,
        tmp_path,
        None,
        config,
        cast("Any", evaluator),
        is_rollback=going_back,
        is_candidate=candidate,
    )

    assert (("a column",), True) == (files.schema_problems, files.is_loaded)
    assert ("measured" if is_measured else None) == cast("Any", files.measurement)
