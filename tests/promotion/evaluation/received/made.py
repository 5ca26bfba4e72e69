"""Models as other teams log them, and the rows they are scored on."""

from __future__ import annotations

import textwrap
import warnings
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from promotion.config.schema import FamilyConfig
from promotion.config.settings import REPOSITORY

PINS = ["mlflow", "scikit-learn"]


def a_received_family(**changes: Any) -> FamilyConfig:
    """A family that scores what others trained."""
    document = {
        "family": "churn",
        "registered_model": "churn",
        "task": "binary-classification",
        "holdout": {"path": "holdout.csv", "target": "churned", "positive": "yes"},
    }
    return FamilyConfig.model_validate({**document, **changes})


def customers(count: int = 300, seed: int = 1) -> pd.DataFrame:
    """Rows of every kind of column, with gaps, and a target that follows from two of them."""
    random = np.random.default_rng(seed)
    age = random.integers(18, 90, count)
    spent = random.normal(100, 30, count).round(2)
    frame = pd.DataFrame(
        {
            "customer": [f"c{number:05}" for number in range(count)],
            "age": age,
            "plan": random.choice(["basic", "plus", "gold"], count),
            "is_member": random.random(count) < 0.5,
            "spent": spent,
            "visits": random.integers(0, 9, count),
        }
    )
    chance = 1 / (1 + np.exp(-((age - 54) / 8 + (frame["plan"] == "gold") * 1.5)))
    frame["churned"] = np.where(random.random(count) < chance, "yes", "no")
    frame["paid"] = (3 * age + 0.5 * spent + random.normal(0, 5, count)).round(3)
    return frame


FEATURES = ["age", "plan", "is_member", "spent", "visits"]


def a_pipeline(last: Any = None) -> Pipeline:
    """Text and numbers, as they come."""
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["plan"]), (StandardScaler(), ["age", "spent", "visits"])
    )
    return make_pipeline(columns, LogisticRegression() if last is None else last)


def save(folder: Path, model: Any, frame: pd.DataFrame | None = None, flavour: str = "sklearn", **options: Any) -> Path:
    """Save a model as MLflow logs it; with a signature where a frame is given."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if frame is not None:
            options["signature"] = infer_signature(frame)
        saver = getattr(mlflow, flavour)
        key = {"pyfunc": "python_model", "onnx": "onnx_model", "catboost": "cb_model"}
        name = key.get(flavour, {"xgboost": "xgb_model", "lightgbm": "lgb_model"}.get(flavour, "sk_model"))
        saver.save_model(path=str(folder), **{name: model}, pip_requirements=PINS, **options)
    return folder


def save_code(folder: Path, body: str, frame: pd.DataFrame, **options: Any) -> Path:
    """Save a model from code, whose `predict(rows)` has this body."""
    code = folder.with_suffix(".py")
    lines = textwrap.indent(textwrap.dedent(body), " " * 8)
    code.write_text(
        "import json, os, socket, subprocess, sys, time\nfrom pathlib import Path\nimport mlflow, numpy as np\n"
        f"class Model(mlflow.pyfunc.PythonModel):\n    def predict(self, context, rows, params=None):\n{lines}\n"
        "mlflow.models.set_model(Model())\n"
    )
    return save(folder, str(code), frame, flavour="pyfunc", **options)


def fitted(seed: int = 2, last: Any = None, target: str = "churned") -> Pipeline:
    """A pipeline that has learned from other rows."""
    learned = customers(400, seed)
    return a_pipeline(last).fit(learned[FEATURES], learned[target])


__all__ = [
    "FEATURES",
    "REPOSITORY",
    "LinearRegression",
    "RandomForestClassifier",
    "a_pipeline",
    "a_received_family",
    "customers",
    "fitted",
    "save",
    "save_code",
]
