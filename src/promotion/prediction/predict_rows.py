"""What a model answers to checked rows, as columns of a table: one place for every engine, so that they agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

_BINARY = 2


def answer(model: Any, features: pd.DataFrame) -> pd.DataFrame:
    """Predict every row.

    Args:
        model: What `promotion.evaluation.loading.load_artifact` returned.
        features: Checked rows: of a data contract, or for a sales ensemble of `models.forecast.rows.checked_rows`.

    Returns:
        By the rows' index: `prediction`, and `probability` when the model gives one. Of a sales ensemble the prediction
        is euros; otherwise it is the class's position, and the probability that of the positive class of two, of the
        predicted class of more.
    """
    forecast: Any = getattr(model, "forecast", None)
    if forecast is not None:
        return pd.DataFrame({"prediction": forecast(features)}, index=features.index)
    # CatBoost answers the classes as a column.
    result = pd.DataFrame({"prediction": np.asarray(model.predict(features)).reshape(-1)}, index=features.index)
    score: Any = getattr(model, "predict_proba", None)
    if score is not None:
        probability = np.asarray(score(features))
        # Of two classes the second is the positive one; of more, the one that was predicted is what people ask about.
        result["probability"] = probability[:, 1] if probability.shape[1] == _BINARY else probability.max(axis=1)
    return result
