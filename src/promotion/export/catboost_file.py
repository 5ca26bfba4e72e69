"""CatBoost's own file where it writes no ONNX graph: what is served then, and the server's engine as its proof."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from promotion.data.arrays import with_cells
from promotion.export.contract import Contract
from promotion.export.documents import schema_document
from promotion.export.folder import ENGINE_PACKAGES, canonical_json

_BEGINS = b"CBM1"
_MODEL, _PINS = "model.cbm", "requirements.txt"
_UNSEEN = "never seen before"


def is_catboost_file(content: bytes) -> bool:
    """Whether a converted model is CatBoost's own file."""
    return content.startswith(_BEGINS)


def write_catboost_file(content: bytes, folder: Path) -> None:
    """Put the model into the folder of an export's native model, and the packages that it was proven with."""
    pins = "".join(f"{name}=={version(name)}\n" for name in ENGINE_PACKAGES["catboost"])
    folder.mkdir()
    (folder / _MODEL).write_bytes(content)
    (folder / _PINS).write_text(pins, encoding="utf-8")


def unseen_categories(contract: Contract, rows: pd.DataFrame) -> pd.DataFrame:
    """The first of the rows with texts and whole numbers that none of them has."""
    row = rows.head(1)
    whole = [name for name, rules in contract.columns.items() if rules.type == "integer"]
    return with_cells(row, dict.fromkeys(contract.texts, _UNSEEN) | {name: rows[name].max() + 1 for name in whole})


def catboost_answers(content: bytes, contract: Contract, rows: pd.DataFrame) -> list[NDArray[Any]]:
    """What the server answers from CatBoost's file.

    Args:
        content: The file.
        contract: Columns and classes.
        rows: Rows × features, missing cells NaN.

    Returns:
        As `promotion.export.onnx.answers`.
    """
    from promotion.serving.exported.catboost_engine import CatBoostEngine
    from promotion.serving.exported.folder import Schema

    schema = Schema.model_validate_json(canonical_json(schema_document(contract)))
    with TemporaryDirectory(prefix="catboost-") as folder:
        path = Path(folder, _MODEL)
        path.write_bytes(content)
        engine = CatBoostEngine(path, schema)
    columns = [
        rows[name].astype(object).where(rows[name].notna(), None)
        if name in contract.texts
        else rows[name].to_numpy(dtype=np.float64, na_value=np.nan)
        for name in contract.features
    ]
    found = engine.predict(np.array(columns, dtype=object if contract.texts else np.float64))
    numbers = found.probabilities.astype(np.float64)
    return [found.classes, numbers] if contract.classes else [numbers]
