"""Put the promotion service together with the evaluation it needs, for commands and for people's own scripts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from promotion.audit.attestations import Attestations
from promotion.audit.checkpoints import checkpoint_folder, leave_checkpoint
from promotion.config.family import FamilyConfig, FamilyConfigs, load_configs
from promotion.config.settings import Settings
from promotion.evaluation.tasks import invented_rows, task_of
from promotion.events.delivery import Postman
from promotion.events.receivers import event_receivers
from promotion.gates.evidence import Evaluator
from promotion.gates.gathering import Gatherer
from promotion.journal.database import Database
from promotion.journal.journal import Journal
from promotion.journal.records import RuleSet
from promotion.journal.reviews import Reviews
from promotion.registry.open import open_registry
from promotion.rules.rulebook import Rulebook
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
        if not config.has_contract:
            from promotion.evaluation.received.evaluator import ReceivedEvaluator

            return ReceivedEvaluator(config, settings.home)
        from promotion.evaluation.holdout import HoldoutEvaluator

        return HoldoutEvaluator(config, settings.home)

    configs = load_configs(settings.config_folder)
    journal = open_journal(settings, configs, report)
    if settings.registry_is_remote and settings.database_url.startswith("sqlite"):
        report(
            "⚠️ the registry is remote, the journal is a local SQLite file: every workspace would decide for itself; "
            "set PROMOTION_DATABASE_URL to a database where the registry is"
        )
    registry = open_registry(settings)
    return PromotionService(
        journal,
        registry,
        configs,
        Gatherer(
            journal,
            Reviews(journal),
            registry,
            evaluator,
            _rulebook(settings),
            invention=lambda config: invented_rows(config, settings.home),
        ),
        report=report,
        on_moved=partial(leave_checkpoint, journal, checkpoint_folder(settings), Keys.from_environment),
        attestations=Attestations(journal, checkpoint_folder(settings), Keys.from_environment),
    )


def open_journal(
    settings: Settings, configs: Mapping[str, FamilyConfig], report: Callable[[str], None] = lambda _line: None
) -> Journal:
    """The journal `settings` names; its events name their family's rules, and receivers are told of them.

    Args:
        settings: Where it is, and where rules are read.
        configs: Families by name; one whose file is broken has no rules that could be named.
        report: Told whom an event did not reach.

    Raises:
        UsageError: The journal's URL is malformed.
    """
    rulebook = _rulebook(settings)

    def rules(family: str) -> RuleSet | None:
        is_broken = isinstance(configs, FamilyConfigs) and family in configs.broken
        return None if is_broken else rulebook.of(family, configs.get(family))

    journal = Journal(Database(settings.database_url), rules, event_receivers(settings.config_folder, configs))
    journal.tell_receivers = Postman(journal, settings.config_folder, report).deliver
    return journal


def _rulebook(settings: Settings) -> Rulebook:
    return Rulebook(settings.home, allowed_signers(settings))
