"""What is done after a version moved into Production: a checklist that is carried out as far as a program can."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from promotion.artifacts.files import artifact_digest, local_artifact
from promotion.config.family import FamilyConfig
from promotion.config.policy import Contacts, Review
from promotion.errors import JournalError, PromotionError
from promotion.gates.quality import threshold_gates
from promotion.journal.monitoring import newest_runs
from promotion.journal.records import Authority
from promotion.reconcile.projection import STAGE_TAG
from promotion.registry.stages import Stage
from promotion.service import Move, PromotionService

_HTTP_SECONDS = 5
_OK = 200
_SHOWN = 12


class ItemOutcome(StrEnum):
    """How an item of the checklist ended."""

    DONE = "done"
    FAILED = "failed"
    BY_HAND = "by hand"


@dataclass(frozen=True, slots=True)
class Item:
    """One item of the checklist.

    Attributes:
        task: What it is about.
        outcome: How it ended.
        detail: What was found, or what a person has to do.
    """

    task: str
    outcome: ItemOutcome
    detail: str

    def __str__(self) -> str:
        icon = {ItemOutcome.DONE: "✅", ItemOutcome.FAILED: "❌", ItemOutcome.BY_HAND: "📋"}[self.outcome]
        return f"   {icon} {self.task}: {self.outcome}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Announced:
    """Who was told that a version moved; nobody where no channel is set.

    Attributes:
        accepted: The channels that took the message, in words.
        refused: Those that did not, and why.
    """

    accepted: Sequence[str] = ()
    refused: Sequence[str] = ()


Announce = Callable[[Move], Announced]
ItemResult = tuple[ItemOutcome, str]
ChecklistTask = Callable[["_Aftermath"], ItemResult]


def after_promotion(service: PromotionService, move: Move, announce: Announce | None = None) -> list[Item]:
    """Carry out the tasks that follow a promotion, and record how they ended.

    A task that fails does not undo the move, nor does it fail the command: the version serves, and the item says what
    is left to do.
    """
    return _Aftermath(service, move, announce).run(
        {
            "update model serving endpoint": _serving,
            "configure monitoring dashboards": _monitoring,
            "notify stakeholders of deployment": _stakeholders,
            "schedule performance review": _review,
            "archive previous version artifacts": _previous,
        }
    )


def after_rollback(service: PromotionService, move: Move, announce: Announce | None = None) -> list[Item]:
    """Validate a rollback, and record what was found; otherwise as `after_promotion`."""
    return _Aftermath(service, move, announce).run(
        {
            "verify service health metrics": _health,
            "confirm prediction quality": _quality,
            "update monitoring dashboards": _shown,
            "notify stakeholders": _stakeholders,
        }
    )


def checklist_document(items: Sequence[Item]) -> list[dict[str, Any]]:
    """The checklist as plain data."""
    return [asdict(item) for item in items]


@dataclass(frozen=True, slots=True)
class _Aftermath:
    """A move that was made, and whom to ask about it."""

    service: PromotionService
    move: Move
    announce: Announce | None

    @property
    def config(self) -> FamilyConfig | None:
        return self.service.configs.get(self.move.family)

    @property
    def contacts(self) -> Contacts:
        return self.config.contacts if self.config else Contacts()

    @property
    def names(self) -> set[str]:
        """What the version that serves now is called."""
        version = self.move.version
        entry = self.service.journal.entry(version.model, version.number)
        return {str(version.number), *([entry.version] if entry else [])}

    def run(self, tasks: dict[str, ChecklistTask]) -> list[Item]:
        items = [Item(name, *self._attempt(task)) for name, task in tasks.items()]
        move = self.move
        try:
            arrival = self.service.journal.arrival(move.family, move.to)
            authority = Authority(
                "checklist",
                arrival.actor if arrival else "journal",
                f"after {arrival.action if arrival else 'the move'}",
                details={"after": self.move.operation, "items": checklist_document(items)},
            )
            self.service.journal.record(move.family, move.version, authority)
        except JournalError as error:
            items.append(Item("record this checklist", ItemOutcome.FAILED, str(error)))
        return items

    def _attempt(self, task: ChecklistTask) -> ItemResult:
        try:
            return task(self)
        except PromotionError as error:
            return ItemOutcome.FAILED, str(error)


def _serving(after: _Aftermath) -> ItemResult:
    url = after.contacts.serving_url
    if url is None:
        return ItemOutcome.BY_HAND, f"deploy {after.move.version}; contacts.serving_url is not configured"
    problem, version = _ask(url)
    if problem:
        return ItemOutcome.BY_HAND, f"deploy {after.move.version}, then look: {problem}"
    if version not in after.names:
        return (
            ItemOutcome.BY_HAND,
            f"{url} is healthy and still serves version {version or 'unknown'}: deploy the new one",
        )
    return ItemOutcome.DONE, f"{url} is healthy and serves version {version}"


def _health(after: _Aftermath) -> ItemResult:
    url = after.contacts.serving_url
    if url is None:
        return ItemOutcome.BY_HAND, "look at the service's health; contacts.serving_url is not configured"
    problem, version = _ask(url)
    if problem:
        return ItemOutcome.FAILED, problem
    if version not in after.names:
        served = version or "unknown"
        return (
            ItemOutcome.FAILED,
            f"{url} is healthy, but serves version {served}, not {after.move.version}",
        )
    return ItemOutcome.DONE, f"{url} is healthy and serves version {version}"


def _monitoring(after: _Aftermath) -> ItemResult:
    """Whether the monitor runs: it follows what serves. A section in a file alone watches nothing."""
    config = after.config
    if config is None or config.monitoring is None or not config.monitoring.drift:
        return ItemOutcome.BY_HAND, "set up the dashboards: the family's section monitoring with drift: true is missing"
    last = next(iter(newest_runs(after.service.journal, config.family, 1)), None)
    look = f"python scripts/monitor-model.py --model {config.family}"
    if last is None or after.service.journal.now() - last.at > config.monitoring.window:
        seen = f"its last run was at {last.at:%Y-%m-%d %H:%M} UTC" if last else "no run of it is on record"
        return ItemOutcome.BY_HAND, f"start the monitor and look at its page: {look} ({seen})"
    seen = f"at {last.at:%Y-%m-%d %H:%M} UTC it looked at {last.model} v{last.version}"
    return ItemOutcome.DONE, f"the monitor runs: {seen}, next at what serves now"


def _stakeholders(after: _Aftermath) -> ItemResult:
    if after.announce is not None:
        announced = after.announce(after.move)
        if announced.refused:
            told = f"; told: {', '.join(announced.accepted)}" if announced.accepted else ""
            return (
                ItemOutcome.FAILED,
                f"not told: {', '.join(announced.refused)}; the monitor's next run tries again{told}",
            )
        if announced.accepted:
            return ItemOutcome.DONE, f"told: {', '.join(announced.accepted)}"
    names = ", ".join(after.contacts.stakeholders)
    return ItemOutcome.BY_HAND, f"tell {names or 'whom it concerns (contacts.stakeholders is empty)'}"


def _review(after: _Aftermath) -> ItemResult:
    days = (after.config.review if after.config else Review()).performance_days
    due = after.service.journal.now() + timedelta(days=days)
    return ItemOutcome.DONE, f"due on {due:%Y-%m-%d}, {days} days from now: the compliance report lists it until then"


def _previous(after: _Aftermath) -> ItemResult:
    left = after.move.before
    if left is None:
        return ItemOutcome.DONE, "the journal has no version that was in Production before"
    version = after.service.registry.version(left.model, left.number)
    with local_artifact(after.service.registry, version) as folder:
        digest = artifact_digest(folder)
    if left.digest not in {None, digest}:
        return ItemOutcome.FAILED, f"the artifact of {left} is not what was recorded (sha256 {digest[:_SHOWN]})"
    tag = version.tags.get(STAGE_TAG)  # stands in for a stage that MLflow could not store
    if (tag if tag in set(Stage) else version.stage) != Stage.ARCHIVED:
        return (
            ItemOutcome.FAILED,
            f"MLflow shows {left} in {version.stage}: python scripts/promote-model.py --reconcile",
        )
    return ItemOutcome.DONE, f"{left} is archived, its artifact present and unchanged (sha256 {digest[:_SHOWN]})"


def _quality(after: _Aftermath) -> ItemResult:
    move = after.move
    if after.config is None or not after.config.has_contract:
        return ItemOutcome.BY_HAND, f"try {move.version}: nothing is scored again that was not trained here"
    version = after.service.registry.version(move.version.model, move.version.number)
    context = after.service.gatherer.gather(
        move.family, version, after.config, target=move.to, from_stage=None, is_rollback=True
    )
    if not context.has_run:
        return ItemOutcome.BY_HAND, f"try {move.version}: it never ran here, and is not loaded now"
    if context.evaluation is None:
        if context.is_loaded:
            return ItemOutcome.BY_HAND, f"{move.version} loads, but the rows to score it on are missing: try some"
        return ItemOutcome.FAILED, context.artifact_problem
    told = after.config.trainer_metrics
    found = [result for gate in threshold_gates(after.config) if (result := gate(context)).name not in told]
    text = ", ".join(f"{result.name} {result.measured} (required {result.required})" for result in found)
    passed = all(result.passed for result in found)
    rows = f"on {context.evaluation.rows} test rows"
    return (ItemOutcome.DONE if passed else ItemOutcome.FAILED), f"{text or 'it answers'} {rows}"


def _shown(after: _Aftermath) -> ItemResult:
    move = after.move
    shown = after.service.registry.version(move.version.model, move.version.number)
    pointed = after.service.registry.model(move.version.model).aliases
    names = after.service.aliases(move.family).production
    wrong = [name for name in names if pointed.get(name) != move.version.number]
    if move.unprojected or shown.stage is not move.to or wrong:
        where = [
            f" and @{name} at {f'v{pointed[name]}' if name in pointed else 'no version'}" for name in wrong or names
        ]
        seen = f"{shown} in {shown.stage}{''.join(where)}"
        return ItemOutcome.FAILED, f"MLflow shows {seen}: python scripts/promote-model.py --reconcile"
    outcome, detail = _monitoring(after)
    at_it = "".join(f" and @{name} at it" for name in names)
    return outcome, f"MLflow shows {shown} in {shown.stage}{at_it}; {detail}"


def _ask(url: str) -> tuple[str, str | None]:
    """What is wrong with a service, empty when it is healthy; and the version it says it serves."""
    import requests

    base = url.rstrip("/")
    try:
        for path in ("/health", "/version"):
            answer = requests.get(base + path, timeout=_HTTP_SECONDS)
            if answer.status_code != _OK:
                return f"{base}{path} answers {answer.status_code}", None
        document = answer.json()
    except (requests.RequestException, ValueError) as error:
        return f"{base} does not answer as a service: {type(error).__name__}", None
    version = document.get("version") if isinstance(document, dict) else None
    return "", None if version is None else str(version)
