"""Put the promotion service together with the evaluation it needs, for commands and for people's own scripts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from promotion.audit.checkpoints import checkpoint_folder, leave_checkpoint
from promotion.config.family import FamilyConfig, load_configs
from promotion.config.settings import Settings
from promotion.evaluation.tasks import task_of
from promotion.gates.evidence import Evaluator
from promotion.gates.gathering import Gatherer
from promotion.journal.database import Database
from promotion.journal.journal import Journal
from promotion.journal.reviews import Reviews
from promotion.registry.open import open_registry
from promotion.service import PromotionService
from promotion.signing.keys import Keys
from promotion.signing.ssh import allowed_signers


def open_promotions(settings: Settings, report: Callable[[str], None] = lambda _line: None) -> PromotionService:
    """The service on the stores `settings` names; nothing is contacted or created yet.

    Raises:
        ConfigError: A family's configuration is wrong.
        UsageError: The journal's URL is malformed.
    """

    def evaluator(config: FamilyConfig) -> Evaluator:
        if config.is_forecast:
            return task_of(config).evaluator(config, settings.home)
        from promotion.evaluation.holdout import HoldoutEvaluator

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
