"""The algorithms a family may name in its YAML file, each as one pipeline that takes raw rows.

Preprocessing is part of the pipeline, so what is registered, scored and served encodes a row in one way only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from promotion.config.family import FamilyConfig
from promotion.config.training import ParameterValue
from promotion.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Algorithm:
    """How one estimator is built.

    Attributes:
        classifier: Class of the estimator that tells classes apart; takes the YAML's params and `random_state`. None
            where there is none.
        regressor: The same of the one that predicts numbers.
        scaled: Whether measured columns are standardised first. Trees do not need it, and behind a scaler their
            32-bit ONNX translation takes other branches than the 64-bit original.
    """

    classifier: Callable[..., Any] | None = None
    regressor: Callable[..., Any] | None = None
    scaled: bool = False

    def estimator(self, task: str) -> Callable[..., Any] | None:
        """The class of the estimator for a task."""
        return self.regressor if task == "regression" else self.classifier


ALGORITHMS = {
    "logistic_regression": Algorithm(LogisticRegression, scaled=True),
    "ridge": Algorithm(regressor=Ridge, scaled=True),
    "random_forest": Algorithm(RandomForestClassifier, RandomForestRegressor),
    "gradient_boosting": Algorithm(GradientBoostingClassifier, GradientBoostingRegressor),
}


def build_candidates(config: FamilyConfig) -> dict[str, Pipeline]:
    """Every candidate of the family, unfitted, by algorithm, in the file's order.

    Raises:
        ConfigError: The file names an algorithm or a hyper-parameter that does not exist, or a value out of range.
    """
    return {algorithm: build_pipeline(config, algorithm) for algorithm in config.candidates}


def build_pipeline(config: FamilyConfig, algorithm: str) -> Pipeline:
    """One candidate, unfitted: impute, encode, estimate; seeded with the family's split seed.

    Raises:
        ConfigError: As for `build_candidates`.
    """
    place = partial(config.at, "candidates", algorithm)
    if algorithm not in (known := algorithms_of(config.task)):
        why = f"not for task {config.task}" if algorithm in ALGORITHMS else "unknown algorithm"
        raise ConfigError(f"{place()}: {why}; expected one of {', '.join(known)}")
    choice = ALGORITHMS[algorithm]
    params = {"random_state": config.split.seed, **config.candidates[algorithm].params}
    estimator = build_estimator(algorithm, config.task, params, partial(place, "params"))
    return Pipeline([("preprocessing", _preprocessing(config, scaled=choice.scaled)), ("estimator", estimator)])


def algorithms_of(task: str) -> list[str]:
    """Names of the algorithms that learn a task."""
    return [name for name, algorithm in ALGORITHMS.items() if algorithm.estimator(task)]


def build_estimator(algorithm: str, task: str, params: Mapping[str, ParameterValue], place: Callable[..., str]) -> Any:
    """The bare estimator, unfitted, with every hyper-parameter checked.

    Args:
        algorithm: One of `algorithms_of`.
        task: Of the family.
        params: Hyper-parameters by scikit-learn's names.
        place: Says where a hyper-parameter stands, for the message.

    Raises:
        ConfigError: A hyper-parameter does not exist, or its value is of the wrong type or out of range.
    """
    build = ALGORITHMS[algorithm].estimator(task)
    assert build is not None  # noqa: S101  # see above
    known = signature(build).parameters
    for name, value in params.items():
        if name not in known:
            expected = ", ".join(known)
            raise ConfigError(f"{place(name)}: unknown parameter of {algorithm}; expected one of {expected}")
        if isinstance(value, bool) and not isinstance(known[name].default, bool):
            # Python counts true as 1, and so would scikit-learn: a forest of one tree.
            raise ConfigError(f"{place(name)}: expected a number or a text, found {str(value).lower()}")
    try:
        estimator = build(**params)
        # scikit-learn checks values only when it fits; a wrong one is a mistake in the file, not in the data.
        estimator._validate_params()  # noqa: SLF001
    except ValueError as error:
        summary = " ".join(str(error).split())
        named = [name for name in params if repr(name) in summary]
        raise ConfigError(f"{place(*named[:1])}: {summary}") from error
    return estimator


def _preprocessing(config: FamilyConfig, *, scaled: bool) -> ColumnTransformer:
    measured: list[tuple[str, Any]] = [("impute", SimpleImputer(strategy="median"))]
    if scaled:
        measured.append(("scale", StandardScaler()))
    categories = [
        ("impute", SimpleImputer(strategy="most_frequent")),
        ("encode", OneHotEncoder(handle_unknown="ignore")),
    ]
    return ColumnTransformer(
        [("numeric", Pipeline(measured), config.numeric), ("categorical", Pipeline(categories), config.categorical)]
    )
