"""Put the promotion service together with the evaluation it needs, for commands and for people's own scripts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from promotion.checkpoints import checkpoint_folder, leave_checkpoint
from promotion.config import FamilyConfig, load_configs
from promotion.database import Database
from promotion.evidence import Evaluator
from promotion.gathering import Gatherer
from promotion.journal import Journal
from promotion.keys import Keys
from promotion.registry import open_registry
from promotion.reviews import Reviews
from promotion.service import PromotionService
from promotion.settings import Settings
from promotion.signatures import allowed_signers


def open_promotions(settings: Settings, report: Callable[[str], None] = lambda _line: None) -> PromotionService:
    """The service on the stores `settings` names; nothing is contacted or created yet.

    Raises:
        ConfigError: A family's configuration is wrong.
        UsageError: The journal's URL is malformed.
    """

    def evaluator(config: FamilyConfig) -> Evaluator:
        if config.is_forecast:
            from models.forecast.evaluator import ForecastEvaluator

            return ForecastEvaluator(config, settings.home)
        from models.evaluation import HoldoutEvaluator

        return HoldoutEvaluator(config, settings.home)

    journal = Journal(Database(settings.database_url))
    if settings.registry_is_remote and settings.database_url.startswith("sqlite"):
        report(
            "⚠️ the registry is remote, the journal is a local SQLite file: every workspace would decide for itself; "
            "set PROMOTION_DATABASE_URL to a database where the registry is"
        )
    registry = open_registry(settings)
    return PromotionService(
        journal,
        registry,
        load_configs(settings.config_folder),
        Gatherer(journal, Reviews(journal), registry, evaluator, allowed_signers(settings)),
        report=report,
        on_moved=partial(leave_checkpoint, journal, checkpoint_folder(settings), Keys.from_environment),
    )
