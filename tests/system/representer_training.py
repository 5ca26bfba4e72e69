"""What a user's training script leaves in MLflow: `churn` v1 without metrics in Production, v2 with one beside it.

Runs under the affected MLflow, with its own client: `python representer_training.py TRACKING_URI`.
"""

from __future__ import annotations

import sys

import mlflow


class Echo(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # mlflow ships no type information
    """The smallest model there is."""

    def predict(self, _context: object, model_input: object, _params: object = None) -> object:
        """Answer with the question."""
        return model_input


def register(*metrics: float) -> None:
    """Log and register in one run; MLflow links the run's metrics to the model logged in it."""
    with mlflow.start_run():
        for metric in metrics:
            mlflow.log_metric("roc_auc", metric)
        mlflow.pyfunc.log_model(name="model", python_model=Echo(), pip_requirements=[], registered_model_name="churn")


if __name__ == "__main__":
    mlflow.set_tracking_uri(sys.argv[1])
    register()
    register(0.91)
    mlflow.MlflowClient().transition_model_version_stage("churn", "1", "Production")
