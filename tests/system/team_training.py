"""What a team's own training leaves in MLflow: one version of `churn`, with a run, its metrics and its user.

Runs under any MLflow from 2.9 on, with its own client: `python team_training.py TRACKING_URI SEED`.
"""

from __future__ import annotations

import sys
import warnings

import mlflow
import numpy as np
import pandas as pd
import sklearn
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

FEATURES = ["age", "plan", "spent"]


def customers(count: int, seed: int) -> pd.DataFrame:
    """Text and numbers, and whether they left."""
    random = np.random.default_rng(seed)
    age = random.integers(18, 90, count)
    frame = pd.DataFrame(
        {
            "customer": [f"c{number:05}" for number in range(count)],
            "age": age,
            "plan": random.choice(["basic", "plus", "gold"], count),
            "spent": random.normal(100, 30, count).round(2),
        }
    )
    chance = 1 / (1 + np.exp(-((age - 54) / 8 + (frame["plan"] == "gold") * 1.5)))
    frame["churned"] = np.where(random.random(count) < chance, "yes", "no")
    return frame


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    address, seed = sys.argv[1], int(sys.argv[2])
    learned, seen = customers(300 * seed, seed), customers(300, 99)
    columns = make_column_transformer((OneHotEncoder(), ["plan"]), (StandardScaler(), ["age", "spent"]))
    model = make_pipeline(columns, LogisticRegression()).fit(learned[FEATURES], learned["churned"])
    mlflow.set_tracking_uri(address)
    with mlflow.start_run(tags={"mlflow.user": "tina@example.com"}):
        mlflow.log_metric("roc_auc", float(roc_auc_score(seen["churned"], model.predict_proba(seen[FEATURES])[:, 1])))
        mlflow.sklearn.log_model(
            model,
            "model",
            signature=infer_signature(learned[FEATURES]),
            serialization_format="cloudpickle",
            registered_model_name="churn",
            pip_requirements=[
                f"mlflow=={mlflow.__version__}",
                f"scikit-learn=={sklearn.__version__}",
                f"pandas=={pd.__version__}",
                f"numpy=={np.__version__}",
                "setuptools<81",
            ],
        )
