"""Whether two candidates differ, or only the luck of the folds does."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.stats import t

from promotion.data.arrays import FloatArray
from promotion.evaluation.metrics import CONFIDENCE
from promotion.gates.evidence import Interval


@dataclass(frozen=True, slots=True)
class FoldComparison:
    """Two candidates compared over the same cross-validation folds.

    Attributes:
        difference: Mean of first minus second, with its 95 % interval.
        p_value: Two-sided, of no difference.
    """

    difference: Interval
    p_value: float

    @property
    def is_significant(self) -> bool:
        """Whether the folds tell the two apart at the 5 % level."""
        return self.p_value < 1 - CONFIDENCE


def compare_folds(first: FloatArray, second: FloatArray, folds: int) -> FoldComparison:
    """Corrected resampled t-test of two candidates over repeated cross-validation.

    Folds share training rows, so their scores are not independent and a plain t-test finds differences that are not
    there. Nadeau & Bengio (2003, Machine Learning 52:239-281) scale the variance by 1/J + n_test/n_train; for
    repeated k-fold see Bouckaert & Frank (2004, PAKDD, LNCS 3056:3-12).

    Args:
        first: One score a fold, shape (J,).
        second: The same folds, shape (J,).
        folds: k of the k-fold: n_test/n_train is 1/(k - 1).
    """
    differences = first - second
    mean = float(differences.mean())
    error = math.sqrt((1 / differences.size + 1 / (folds - 1)) * float(differences.var(ddof=1)))
    freedom = differences.size - 1
    if error == 0:
        return FoldComparison(Interval(mean, mean, mean), p_value=float(mean == 0))
    margin = float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    return FoldComparison(
        Interval(mean, mean - margin, mean + margin), p_value=float(2 * t.sf(abs(mean) / error, freedom))
    )
