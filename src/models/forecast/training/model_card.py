"""The model card of a sales ensemble: one page in the version's own files; the same facts give the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from models.forecast.boosters import BOOSTERS
from models.forecast.data.sales import Sales
from models.forecast.training.learning import Learned, LearningPlan
from promotion.config.commit import Commit
from promotion.config.family import FamilyConfig
from promotion.gates.evidence import Interval

_UNKNOWN = "not recorded"


@dataclass(frozen=True, slots=True)
class ForecastFacts:
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
    plan: LearningPlan
    learned: Learned
    holdout: Mapping[str, float]
    interval: Interval
    holdout_rows: int
    invented: str
    trainer: str
    timestamp: str
    commit: Commit | None


def ensemble_card(config: FamilyConfig, facts: ForecastFacts) -> str:
    """Write the card.

    Returns:
        Markdown (CommonMark with tables), ending in a line break.
    """
    plan = facts.plan
    commit = _UNKNOWN
    if facts.commit is not None:
        commit = facts.commit.sha + (", with uncommitted changes" if facts.commit.dirty else "")
    sections = {
        "Purpose": f"Forecasts the daily sales of known stores, in euros, up to {plan.horizon} days ahead. A closed "
        "store sells 0. It forecasts neither customers nor stores it has not seen.",
        "Algorithm": _algorithm(facts),
        "How good it is": _worth(facts),
        "Data": _data(config, facts),
        "Limits": "\n".join(f"- {limit}" for limit in _limits(facts)),
        "Provenance": f"- Trained by: {facts.trainer or _UNKNOWN}\n- Trained at: {facts.timestamp}\n- Commit: {commit}",
    }
    blocks = [f"# Model card: {config.registered_model}"]
    blocks += [f"## {title}\n\n{body}" for title, body in sections.items()]
    return "\n\n".join(blocks) + "\n"


def _algorithm(facts: ForecastFacts) -> str:
    learned, plan = facts.learned, facts.plan
    rows = (
        (
            BOOSTERS[member.name].title,
            f"{learned.ensemble.weights[member.name]:.4f}",
            str(member.booster.rounds),
            ", ".join(f"{name}={value}" for name, value in plan.params[member.name].items()),
        )
        for member in learned.ensemble.members
    )
    return _table(("member", "weight", "rounds", "hyper-parameters"), rows) + (
        f"\n\nThe members' forecasts are added with these weights. Each member learned past days as they "
        f"looked {plan.horizon} days or less before: ln(1 + sales), or how far it lies from the store's "
        "own weekday and promotion means."
    )


def _worth(facts: ForecastFacts) -> str:
    learned, holdout, interval = facts.learned, facts.holdout, facts.interval
    scores = learned.cross_validation()
    folds = [fold.window.label for fold in next(iter(learned.folds.values()))]
    titles = [BOOSTERS[name].title for name in learned.folds]
    table = _table(
        ("window", *titles, "ensemble"),
        ((label, *(f"{of[place]:.4f}" for of in scores.values())) for place, label in enumerate(folds)),
    )
    return (
        "RMSPE is sqrt(mean(((sales - forecast) / sales)²)); days without sales are ignored.\n\n"
        f"{table}\n\nThese windows chose rounds and weights, so they flatter a little. Nothing was learned from the "
        f"holdout, {learned.window.label}: RMSPE {holdout['rmspe']:.4f} (95 % {interval.low:.4f} – "
        f"{interval.high:.4f}, stores drawn) on {facts.holdout_rows} days with sales, mean error "
        f"{100 * holdout['bias']:+.1f} %."
    )


def _data(config: FamilyConfig, facts: ForecastFacts) -> str:
    ensemble = facts.learned.ensemble
    items = {
        "File": f"`{config.data.path}`",
        "SHA-256 of both files": f"`{facts.data.sha256}`",
        "Stores": str(len(ensemble.history.stores)),
        "Days": f"until {_date(ensemble.history.last_day)}; learned from until {_date(ensemble.learned_until)}",
        "Licence": "none needed, the rows are invented" if facts.invented else config.data.licence or _UNKNOWN,
    }
    return "\n".join(f"- {name}: {value}" for name, value in items.items())


def _limits(facts: ForecastFacts) -> Iterable[str]:
    if facts.invented:
        yield f"The rows are invented ({facts.invented}): no figure here says anything about real stores."
    yield (
        f"A day more than {facts.plan.horizon} days behind the last known one is answered; nothing above says how well."
    )
    yield "What no calendar knows (weather, a competitor's opening, construction works) is not in it."
    yield "Stores that were closed for long, or are new, are forecast from little."


def _date(day: int) -> str:
    return str(np.datetime64(day, "D"))


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
