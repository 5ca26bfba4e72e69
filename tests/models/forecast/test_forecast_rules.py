"""An error is better when it is lower: configuration, gates and the evaluator know it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.models.forecast.conftest import make_sales
from tests.promotion.factories import START, Scored, a_version, an_entry

from models.forecast import ENSEMBLE
from models.forecast.data.sales import read_sales
from models.forecast.evaluation.holdout import ForecastEvaluator, rmspe_interval
from models.forecast.training.learning import Learned
from promotion.config.family import FamilyConfig, load_config
from promotion.config.policy import BetterThanProduction, Gates
from promotion.config.settings import REPOSITORY
from promotion.errors import ArtifactRefused, ConfigError, DataError, PromotionError
from promotion.gates import Context, run_gates
from promotion.gates.evidence import Interval
from promotion.gates.report import BETTER
from promotion.registry.stages import Stage

FAMILY = "rossmann-ensemble"


@pytest.fixture
def config() -> FamilyConfig:
    return load_config(REPOSITORY / "config", FAMILY)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("selection_metric: rmspe", "selection_metric: accuracy", "which measure task sales-forecast"),
        ("task: sales-forecast", "task: binary-classification", "missing; say above which value a row is positive"),
        ("catboost: {origin_offset: 28", "prophet: {origin_offset: 28", "'prophet' is no candidate"),
        ("registered_model: rossmann-ensemble", "registered_model: 'x-{algorithm}'", "one ensemble"),
        ("learns: level", "learns: all", "forecast.views.catboost.learns"),
        ("forecast:\n  stores: data/rossmann/store.csv", "forecast:", "forecast.stores: missing"),
    ],
)
def test_a_mistake_in_the_file_is_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    """What does not fit a forecast is named with its key."""
    text = (REPOSITORY / "config" / f"{FAMILY}.yaml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / f"{FAMILY}.yaml").write_text(text.replace(old, new), encoding="utf-8")

    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path, FAMILY)


@pytest.mark.parametrize(
    ("policy", "difference", "passed"),
    [
        ("strictly_greater", -0.01, True),
        ("strictly_greater", 0.0, False),
        ("strictly_greater", 0.01, False),
        ("not_worse", -0.01, True),
        ("not_worse", 0.0, True),
        ("not_worse", 0.004, False),
    ],
)
def test_a_lower_error_beats_production(config: FamilyConfig, policy: str, difference: float, *, passed: bool) -> None:
    """The candidate's RMSPE must lie below Production's, or not above it by more than the margin."""
    rule = BetterThanProduction(policy=policy, margin=0.005)  # type: ignore[arg-type]  # one of the two
    asked = config.model_copy(update={"gates": Gates(better_than_production=rule)})
    context = Context(
        config=asked,
        candidate=a_version(FAMILY, 2),
        now=START,
        digest="ab" * 32,
        is_loaded=True,
        evaluation=Scored({"rmspe": 0.09 + difference}),
        production=an_entry(FAMILY, 1, Stage.PRODUCTION),
        production_evaluation=Scored({"rmspe": 0.09}),
        difference=Interval(difference, difference - 0.002, difference + 0.002),
    )

    result = next(gate for gate in run_gates(FAMILY, context).results if gate.name == BETTER)

    assert passed == result.passed, result


@pytest.fixture
def home(tmp_path: Path, config: FamilyConfig) -> Path:
    """The invented chain of the other tests, as files."""
    assert config.forecast
    invented = make_sales()
    (tmp_path / config.data.path).parent.mkdir(parents=True)
    invented.rows.to_csv(tmp_path / config.data.path, index=False)
    invented.stores.to_csv(tmp_path / config.forecast.stores, index=False)
    return tmp_path


@pytest.mark.system
def test_the_evaluator_scores_the_last_days(config: FamilyConfig, home: Path, learned: Learned, tmp_path: Path) -> None:
    """Same rows, same figure as the training found; against itself the difference is zero."""
    artifact = tmp_path / "version"
    learned.ensemble.save(artifact / ENSEMBLE)
    evaluator = ForecastEvaluator(config, home)

    found = evaluator.evaluate(artifact)

    assert 0.05 < found.metrics["rmspe"] < 0.11
    assert Interval(0.0, 0.0, 0.0) == evaluator.difference(found, found, "rmspe")
    assert [] == evaluator.data_problems()


@pytest.mark.system
def test_a_model_that_has_seen_the_holdout_is_not_scored(
    config: FamilyConfig, home: Path, learned: Learned, tmp_path: Path
) -> None:
    """A score on learned days would mean nothing, so there is none."""
    peeked = replace(learned.ensemble, learned_until=learned.window.last)
    peeked.save(tmp_path / "version" / ENSEMBLE)

    with pytest.raises(PromotionError, match="inside the holdout"):
        ForecastEvaluator(config, home).evaluate(tmp_path / "version")


def test_another_model_is_refused(config: FamilyConfig, tmp_path: Path) -> None:
    """A folder without an ensemble is no forecast."""
    with pytest.raises(ArtifactRefused):
        ForecastEvaluator(config, tmp_path).load(tmp_path)


def test_data_problems_are_lines(config: FamilyConfig, home: Path) -> None:
    """A broken file and a short one say what is wrong."""
    path = home / config.data.path
    good = path.read_text(encoding="utf-8")
    path.write_text(good.replace(",0,", ",7,", 1), encoding="utf-8")
    assert 1 == len(ForecastEvaluator(config, home).data_problems())
    make_sales(days=100).rows.to_csv(path, index=False)
    assert ["100 days, expected at least 267"] == ForecastEvaluator(config, home).data_problems()


def test_rows_of_a_file_are_read_strictly(config: FamilyConfig, home: Path) -> None:
    """The same store and day twice, or a store the table does not know, are refused with their lines."""
    assert config.forecast
    sales, stores = home / config.data.path, home / config.forecast.stores
    lines = sales.read_text(encoding="utf-8").splitlines()
    sales.write_text("\n".join([*lines, lines[-1]]), encoding="utf-8")
    with pytest.raises(DataError, match="stands there twice"):
        read_sales(sales, stores, config.data)
    sales.write_text("\n".join([*lines, "99" + lines[-1][1:]]), encoding="utf-8")
    with pytest.raises(DataError, match="must be in the store table"):
        read_sales(sales, stores, config.data)


def test_the_interval_draws_stores() -> None:
    """Stores with equal errors give no width; different ones do."""
    rows = make_sales(4, 60).rows.query("Sales > 0")
    sales = rows["Sales"].to_numpy(dtype=float)
    uneven = np.where(rows["Store"] == 1, 1.3, 1.05)

    same, apart = (rmspe_interval(rows, sales * factor, None, 1) for factor in (np.full(len(sales), 1.1), uneven))

    assert pytest.approx(0) == same.high - same.low
    assert apart.low < apart.value < apart.high
