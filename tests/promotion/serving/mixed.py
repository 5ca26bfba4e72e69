"""Exports whose columns are of every kind there is, by each engine that takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from tests.promotion.evaluation.received.made import customers
from tests.promotion.factories import a_manifest, seal_unsigned
from tests.promotion.serving.exporting import write

from promotion.evaluation.received.translation import graph_of
from promotion.export.contract import Contract, FeatureRules
from promotion.export.documents import schema_document
from promotion.export.folder import ServingEngine
from promotion.export.onnx import served_graph
from promotion.serving.exported.folder import Schema
from promotion.serving.exported.rows import RowReader, written_day

CATEGORIES = ["plan", "tier", "is_member", "visits"]
EXPECTED = 5


def contract(engine: ServingEngine) -> Contract:
    """What the rows hold; CatBoost takes no empty category."""
    columns = {
        "age": FeatureRules("integer", minimum=18, maximum=120),
        "plan": FeatureRules("text"),
        "tier": FeatureRules("text", texts=("basic", "plus"), nullable=engine != "catboost"),
        "is_member": FeatureRules("boolean"),
        "spent": FeatureRules("number", nullable=True),
        "visits": FeatureRules("code", codes=tuple(range(9))),
        "joined": FeatureRules("date", nullable=True),
    }
    numeric = frozenset({"age", "spent"})
    return Contract("churn", columns, target="churned", classes=("no", "yes"), numeric=numeric, instead="")


def rows_of_every_kind(engine: ServingEngine, count: int) -> list[dict[str, Any]]:
    """Rows as clients send them; some lack all that they may lack."""
    columns = contract(engine).columns
    rows = customers(count).to_dict("records")
    for place, row in enumerate(rows):
        row |= {"tier": "plus" if place % 2 else "basic", "joined": written_day(15_000 + place)}
        row |= {name: None for name, rules in columns.items() if rules.nullable and place % 5 == 1}
    return [{name: row[name] for name in columns} for row in rows]


def export_of_every_kind(folder: Path, engine: ServingEngine) -> Path:
    """Fit, write the files, and let the model say what is expected of them."""
    folder.mkdir()
    agreed, rows = contract(engine), rows_of_every_kind(engine, 200)
    write(folder / "schema.json", schema_document(agreed))
    matrix = RowReader(Schema.model_validate_json((folder / "schema.json").read_bytes()), len(rows)).from_rows(rows)
    frame = pd.DataFrame(matrix.T, columns=agreed.features).fillna(dict.fromkeys(agreed.texts, ""))
    kinds = {"is_member": int, "visits": int, "age": float, "spent": float, "joined": float}
    model = _fitted(frame.astype(kinds), np.arange(len(rows)) % 2, engine)
    if engine == "catboost":
        (folder / "model").mkdir()
        model.save_model(str(folder / "model" / "model.cbm"))
    else:
        columns = [(name, name in agreed.texts) for name in agreed.features]
        (folder / "model.onnx").write_bytes(served_graph(graph_of(model, columns, "churn", precise=True), agreed))
    answers = model.predict_proba(frame.astype(kinds).head(EXPECTED))
    labels = answers.argmax(axis=1).tolist()
    write(folder / "expected.json", {"rows": rows[:EXPECTED], "labels": labels, "probabilities": answers.tolist()})
    seal_unsigned(folder, a_manifest(engine=engine))
    return folder


def _fitted(frame: pd.DataFrame, targets: Any, engine: ServingEngine) -> Any:
    if engine == "catboost":
        import catboost

        model = catboost.CatBoostClassifier(iterations=5, verbose=False, allow_writing_files=False, thread_count=1)
        return model.fit(frame, targets, cat_features=CATEGORIES)
    texts = ["plan", "tier"]
    numbers = [name for name in frame if name not in texts]
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), texts), (SimpleImputer(), numbers))
    return make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(frame, targets)
