"""How a Spark executor answers: this file goes into the temporary model that `promotion.prediction.spark` builds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc import PythonModel

from promotion.evaluation.loading import load_artifact
from promotion.prediction.predict_rows import answer


class SparkModel(PythonModel):  # type: ignore[misc]  # MLflow ships no types
    """Answers with `prediction` and `probability`, NaN where the model gives none."""

    def load_context(self, context: Any) -> None:
        """Load the version as every other command does."""
        self._model = load_artifact(Path(context.artifacts["version"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:  # noqa: ARG002  # MLflow's
        """Answer checked rows."""
        rows = model_input
        if hasattr(self._model, "forecast"):
            rows = rows.assign(Date=pd.to_datetime(rows["Date"], format="ISO8601"))
        answers = answer(self._model, rows).astype("float64")
        return answers if "probability" in answers else answers.assign(probability=np.nan)


mlflow.models.set_model(SparkModel())
