"""A family that learns a number here: scikit-learn's 442 patients, whose disease is measured a year later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sklearn.datasets import load_diabetes

from promotion.config.family import FamilyConfig

MEASURED = ("age", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")


def diabetes(home: Path | None = None, **changes: Any) -> FamilyConfig:
    """The family; with a home its file is written there."""
    if home is not None:
        path = home / "data" / "diabetes.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        load_diabetes(as_frame=True, scaled=False).frame.astype({"sex": int}).to_csv(path, index=False)
    columns = {name: {"type": "number"} for name in MEASURED}
    return FamilyConfig.model_validate(
        {
            "family": "diabetes",
            "task": "regression",
            "registered_model": "diabetes-{algorithm}",
            "data": {
                "path": "data/diabetes.csv",
                "columns": {
                    **columns,
                    "s5": {"type": "number", "max_missing": 0.1},
                    "sex": {"type": "code", "codes": [1, 2]},
                    "target": {"type": "number", "minimum": 0, "unit": "points"},
                },
            },
            "target": {"column": "target"},
            "candidates": {"ridge": {}, "random_forest": {"params": {"n_estimators": 10}}},
            "cross_validation": {"folds": 3, "repeats": 1},
            **changes,
        }
    )
