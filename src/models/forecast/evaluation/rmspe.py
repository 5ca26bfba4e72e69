"""What a sales forecast is worth: the root mean square percentage error, and weights that make it small."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from promotion.data.arrays import FloatArray

# How far the fitted weights are drawn towards equal ones: few windows cannot tell similar boosters apart.
_TOWARDS_EQUAL = 0.75


def rmspe(sales: FloatArray, forecast: FloatArray) -> float:
    """Root mean square percentage error: sqrt(mean(((sales - forecast) / sales)²)), dimensionless.

    Rows whose sales are zero are ignored, as Kaggle's "Rossmann Store Sales" does: a closed store has no percentage.

    Args:
        sales: What was sold, euros, shape (rows,).
        forecast: What was foretold, euros, shape (rows,).

    Returns:
        NaN where no row has sales.
    """
    errors = squared_errors(sales, forecast)
    return float(np.sqrt(errors.mean())) if errors.size else float("nan")


def squared_errors(sales: FloatArray, forecast: FloatArray) -> FloatArray:
    """Squared percentage error of each row with sales."""
    sold = sales > 0
    errors: FloatArray = (1 - forecast[sold] / sales[sold]) ** 2
    return errors


def fit_weights(sales: FloatArray, forecasts: FloatArray) -> FloatArray:
    """Weights of several forecasts whose weighted mean has a small RMSPE.

    Non-negative least squares (Lawson & Hanson 1974, chapter 23) on the ratios forecast / sales, whose target is 1,
    scaled to add up to 1 and drawn three quarters of the way towards equal weights. A common factor is not fitted: the
    level of one window says nothing about the level of the next.

    Args:
        sales: Euros, all above zero, shape (rows,).
        forecasts: Euros, shape (rows, members); of rows no member has learned from.

    Returns:
        Shape (members,).
    """
    fitted, _ = nnls(forecasts / sales[:, None], np.ones(len(sales)))
    weights: FloatArray = _TOWARDS_EQUAL / forecasts.shape[1] + (1 - _TOWARDS_EQUAL) * fitted / fitted.sum()
    return weights
