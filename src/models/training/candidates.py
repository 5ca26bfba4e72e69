"""The algorithms a family may name in its YAML file, each as one pipeline that takes raw rows.

Preprocessing is part of the pipeline, so what is registered, scored and served encodes a row in one way only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from inspect import Parameter, signature
from itertools import chain
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from promotion.config.family import FamilyConfig
from promotion.config.training import ParameterValue
from promotion.data.days import MISSING_DAY
from promotion.errors import ConfigError
from promotion.evaluation.received.openmp import load_lightgbm


@dataclass(frozen=True, slots=True)
class Algorithm:
    """How one estimator is built.

    Attributes:
        module: Where its classes are.
        classifier: Name of the class that tells classes apart; takes the YAML's params and `random_state`. Empty where
            there is none.
        regressor: The same of the one that predicts numbers.
        scaled: Whether measured columns are standardised first. Trees do not need it, and behind a scaler their
            32-bit ONNX translation takes other branches than the 64-bit original.
        dense: Whether zeros are given as such: XGBoost takes what a sparse table leaves out for missing.
        params: Hyper-parameters that a file may change: candidates are fitted side by side, each on one core.
    """

    module: str
    classifier: str = ""
    regressor: str = ""
    scaled: bool = False
    dense: bool = False
    params: Mapping[str, ParameterValue] = field(default_factory=dict)

    def estimator(self, task: str) -> str:
        """Name of the class for a task; empty where there is none."""
        return self.regressor if task == "regression" else self.classifier


ALGORITHMS = {
    "logistic_regression": Algorithm("sklearn.linear_model", "LogisticRegression", scaled=True),
    "ridge": Algorithm("sklearn.linear_model", regressor="Ridge", scaled=True),
    "random_forest": Algorithm("sklearn.ensemble", "RandomForestClassifier", "RandomForestRegressor"),
    "gradient_boosting": Algorithm("sklearn.ensemble", "GradientBoostingClassifier", "GradientBoostingRegressor"),
    "hist_gradient_boosting": Algorithm(
        "sklearn.ensemble", "HistGradientBoostingClassifier", "HistGradientBoostingRegressor", dense=True
    ),
    "lightgbm": Algorithm(
        "lightgbm", "LGBMClassifier", "LGBMRegressor", dense=True, params={"n_jobs": 1, "verbose": -1}
    ),
    "xgboost": Algorithm("xgboost", "XGBClassifier", "XGBRegressor", dense=True, params={"n_jobs": 1, "verbosity": 0}),
    "catboost": Algorithm(
        "catboost",
        "CatBoostClassifier",
        "CatBoostRegressor",
        dense=True,
        params={"thread_count": 1, "verbose": False, "allow_writing_files": False},
    ),
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
    params = {"random_state": config.split.seed, **choice.params, **config.candidates[algorithm].params}
    estimator = build_estimator(algorithm, config.task, params, partial(place, "params"))
    return Pipeline([("preprocessing", _preprocessing(config, choice)), ("estimator", estimator)])


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
        ConfigError: A hyper-parameter does not exist, or its value is of the wrong type or out of range; or the
            algorithm's library is not installed.
    """
    build = _class_of(algorithm, task, place)
    known = _parameters(build)
    for name, value in params.items():
        if name not in known:
            expected = ", ".join(known)
            raise ConfigError(f"{place(name)}: unknown parameter of {algorithm}; expected one of {expected}")
        if isinstance(value, bool) and not _may_be_truth(build, known[name]):
            # Python counts true as 1, and so would scikit-learn: a forest of one tree.
            raise ConfigError(f"{place(name)}: expected a number or a text, found {str(value).lower()}")
    try:
        estimator = build(**params)
        if hasattr(estimator, "_parameter_constraints"):
            # scikit-learn checks values only when it fits; a wrong one is a mistake in the file, not in the data.
            estimator._validate_params()  # noqa: SLF001
    except ValueError as error:
        summary = " ".join(str(error).split())
        named = [name for name in params if repr(name) in summary]
        raise ConfigError(f"{place(*named[:1])}: {summary}") from error
    return estimator


