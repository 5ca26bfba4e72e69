"""Two pictures a reviewer of forecasts wants: how each booster learned, and which stores it gets wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from models.forecast.boosters import BOOSTERS
from models.forecast.evaluation.rmspe import rmspe
from models.forecast.training.learning import FoldForecast
from models.training.plots import BLUE, GREY, INK, as_png, new_figure

_STYLES = ("-", "--", ":")
_NAMED = 3
# The first rounds of a member that learns the level would press all others onto the axis.
_SHOWN_ABOVE_BEST = 1.5


def draw_learning_curves(title: str, folds: Mapping[str, Sequence[FoldForecast]]) -> bytes:
    """Draw the error of each booster by round as PNG, on the newest fold; a dot marks the round that was kept.

    Args:
        title: First line of the title.
        folds: By booster, newest first.
    """
    figure, axes = new_figure(6.4, 4.4)
    for style, (name, of) in zip(_STYLES, folds.items(), strict=False):
        curve, kept = of[0].booster.curve, of[0].booster.rounds
        axes.plot(np.arange(1, len(curve) + 1), curve, color=BLUE, linestyle=style, label=BOOSTERS[name].title)
        axes.plot(kept, curve[kept - 1], "o", color=INK, markersize=5)
    lowest = min(min(of[0].booster.curve) for of in folds.values())
    axes.set_ylim(0.97 * lowest, _SHOWN_ABOVE_BEST * lowest)
    axes.set(xlabel="Rounds of boosting", ylabel="Root mean square error of ln(1 + sales)")
    window = next(iter(folds.values()))[0].window
    axes.set_title(f"{title}\nLearning curves, fold {window.label}")
    axes.legend(frameon=False)
    return as_png(figure)


def draw_error_by_store(title: str, rows: pd.DataFrame) -> bytes:
    """Draw the RMSPE of every store as PNG, sorted; the worst ones are named.

    Args:
        title: First line of the title.
        rows: Columns Store, Sales and forecast, sales above zero.
    """
    by_store = pd.Series(
        {
            store: rmspe(of["Sales"].to_numpy(dtype=float), of["forecast"].to_numpy(dtype=float))
            for store, of in rows.groupby("Store")
        }
    ).sort_values()
    total = rmspe(rows["Sales"].to_numpy(dtype=float), rows["forecast"].to_numpy(dtype=float))
    figure, axes = new_figure(6.4, 4.4)
    axes.fill_between(np.arange(len(by_store)), by_store, color=BLUE, alpha=0.35, linewidth=0)
    axes.plot(np.arange(len(by_store)), by_store, color=BLUE)
    axes.axhline(total, color=GREY, linestyle="--", label=f"all stores: {total:.4f}")
    worst = ", ".join(f"{store} ({error:.2f})" for store, error in by_store.iloc[: -_NAMED - 1 : -1].items())
    axes.set(xlabel=f"Stores, best to worst; the worst: {worst}", ylabel="RMSPE", ylim=(0, None))
    axes.set_title(f"{title}\nError by store on the holdout, {len(rows)} days with sales")
    axes.legend(frameon=False, loc="upper left")
    return as_png(figure)
