"""The model card of a sales ensemble: one page in the version's own files; the same facts give the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from models.forecast.boosters import BOOSTERS
from models.training.model_card import render_markdown
from promotion.config.family import FamilyConfig

if TYPE_CHECKING:
    from models.forecast.training.recording import ExaminedEnsemble
    from models.training.recording import Round


def ensemble_card(config: FamilyConfig, examined: ExaminedEnsemble, training: Round) -> str:
    """Write the card.

    Returns:
        Markdown (CommonMark with tables), ending in a line break.
    """
    titles = {name: booster.title for name, booster in BOOSTERS.items()}
    template = Path(__file__).with_name("model_card.md.j2")
    return render_markdown(template, config=config, examined=examined, training=training, titles=titles)
