from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from models.training.candidates import algorithms_of, build_candidates, build_pipeline
from models.training.selection import examine
from promotion.config.family import FamilyConfig, load_config
from promotion.config.settings import REPOSITORY
from promotion.config.training import Candidate, Column
from promotion.data.datasets import load_dataset, split_dataset
from promotion.errors import ConfigError


@pytest.fixture(scope="module")
def config() -> FamilyConfig:
    return load_config(REPOSITORY / "config", "heart-disease")


def with_candidate(config: FamilyConfig, algorithm: str, **params: Any) -> FamilyConfig:
    return config.model_copy(update={"candidates": {algorithm: Candidate(params=params)}})


def test_documented_parameters(config: FamilyConfig) -> None:
    """The heart-disease file builds the three documented candidates, seeded with 42, in its order."""
    candidates = build_candidates(config)
    assert ["logistic_regression", "random_forest", "gradient_boosting"] == list(candidates)
    regression, forest, boosting = (pipeline.named_steps["estimator"] for pipeline in candidates.values())
    assert (1.0, 1000, 42) == (regression.C, regression.max_iter, regression.random_state)
    assert (100, 10, 5, 42) == (forest.n_estimators, forest.max_depth, forest.min_samples_split, forest.random_state)
    assert 42 == boosting.random_state


@pytest.mark.parametrize("task", ["binary-classification", "regression"])
def test_only_the_linear_model_is_scaled(config: FamilyConfig, task: str) -> None:
    """Trees see the columns unscaled, the linear model standardised."""
    columns = {**config.data.columns, "num": Column(type="number")}
    changes = {"task": task, "data": config.data.model_copy(update={"columns": columns})}
    for algorithm in algorithms_of(task):
        family = with_candidate(config, algorithm).model_copy(update=changes)
        measured = build_pipeline(family, algorithm).named_steps["preprocessing"].transformers[0][1]
        scaled = any(isinstance(step, StandardScaler) for _, step in measured.steps)
        assert (algorithm in {"logistic_regression", "ridge"}) == scaled


def test_raw_rows_go_in(config: FamilyConfig) -> None:
    """Missing cells and a code never seen in training are answered, not refused."""
    part = split_dataset(load_dataset(config, REPOSITORY), config)
    model = build_pipeline(config, "logistic_regression").fit(part.train_features, part.train_target)
    rows = part.test_features.head(2).copy()
    rows.loc[rows.index[0], ["age", "thal"]] = np.nan
    rows.loc[rows.index[1], "cp"] = 9
    assert np.isfinite(model.predict_proba(rows)).all()


def test_same_seed_same_model(config: FamilyConfig) -> None:
    """Two fits of the same configuration give the same probabilities."""
    part = split_dataset(load_dataset(config, REPOSITORY), config)
    small = with_candidate(config, "random_forest", n_estimators=5)
    first, second = (
        build_pipeline(small, "random_forest")
        .fit(part.train_features, part.train_target)
        .predict_proba(part.test_features)
        for _ in range(2)
    )
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("algorithm", "params", "expected"),
    [
        ("ridge", {}, "candidates.ridge: not for task binary-classification; expected one of logistic_regression,"),
        ("lightgbm", {"num_leafs": 3}, "candidates.lightgbm.params.num_leafs: unknown parameter of lightgbm;"),
        (
            "lightgbm",
            {"n_estimators": True},
            "candidates.lightgbm.params.n_estimators: expected a number or a text, found true",
        ),
        ("catboost", {"depths": 3}, "candidates.catboost.params.depths: unknown parameter of catboost;"),
        ("perceptron", {}, "candidates.perceptron: unknown algorithm; expected one of logistic_regression,"),
        (
            "random_forest",
            {"trees": 3},
            "candidates.random_forest.params.trees: unknown parameter of random_forest; expected one of n_estimators,",
        ),
        ("random_forest", {"n_estimators": -1}, "candidates.random_forest.params.n_estimators: .*n_estimators"),
    ],
)
def test_mistake_in_the_file(config: FamilyConfig, algorithm: str, params: dict[str, Any], expected: str) -> None:
    """An unknown algorithm, parameter or value is named with its place in the file."""
    with pytest.raises(ConfigError, match=rf"config/heart-disease.yaml:\d+: {expected}"):
        build_candidates(with_candidate(config, algorithm, **params))


def test_boosters_take_their_own_parameters(config: FamilyConfig) -> None:
    """Also those that their Python classes only hand on; each works alone and says nothing, unless the file asks."""
    family = with_candidate(config, "lightgbm", max_bin=63, n_jobs=2)
    estimator = build_pipeline(family, "lightgbm").named_steps["estimator"]
    assert {"max_bin": 63, "n_jobs": 2, "verbose": -1, "random_state": 42}.items() <= estimator.get_params().items()
    estimator = build_pipeline(with_candidate(config, "xgboost", max_depth=3), "xgboost").named_steps["estimator"]
    assert {"max_depth": 3, "n_jobs": 1, "verbosity": 0}.items() <= estimator.get_params().items()


@pytest.mark.system
def test_what_only_a_fit_refuses_is_one_line(config: FamilyConfig) -> None:
    """Parameters that exclude each other, and values that a booster's engine does not take."""
    part = split_dataset(load_dataset(config, REPOSITORY), config)
    family = with_candidate(config, "logistic_regression", dual=True)
    with pytest.raises(
        ConfigError,
        match=r"LogisticRegression does not learn 242 rows .* supports only dual=False",
    ):
        examine(family, build_candidates(family), part, lambda *_: None)
