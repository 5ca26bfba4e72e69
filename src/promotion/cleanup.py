"""Delete old versions from MLflow without losing one that serves, may have to come back, or must be kept by law."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from promotion.auto import BEST_TAG, BEST_VALUES, ROUND_TAG
from promotion.config.policy import Retention
from promotion.errors import UsageError
from promotion.journal import clock
from promotion.journal.journal import Journal
from promotion.journal.periods import version_acts
from promotion.journal.records import Authority, Entry, Place, place_of
from promotion.journal.reviews import Reviews
from promotion.reconcile.reconciler import Reconciler
from promotion.registry.contract import ModelVersion, RegisteredModel
from promotion.registry.stages import Stage

ACTION = "cleanup"
"""What the record calls a deletion; written before MLflow is told, so that a killed cleanup can be finished."""

_ACTIVE = (Stage.PRODUCTION, Stage.STAGING)


@dataclass(frozen=True, slots=True)
class CleanupVerdict:
    """What is decided about one version.

    Attributes:
        version: Which.
        semver: Its semantic version; the integer as text when the journal knows none.
        kept: Why it stays; empty when it is to be deleted.
        is_begun: Whether its deletion was recorded before and not finished.
    """

    version: ModelVersion
    semver: str
    kept: str
    is_begun: bool

    def __str__(self) -> str:
        named = f" ({self.semver})" if self.semver != str(self.version.number) else ""
        return f"{self.version}{named}"


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is known of a family beside its versions, by row of the journal or by model and number."""

    entries: Mapping[Place, Entry]
    way_back: Collection[Place]
    ended: Mapping[int, datetime]
    rehearsed: Collection[int]
    begun: Collection[int]
    approved: Collection[int]
    incidents: Collection[Place]
    best: Collection[Place]
    aliases: Mapping[Place, Sequence[str]]
    days: int
    now: datetime


def review_versions(service: Reconciler, family: str, keep: int) -> list[CleanupVerdict]:
    """Decide about every version of a family; changes nothing.

    Kept are the newest `keep` of each registered model and, however old: what is in Production or Staging, in the
    journal or in MLflow; the versions a rollback may return to; the best of the newest training; what an alias points
    at; what has an open incident or an approval under way; and whatever has served or was archived, until the family's
    `retention.days` have passed since.

    Args:
        service: Knows journal, registry and configuration.
        family: Configured or not; without configuration the default retention counts.
        keep: How many of each registered model.
    """
    models = service.shown(family)
    facts = _facts(service, family, models)
    verdicts: list[CleanupVerdict] = []
    for model in models:
        for age, version in enumerate(model.versions):
            entry = facts.entries.get(place_of(version))
            is_begun = entry is not None and entry.id in facts.begun
            kept = _protection(version, entry, facts)
            if not kept and not is_begun and age < keep:
                kept = f"among the newest {keep}"
            verdicts.append(CleanupVerdict(version, entry.version if entry else str(version.number), kept, is_begun))
    return verdicts


def review_families(service: Reconciler, family: str | None, keep: int, *, synchronise: bool) -> list[CleanupVerdict]:
    """Decide about every version of one family, or of all that the registry has.

    Args:
        service: Knows journal, registry and configuration.
        family: None for all.
        keep: As for `review_versions`.
        synchronise: Whether to take over, first, what was changed outside; a rehearsal changes nothing.

    Raises:
        Quarantined: Somebody moved versions of a family past its rules; until that is settled nothing is deleted.
    """
    models = [model.name for model in service.registry.models()] if family is None else []
    verdicts: list[CleanupVerdict] = []
    for name in [service.family(family)] if family else sorted(service.families_of(models)):
        if synchronise:
            service.synchronise(name)
        verdicts += review_versions(service, name, keep)
    return verdicts


def clean_up(
    service: Reconciler, agreed: Iterable[CleanupVerdict], keep: int, *, actor: str, reason: str
) -> list[CleanupVerdict]:
    """Delete from MLflow what was agreed and may still be deleted now; returns what was deleted.

    Each deletion is recorded first, with where the files are, because MLflow forgets that; rows and events stay for
    ever. What a killed process recorded and did not delete is deleted by the next run, and recorded once.

    Raises:
        UsageError: The clock is set for a rehearsal, which may show what would be deleted and delete nothing.
        RegistryError: MLflow failed; what was deleted until then stays deleted.
    """
    if clock.is_set():
        raise UsageError(f"{clock.VARIABLE} is set: a rehearsal deletes nothing; unset it, or look with --dry-run")
    wanted = {place_of(verdict.version) for verdict in agreed if not verdict.kept}
    deleted: list[CleanupVerdict] = []
    for family in sorted({service.family(model) for model, _ in wanted}):
        with service.journal.family_lock(family):
            # Between the question and the answer somebody may have promoted one of them.
            for verdict in review_versions(service, family, keep):
                if not verdict.kept and place_of(verdict.version) in wanted:
                    _delete(service, family, verdict, Authority(ACTION, actor, reason))
                    deleted.append(verdict)
    if deleted:
        service.on_moved(service.report)
    return deleted