def _class_of(algorithm: str, task: str, place: Callable[..., str]) -> type:
    choice = ALGORITHMS[algorithm]
    try:
        module = load_lightgbm() if choice.module == "lightgbm" else import_module(choice.module)
    except ModuleNotFoundError as error:
        library = f"the package {error.name}, which is not installed: pip install 'promotion-layer[train]'"
        raise ConfigError(f"{place()}: {algorithm} needs {library}") from error
    found: type = getattr(module, choice.estimator(task))
    return found


def _may_be_truth(build: type, parameter: Parameter) -> bool:
    """Whether true or false may be meant: boosters leave the defaults of many to their library."""
    is_open = parameter.default in (None, Parameter.empty) and not build.__module__.startswith("sklearn")
    return is_open or isinstance(parameter.default, bool)


def _parameters(build: type) -> dict[str, Parameter]:
    """What a class takes by name: where it hands the rest on, what those take that it stands on, too."""
    found: dict[str, Parameter] = {}
    for each in build.__mro__[:-1]:
        given = signature(vars(each)["__init__"]).parameters if "__init__" in vars(each) else {}
        named = {name: item for name, item in given.items() if name != "self" and item.kind is not item.VAR_KEYWORD}
        found = {**named, **found}
        if given and all(item.kind is not item.VAR_KEYWORD for item in given.values()):
            break
    if build.__module__.startswith("lightgbm"):
        aliases = load_lightgbm().basic._ConfigAliases._get_all_param_aliases()  # noqa: SLF001  # it ignores others
        found = {
            **dict.fromkeys(chain(aliases, *aliases.values()), Parameter("value", Parameter.KEYWORD_ONLY)),
            **found,
        }
    return found


def _preprocessing(config: FamilyConfig, choice: Algorithm) -> ColumnTransformer:
    median = ("impute", SimpleImputer(strategy="median"))
    scaled: list[tuple[str, Any]] = [("scale", StandardScaler())] if choice.scaled else []
    most_frequent = ("impute", SimpleImputer(strategy="most_frequent"))
    encode = ("encode", OneHotEncoder(handle_unknown="ignore", sparse_output=not choice.dense))
    # A text that the file does not list is of no category, also where training rows have it.
    labels = [np.array(config.data.columns[name].labels, dtype=object) for name in config.texts]
    known = OneHotEncoder(categories=labels, handle_unknown="ignore", sparse_output=not choice.dense)
    numbers = [name for name in config.numeric if name not in config.dates]
    parts = [
        ("numeric", Pipeline([median, *scaled]), numbers),
        ("categorical", Pipeline([most_frequent, encode]), config.categorical),
    ]
    if config.texts:
        parts.append(("texts", Pipeline([most_frequent, ("encode", known)]), config.texts))
    if config.dates:
        parts += [(f"dates_{name}", Pipeline(steps), config.dates) for name, steps in _calendar(scaled, encode).items()]
    return ColumnTransformer(parts)


def _calendar(scaled: list[tuple[str, Any]], encode: tuple[str, Any]) -> dict[str, list[tuple[str, Any]]]:
    """What is learned from a date, by NumPy's own functions: whoever loads the model needs no code of ours.

    A missing one is the median day. Months and weekdays are categories.
    """
    return {
        "days": [*_counted("D"), *scaled],
        "years": [*_counted("Y"), *scaled],
        "months": [*_counted("M"), *_around(range(1, 13)), encode],
        # 1970-01-01 was a Thursday; Monday is 0.
        "weekdays": [*_counted("D"), *_around((3, 4, 5, 6, 0, 1, 2)), encode],
    }


def _counted(unit: str) -> list[tuple[str, Any]]:
    """Days, months or years since 1970."""
    return [
        ("missing", SimpleImputer(strategy="constant", fill_value="NaT")),
        ("day", _as_array("datetime64[D]")),
        ("count", _as_array(f"datetime64[{unit}]")),
        ("number", _as_array("float64")),
        ("impute", SimpleImputer(missing_values=MISSING_DAY, strategy="median")),
    ]


def _around(names: Iterable[int]) -> list[tuple[str, Any]]:
    choices = {"choices": [float(name) for name in names], "mode": "wrap"}
    return [("whole", _as_array("int64")), ("place", FunctionTransformer(np.choose, kw_args=choices))]


def _as_array(kind: str) -> FunctionTransformer:
    return FunctionTransformer(np.asarray, kw_args={"dtype": kind})
