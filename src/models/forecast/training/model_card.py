"""The model card of a sales ensemble: one page in the version's own files; the same facts give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from models.forecast.boosters import BOOSTERS
from models.forecast.data.sales import Sales
from models.forecast.training.learning import Learned, LearningPlan
from models.training.model_card import render_markdown
from promotion.config.commit import Commit
from promotion.config.family import FamilyConfig
from promotion.gates.evidence import Interval


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
    titles = {name: booster.title for name, booster in BOOSTERS.items()}
    template = Path(__file__).with_name("model_card.md.j2")
    return render_markdown(template, config=config, facts=facts, titles=titles)
