"""Pictures a reviewer wants beside the numbers: ROC curve, confusion matrix, residuals, permutation importance."""

from __future__ import annotations

import warnings
from io import BytesIO
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, roc_curve

from promotion.config.evidence import is_error
from promotion.gates.evidence import Interval

BLUE, GREY, INK = "#1f5fa8", "#9aa3ad", "#22282e"
DOTS_PER_INCH = 120
# Share from which on the matrix is too dark for dark text.
_DARK = 0.5
_LONGEST = 40
_LINES = ("-", "--", ":", "-.")


def draw_roc_curve(
    title: str, target: NDArray[np.int64], probability: NDArray[np.float64], area: Interval, classes: list[str]
) -> bytes:
    """Draw the ROC curve as PNG: of a binary task the positive class's, of several classes one curve each.

    Args:
        title: First line of the title.
        target: Class of each row, shape (rows,).
        probability: Of the positive class, shape (rows,); or of every class, shape (rows, classes).
        area: Area under the curve with its interval; of several classes their mean.
        classes: What the classes mean.
    """
    figure, axes = new_figure(5.2, 5.0)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="chance")
    label = f"AUC {area.value:.4f}  (95 % {area.low:.3f} – {area.high:.3f})"
    if probability.ndim == target.ndim:
        false_positive_rate, true_positive_rate, _ = roc_curve(target, probability, drop_intermediate=False)
        axes.plot(false_positive_rate, true_positive_rate, color=BLUE, linewidth=2, label=label)
        axes.fill_between(false_positive_rate, true_positive_rate, color=BLUE, alpha=0.08, linewidth=0)
    else:
        for index, (name, style) in enumerate(zip(classes, cycle(_LINES), strict=False)):
            rates = roc_curve(target == index, probability[:, index], drop_intermediate=False)
            axes.plot(*rates[:2], color=BLUE, linestyle=style, linewidth=1.8, label=f"{_drawn(name)} against the rest")
        axes.plot([], [], " ", label=f"mean {label}")
    axes.set(xlabel="False positive rate", ylabel="True positive rate", xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
    axes.set_title(f"{title}\nROC curve, {len(target)} test rows")
    axes.set_aspect("equal")
    axes.legend(loc="lower right", frameon=False)
    return as_png(figure)


def draw_confusion_matrix(
    title: str, target: NDArray[np.int64], predicted: NDArray[np.int64], classes: list[str]
) -> bytes:
    """Draw the confusion matrix as PNG: counts, and shares of each true class."""
    positions = range(len(classes))
    counts = confusion_matrix(target, predicted, labels=positions)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = new_figure(5.2, 4.8)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        text = f"{count}\n{share:.0%}"
        axes.text(column, row, text, ha="center", va="center", size=13, color="white" if share > _DARK else INK)
    shown = [_drawn(name) for name in classes]
    axes.set_xticks(positions, shown)
    axes.set_yticks(positions, shown, rotation=90, va="center")
    axes.set(xlabel="Predicted", ylabel="True")
    axes.spines[:].set_visible(False)
    axes.set_title(f"{title}\nConfusion matrix, {len(target)} test rows")
    return as_png(figure)


def draw_residuals(title: str, target: NDArray[np.float64], predicted: NDArray[np.float64], unit: str) -> bytes:
    """Draw what a regression missed as PNG: the residual by prediction, and how often each size occurs."""
    residual = target - predicted
    figure, axes = new_figure(6.2, 4.6)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.scatter(predicted, residual, s=14, color=BLUE, alpha=0.6, linewidths=0)
    axes.set(xlabel=f"Predicted {_drawn(unit)}", ylabel="True minus predicted")
    axes.set_title(f"{title}\nResiduals, {len(target)} test rows")
    beside = axes.inset_axes((1.02, 0, 0.22, 1), sharey=axes)
    beside.hist(residual, bins="auto", orientation="horizontal", color=GREY)
    beside.set_axis_off()
    return as_png(figure)


def draw_importance(title: str, features: list[str], importances: NDArray[np.float64], metric: str) -> bytes:
    """Draw the permutation importance as PNG: what shuffling a column costs.

    Args:
        title: First line of the title.
        features: Names of the columns.
        importances: Loss of the metric, of an error its gain, shape (features, repeats).
        metric: Name of the metric lost.
    """
    order = np.argsort(importances.mean(axis=1))
    figure, axes = new_figure(6.2, 1.6 + 0.28 * len(features))
    places = np.arange(len(order))
    axes.set_yticks(places, [_drawn(features[index]) for index in order])
    axes.barh(
        places,
        importances.mean(axis=1)[order],
        xerr=importances.std(axis=1)[order],
        color=BLUE,
        error_kw={"ecolor": GREY, "elinewidth": 1.2},
        height=0.7,
    )
    axes.axvline(0, color=INK, linewidth=0.8)
    change = "Gain" if is_error(metric) else "Loss"
    axes.set(xlabel=f"{change} of {metric} when the column is shuffled (mean ± std of {importances.shape[1]})")
    axes.tick_params(axis="y", length=0)
    axes.set_title(f"{title}\nPermutation importance on the test rows")
    return as_png(figure)


def _drawn(name: str) -> str:
    """A name as a picture has room for it; to matplotlib what stands between two dollars is a formula."""
    shown = name if len(name) <= _LONGEST else name[:_LONGEST] + "…"
    return shown.replace("$", r"\$")


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """One set of axes, sides in inches; pyplot, which would keep the figure alive, is not involved."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def as_png(figure: Figure) -> bytes:
    """The finished picture, every title in the house style."""
    for axes in figure.axes:
        axes.title.set(size=11, color=INK)
    buffer = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph ")  # a letter that the font lacks is drawn as a box
        figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
    return buffer.getvalue()
