"""The model as MLflow loads it anywhere ("models from code"): this file goes into each version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel

from models.forecast.ensemble import Ensemble


class SalesEnsemble(PythonModel):  # type: ignore[misc]  # MLflow ships no types
    """Answers `predict` with euros, one a row."""

    def load_context(self, context: Any) -> None:
        """Read the boosters from their native files."""
        self._ensemble = Ensemble.load(Path(context.artifacts["ensemble"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.Series:  # noqa: ARG002  # MLflow's
        """Forecast sales in euros."""
        return pd.Series(self._ensemble.predict(model_input), index=model_input.index, name="Sales")


mlflow.models.set_model(SalesEnsemble())