def cleanup_lines(verdicts: Sequence[CleanupVerdict], keep: int) -> list[str]:
    """What would be deleted and what stays in spite of its age, for people."""
    lines = [f"📋 Cleanup: the newest {keep} of each registered model stay"]
    for verdict in verdicts:
        if not verdict.kept:
            begun = ", begun by an earlier cleanup" if verdict.is_begun else ""
            made = f"registered {verdict.version.created_at:%Y-%m-%d}"
            lines.append(f"   ❌ {verdict} - to be deleted ({made}, stage {verdict.version.stage}{begun})")
        elif not verdict.kept.startswith("among"):
            lines.append(f"   📌 {verdict} - kept: {verdict.kept}")
    return lines


def verdict_document(verdict: CleanupVerdict) -> dict[str, Any]:
    """A verdict as plain data."""
    version = verdict.version
    return {
        "model": version.model,
        "version": version.number,
        "semver": verdict.semver,
        "stage": version.stage.value,
        "run_id": version.run_id,
        "kept": verdict.kept or None,
    }


def _delete(service: Reconciler, family: str, verdict: CleanupVerdict, authority: Authority) -> None:
    version = verdict.version
    if not verdict.is_begun:
        service.registry.require_rights(version.model, deletes=True)
        where = {"source": version.source, "run": version.run_id}
        service.journal.record(family, version, replace(authority, details=where))
    service.registry.delete_version(version.model, version.number)
    service.report(f"{verdict} deleted from MLflow")


def _facts(service: Reconciler, family: str, models: Sequence[RegisteredModel]) -> _Facts:
    versions = [version for model in models for version in model.versions]
    aliases: dict[Place, list[str]] = {}
    for model in models:
        for alias, number in sorted(model.aliases.items()):
            aliases.setdefault((model.name, number), []).append(alias)
    journal = service.journal
    config = service.configs.get(family)
    entries = journal.entries(family)
    acts = version_acts(journal, family, ACTION)
    reviews = Reviews(journal)
    newest = max((version.tags.get(ROUND_TAG, "") for version in versions), default="")
    return _Facts(
        entries={place_of(entry): entry for entry in entries},
        way_back=_way_back(journal, family, entries, {row.version_id: row.served for row in acts if row.served}),
        ended={row.version_id: row.ended for row in acts if row.ended},
        rehearsed={row.version_id for row in acts if row.is_rehearsed},
        begun={row.version_id for row in acts if row.cleaned == row.newest},
        approved=reviews.approved_versions(family),
        incidents={(incident.model, incident.number) for incident in reviews.incidents()},
        best={
            place_of(version)
            for version in versions
            if version.tags.get(BEST_TAG) in BEST_VALUES and version.tags.get(ROUND_TAG, "") == newest
        },
        aliases=aliases,
        days=(config.retention if config else Retention()).days,
        now=journal.now(),
    )


def _way_back(journal: Journal, family: str, entries: Sequence[Entry], served: Mapping[int, int]) -> set[Place]:
    """Who served before the present version, and, should that one be known bad, who served before it."""
    previous = journal.previous(family)
    sound = [entry for entry in entries if entry.id in served and not entry.known_bad]
    elsewhere = [entry for entry in sound if entry.stage is not Stage.PRODUCTION]
    last = max(elsewhere, key=lambda entry: served[entry.id], default=None)
    return {place_of(entry) for entry in (previous, last) if entry}


def _protection(version: ModelVersion, entry: Entry | None, facts: _Facts) -> str:
    """Why a version stays however old it is; empty when nothing protects it."""
    rules: tuple[Callable[[], str], ...] = (
        lambda: f"in {version.stage}" if version.stage in _ACTIVE else "",
        lambda: f"in {entry.stage}, says the journal" if entry and entry.stage in _ACTIVE else "",
        lambda: "a rollback returns to it" if place_of(version) in facts.way_back else "",
        lambda: "the best of the newest training" if place_of(version) in facts.best else "",
        lambda: f"alias {', '.join(facts.aliases[place_of(version)])}" if place_of(version) in facts.aliases else "",
        lambda: "it has an open incident" if place_of(version) in facts.incidents else "",
        lambda: "it is being approved" if entry and entry.id in facts.approved else "",
        lambda: _retained(version, entry, facts),
    )
    return next((reason for rule in rules if (reason := rule())), "")


def _retained(version: ModelVersion, entry: Entry | None, facts: _Facts) -> str:
    """Whether the retention period of a version that served or was archived still runs."""
    if entry and entry.id in facts.rehearsed:
        return f"served or archived {clock.VOID}: since when is not recorded"
    ended = facts.ended.get(entry.id) if entry else None
    if ended is None:
        return "Archived, since when is not recorded" if version.stage is Stage.ARCHIVED else ""
    until = ended + timedelta(days=facts.days)
    return f"served or archived, retained until {until:%Y-%m-%d} ({facts.days} days)" if until > facts.now else ""
