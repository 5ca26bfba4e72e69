"""A small invented chain of stores, learned once, for all tests of the forecast."""

from __future__ import annotations

import pandas as pd
import pytest

from models.forecast.data.generator import invent_sales
from models.forecast.data.sales import Sales
from models.forecast.rows import INPUT_COLUMNS
from models.forecast.training.learning import Learned, Learner, LearningPlan
from promotion.config.forecasting import View

STORES = 6


def make_sales(stores: int = STORES, days: int = 942, seed: int = 42) -> Sales:
    invented = invent_sales(stores, days, seed)
    rows = invented.train.astype({"StateHoliday": "string"}).sort_values(["Date", "Store"], ignore_index=True)
    return Sales(rows[[*INPUT_COLUMNS, "Sales"]], invented.store, "0" * 64)


def quick_plan(**changes: object) -> LearningPlan:
    settings = {
        "horizon": 42,
        "folds": 2,
        "half_life": 1000.0,
        "warm_up": 182,
        "fold_rows": 4000,
        "final_rows": 4000,
        "rounds": 60,
        "patience": 10,
        "seed": 42,
        "threads": 1,
        "params": {
            "lightgbm": {"learning_rate": 0.1, "num_leaves": 8},
            "xgboost": {"eta": 0.1, "max_depth": 3},
            "catboost": {"learning_rate": 0.2, "depth": 3},
        },
        "views": {"xgboost": View(origin_offset=14), "catboost": View(learns="level")},
    }
    return LearningPlan(**{**settings, **changes})  # type: ignore[arg-type]  # tests change what they like


@pytest.fixture(scope="session")
def sales() -> Sales:
    return make_sales()


@pytest.fixture(scope="session")
def learned(sales: Sales) -> Learned:
    return Learner(sales, quick_plan()).learn()


@pytest.fixture(scope="session")
def sold(sales: Sales) -> pd.DataFrame:
    return sales.rows[sales.rows["Sales"] > 0].reset_index(drop=True)
