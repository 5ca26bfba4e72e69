"""The types a skops file may hold beyond those skops itself vouches for (estimators, arrays, dtypes): ours alone.

MLflow loads a skops model with the trusted types its own MLmodel file lists, so a crafted model can trust itself.
"""

from __future__ import annotations

TRUSTED_TYPES = frozenset(
    {
        "numpy.asarray",
        "numpy.choose",
        "numpy.dtype",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.tree._tree.Tree",
    }
)
BOOSTER_TYPES = frozenset(
    {
        "catboost.core.CatBoostClassifier",
        "catboost.core.CatBoostRegressor",
        "collections.OrderedDict",
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "lightgbm.sklearn.LGBMRegressor",
        "xgboost.core.Booster",
        "xgboost.sklearn.XGBClassifier",
        "xgboost.sklearn.XGBRegressor",
    }
)
"""Of boosters in a pipeline, whose own libraries read the trees; the server, which has no such library, trusts none."""
