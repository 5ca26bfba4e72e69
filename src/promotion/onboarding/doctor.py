"""Look at an installation and its registry as they are, and write nothing."""

from __future__ import annotations

from collections.abc import Callable

from promotion.config.family import load_configs
from promotion.config.settings import Settings
from promotion.errors import JournalError, RegistryError
from promotion.journal.database import Database
from promotion.journal.journal import Journal
from promotion.onboarding.diagnosis import Diagnosis
from promotion.onboarding.installation import (
    check_clock,
    check_events,
    check_families,
    check_journal,
    check_keys,
    check_rights,
    check_sandbox,
    check_versions,
)
from promotion.onboarding.registry_state import check_registry
from promotion.reconcile.reconciler import Reconciler
from promotion.registry.contract import RegisteredModel, without_password
from promotion.registry.open import open_registry


def diagnose(
    settings: Settings, *, is_deep: bool = False, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> Diagnosis:
    """Make every check that can be made; what cannot be reached keeps none of the others from being made.

    Args:
        settings: Names registry and journal.
        is_deep: Whether the files of every version are looked at, not only of those in a stage or with an alias.
        progress: Told how many versions of how many were looked at.

    Raises:
        UsageError: The journal's URL, or a variable, is malformed.
    """
    diagnosis = Diagnosis()
    configs = load_configs(settings.config_folder)
    registry = open_registry(settings)
    shown = without_password(settings.registry_uri)
    models: list[RegisteredModel] = []
    try:
        models = registry.models()
        diagnosis.said["connection"] = f"{shown} answers, {len(models):,} registered models"
    except RegistryError as error:
        diagnosis.fail("connection", str(error))
    check_versions(None if diagnosis.unreachable else settings.registry_uri, diagnosis)
    if "connection" not in diagnosis.unreachable:
        check_rights(registry, models, configs, diagnosis)
    journal = Journal(Database(settings.database_url))
    is_recorded = False
    try:
        check_clock(journal, diagnosis)
        is_recorded = check_journal(settings, journal, diagnosis)
    except JournalError as error:
        diagnosis.fail("journal", str(error))
    check_keys(settings, configs, diagnosis)
    check_sandbox(configs, diagnosis)
    check_families(settings, configs, diagnosis)
    check_events(settings, configs, journal if is_recorded else None, diagnosis)
    if "connection" not in diagnosis.unreachable:
        reconciler = Reconciler(journal, registry, configs)
        check_registry(reconciler, models, diagnosis, is_deep=is_deep, is_recorded=is_recorded, progress=progress)
    return diagnosis
