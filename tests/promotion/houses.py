"""A family with columns of every kind: measures, codes, texts that are known, texts that may be new, and truths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from promotion.config.family import FamilyConfig

STYLES, DISTRICTS = ("flat", "house", "loft"), ("north", "south", "old town")


def houses(home: Path | None = None, rows: int = 300, **changes: Any) -> FamilyConfig:
    """The family; with a home its file is written there."""
    if home is not None:
        (home / "data").mkdir(parents=True, exist_ok=True)
        table(rows).to_csv(home / "data" / "houses.csv", index=False)
    columns = {
        "area": {"type": "number", "minimum": 10, "unit": "m²"},
        "floor": {"type": "code", "codes": [0, 1, 2, 3]},
        "style": {"type": "label", "labels": list(STYLES), "max_missing": 0.2},
        "district": {"type": "label", "labels": list(DISTRICTS), "unknown": "other"},
        "garden": {"type": "boolean"},
        "lift": {"type": "boolean", "max_missing": 0.2},
        "built": {"type": "date", "max_missing": 0.2},
        "price": {"type": "number"},
    }
    return FamilyConfig.model_validate(
        {
            "family": "houses",
            "task": "regression",
            "registered_model": "houses-{algorithm}",
            "data": {"path": "data/houses.csv", "columns": columns, **changes.pop("data", {})},
            "target": {"column": "price"},
            "candidates": {"ridge": {}},
            **changes,
        }
    )


def table(rows: int) -> pd.DataFrame:
    """Houses whose price depends on each of their columns."""
    random = np.random.default_rng(8)
    found = pd.DataFrame(
        {
            "area": random.uniform(20, 200, rows).round(1),
            "floor": random.integers(0, 4, rows),
            "style": random.choice(STYLES, rows),
            "district": random.choice([*DISTRICTS, "harbour"], rows, p=[0.4, 0.3, 0.25, 0.05]),
            "garden": random.choice(["yes", "no"], rows),
            "lift": random.choice(["True", "False"], rows),
            "built": np.datetime_as_string(np.datetime64("1969-06-01") + random.integers(0, 20_000, rows)),
        }
    )
    age = 2024 - found["built"].str[:4].astype(int)
    price = 3 * found["area"] + 50 * (found["style"] == "loft") + 80 * (found["district"] == "north")
    found["price"] = (
        price - 2 * age + 40 * (found["garden"] == "yes") + 10 * found["floor"] + random.normal(0, 5, rows)
    ).round(2)
    found.loc[::23, "style"] = None
    found.loc[::19, "lift"] = None
    found.loc[::17, "built"] = None
    return found


def renamed(names: list[str], home: Path, rows: int = 120) -> tuple[FamilyConfig, pd.DataFrame]:
    """The houses with other names, as their files have them; the target's is the last."""
    plain = houses()
    given_names = dict(zip(plain.data.columns, names, strict=True))
    cells = table(rows).rename(columns=given_names)
    (home / "data").mkdir(parents=True, exist_ok=True)
    cells.to_csv(home / "data" / "houses.csv", index=False)
    columns = {given_names[name]: it.model_dump(exclude_defaults=True) for name, it in plain.data.columns.items()}
    document = plain.model_dump(exclude_unset=True, mode="json") | {
        "data": {"path": "data/houses.csv", "columns": columns},
        "target": {"column": names[-1]},
    }
    return FamilyConfig.model_validate(
        yaml.safe_load(yaml.safe_dump(document, allow_unicode=True, sort_keys=False))
    ), cells
