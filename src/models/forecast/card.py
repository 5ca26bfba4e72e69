"""The model card of a sales ensemble: one page in the version's own files; the same facts give the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from models.forecast.boosters import BOOSTERS
from models.forecast.data import Sales
from models.forecast.learning import Learned, Plan
from models.lineage import Commit
from promotion.config import FamilyConfig
from promotion.evidence import Interval


@dataclass(frozen=True, slots=True)
class Facts:
    """What a training of the ensemble knows beyond its configuration.

    Attributes:
        data: What was learned from.
        plan: How.
        learned: The ensemble.
        holdout: By metric, on the days nothing was learned from.
        interval: 95 % interval of the holdout's RMSPE.
        holdout_rows: Rows it was examined on.
        invented: Says so if a generator made the data; empty for real data.
        trainer: Who started the training.
        timestamp: When, UTC, ISO 8601.
        commit: Of the code; None outside a git repository.
    """

    data: Sales
    plan: Plan
    learned: Learned
    holdout: Mapping[str, float]
    interval: Interval
    holdout_rows: int
    invented: str
    trainer: str
    timestamp: str
    commit: Commit | None


def ensemble_card(config: FamilyConfig, facts: Facts) -> str:
    """Write the card.

    Returns:
        Markdown (CommonMark with tables), ending in a line break.
    """
    learned, plan = facts.learned, facts.plan
    members = learned.ensemble.members
    scores = learned.cross_validation()
    folds = [fold.window.label for fold in next(iter(learned.folds.values()))]
    weights = learned.ensemble.weights
    commit = "not recorded"
    if facts.commit is not None:
        commit = facts.commit.sha + (", with uncommitted changes" if facts.commit.dirty else "")
    blocks = [
        f"# Model card: {config.registered_model}",
        f"## Purpose\n\nForecasts the daily sales of known stores, in euros, up to {plan.horizon} days ahead. A closed "
        "store sells 0. It is no forecast of customers, nor of stores it has not seen.",
        "## Algorithm\n\n"
        + _table(
            ("member", "weight", "rounds", "hyper-parameters"),
            (
                (
                    BOOSTERS[member.name].title,
                    f"{weights[member.name]:.4f}",
                    str(member.rounds),
                    ", ".join(f"{name}={value}" for name, value in plan.params[member.name].items()),
                )
                for member in members
            ),
        )
        + f"\n\nThe forecasts of the members are added with these weights. Each member learned "
        f"{learned.rows} past days, as they looked {plan.horizon} days or less before; their target is ln(1 + sales) "
        "against the store's own weekday and promotion means.",
        "## How good it is\n\nRMSPE is sqrt(mean(((sales - forecast) / sales)²)); days without sales are ignored.\n\n"
        + _table(
            ("window", *[BOOSTERS[name].title for name in learned.folds], "ensemble"),
            ((label, *[f"{of[place]:.4f}" for of in scores.values()]) for place, label in enumerate(folds)),
        )
        + "\n\nThese windows chose rounds and weights, so they flatter a little. Nothing was learned from the holdout, "
        f"{learned.window.label}: RMSPE {facts.holdout['rmspe']:.4f} (95 % {facts.interval.low:.4f} – "
        f"{facts.interval.high:.4f}, stores drawn) on {facts.holdout_rows} days with sales, mean error "
        f"{100 * facts.holdout['bias']:+.1f} %.",
        f"## Data\n\n- File: `{config.data.path}`\n- SHA-256 of both files: `{facts.data.sha256}`\n"
        f"- Stores: {len(learned.ensemble.history.stores)}\n- Days: until {_date(learned.ensemble.history.last_day)}; "
        f"learned from until {_date(learned.ensemble.learned_until)}\n- Licence: {config.data.licence or 'not recorded'}",
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in _limits(facts)),
        f"## Provenance\n\n- Trained by: {facts.trainer or 'not recorded'}\n- Trained at: {facts.timestamp}\n"
        f"- Commit: {commit}",
    ]
    return "\n\n".join(blocks) + "\n"


def _limits(facts: Facts) -> Iterable[str]:
    if facts.invented:
        yield f"The rows are invented ({facts.invented}): no figure here says anything about real stores."
    yield (
        f"A day more than {facts.plan.horizon} days behind the last known one is answered, but nothing above says how well."
    )
    yield "What no calendar knows (weather, a competitor's opening, construction works) is not in it."
    yield "Stores that were closed for long, or are new, are forecast from little."


def _date(day: int) -> str:
    return str(np.datetime64(day, "D"))


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
