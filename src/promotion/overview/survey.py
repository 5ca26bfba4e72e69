"""Every family as it is recorded: what serves, what waits, what was found last, and what is asked of people.

No gate is run and no cluster asked. Each question is one statement or request for all families; what cannot be read is
said, and keeps nothing else from being read.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from promotion.approving import approval_command
from promotion.auto import BEST_TAG, BEST_VALUES
from promotion.config.family import FamilyConfig
from promotion.errors import PromotionError
from promotion.journal.monitoring import MonitoringRun, lasting_alerts, newest_run_of_each
from promotion.journal.records import Alert, Entry, Event, Place, StoredReport, place_of
from promotion.journal.systems.deployments import StoredDeployment, newest_deployments
from promotion.listing import disagreements
from promotion.overview.record import Ask, FamilyState, Overview, Served, Waiting, served_spans
from promotion.registry.contract import ModelVersion, RegisteredModel
from promotion.registry.stages import Stage
from promotion.service import PromotionService

_DEPLOYED, _STABLE, _PRODUCTION = "deployed", "stable", "production"


@dataclass(frozen=True)
class _Recorded:
    """What the journal holds, read once, by family where it has one."""

    productions: Mapping[str, Entry] = field(default_factory=dict)
    entries: Mapping[Place, Entry] = field(default_factory=dict)
    moves: Mapping[str, Sequence[Event]] = field(default_factory=dict)
    reports: Mapping[str, StoredReport] = field(default_factory=dict)
    alerts: Mapping[str, Sequence[Alert]] = field(default_factory=dict)
    runs: Mapping[str, MonitoringRun] = field(default_factory=dict)
    deployments: Mapping[str, Sequence[StoredDeployment]] = field(default_factory=dict)
    staged: Mapping[str, set[Place]] = field(default_factory=dict)
    staged_since: Mapping[Place, datetime] = field(default_factory=dict)
    families: frozenset[str] = frozenset()


def survey(service: PromotionService) -> Overview:
    """Look at every family that has a file, a registered model or a past."""
    unread: list[str] = []
    configs, recorded, at = service.configs, _Recorded(), datetime.now(UTC)
    try:
        at = service.journal.now()
        recorded = _read(service)
    except PromotionError as error:
        unread.append(f"the journal cannot be read: {error}")
    models: Sequence[RegisteredModel] = ()
    try:
        models = service.registry.models()
    except PromotionError as error:
        unread.append(f"MLflow cannot be read: {error}")
    drift: Mapping[str, Sequence[str]] = {}
    if not unread:
        try:
            drift = disagreements(models, service)
        except PromotionError as error:
            unread.append(f"journal and MLflow cannot be compared: {error}")
    unread += configs.contested(model.name for model in models)
    grouped: dict[str, list[RegisteredModel]] = defaultdict(list)
    for model in models:
        if configs.is_certain(model.name):
            grouped[service.family(model.name)].append(model)
    names = sorted({*configs, *configs.broken, *grouped, *recorded.families})
    look = _Look(service, recorded, grouped, drift, at)
    return Overview(at, [look.at_family(name) for name in names], unread)


def _read(service: PromotionService) -> _Recorded:
    journal = service.journal
    moves: dict[str, list[Event]] = defaultdict(list)
    for move in journal.production_moves():
        moves[move.family].append(move)
    alerts: dict[str, list[Alert]] = defaultdict(list)
    for alert in lasting_alerts(journal):
        alerts[alert.family].append(alert)
    deployments: dict[str, list[StoredDeployment]] = defaultdict(list)
    for attempt in newest_deployments(journal):
        deployments[attempt.family].append(attempt)
    return _Recorded(
        productions=journal.productions(),
        entries={place_of(entry): entry for entry in journal.entries()},
        moves=moves,
        reports=journal.newest_reports(),
        alerts=alerts,
        runs=newest_run_of_each(journal),
        deployments=deployments,
        staged={family: stages.get(Stage.STAGING, set()) for family, stages in journal.standing().items()},
        staged_since={place_of(move): move.at for move in journal.arrivals(Stage.STAGING)},
        families=frozenset(journal.families()),
    )


@dataclass(frozen=True, slots=True)
class _Look:
    """Looks at one family after the other."""

    service: PromotionService
    recorded: _Recorded
    models: Mapping[str, Sequence[RegisteredModel]]
    drift: Mapping[str, Sequence[str]]
    now: datetime

    def at_family(self, family: str) -> FamilyState:
        """All that is known of a family."""
        broken = self.service.configs.broken.get(family)
        config = None if broken else self.service.configs.get(family)
        recorded = self.recorded
        serving = self._serving(family)
        try:
            waiting = None if broken else self._waiting(family, config)
        except PromotionError as error:
            waiting, broken_off = None, [f"what waits cannot be told: {error}"]
        else:
            broken_off = []
        deployments = recorded.deployments.get(family, ())
        state = FamilyState(
            family=family,
            problem=broken.summary if broken else "",
            serving=serving,
            waiting=waiting,
            report=recorded.reports.get(family),
            alerts=recorded.alerts.get(family, ()),
            run=recorded.runs.get(family),
            deployments=deployments,
            drift=[*self.drift.get(family, ()), *broken_off, *_cluster_drift(serving, deployments)],
            spans=served_spans(recorded.moves.get(family, ()), self.now),
        )
        state.asks.extend(self._asks(state, config))
        return state

    def _serving(self, family: str) -> Served | None:
        entry = self.recorded.productions.get(family)
        if entry is None:
            return None
        arrivals = [
            move
            for move in self.recorded.moves.get(family, ())
            if (move.model, move.number) == place_of(entry) and move.to_stage is Stage.PRODUCTION
        ]
        return Served(entry, arrivals[-1] if arrivals else None)

    def _waiting(self, family: str, config: FamilyConfig | None) -> Waiting | None:
        """The newest version in Staging, else the newest in no stage that came after what serves."""
        entry, since = None, None
        staged = [self.recorded.entries[place] for place in self.recorded.staged.get(family, ())]
        if staged:
            entry = max(staged, key=lambda it: it.id)
            version, label = place_of(entry), entry.version
            since = self.recorded.staged_since.get(version, entry.registered_at)
        else:
            found = self._newest(family)
            if found is None:
                return None
            entry = self.recorded.entries.get(place_of(found))
            version, label, since = place_of(found), entry.version if entry else str(found.number), found.created_at
        stage = Stage.STAGING if staged else Stage.NONE
        return Waiting(*version, label, stage, since, self._missing(family, config, version, entry))

    def _newest(self, family: str) -> ModelVersion | None:
        serving = self.recorded.productions.get(family)
        versions = [version for model in self.models.get(family, ()) for version in model.versions]
        born = next((it.created_at for it in versions if serving and place_of(it) == place_of(serving)), None)
        free = [version for version in versions if version.stage is Stage.NONE and self._may_serve(version)]
        newer = [version for version in free if born is None or version.created_at > born]
        best = [version for version in newer if version.tags.get(BEST_TAG) in BEST_VALUES]
        rivals = best if any(version.tags.get(BEST_TAG) in BEST_VALUES for version in versions) else newer
        return max(rivals, key=lambda it: (it.created_at, it.number), default=None)

    def _may_serve(self, version: ModelVersion) -> bool:
        entry = self.recorded.entries.get(place_of(version))
        return entry is None or (entry.stage is Stage.NONE and not entry.known_bad)

    def _missing(
        self, family: str, config: FamilyConfig | None, version: Place, entry: Entry | None
    ) -> Mapping[str, str]:
        """Whose approval the version lacks, and why, against the evidence that the gates found last."""
        if config is None or config.approvals is None:
            return {}
        last = self.recorded.reports.get(family)
        if entry is not None and (last is None or (last.model, last.number) != version):
            last = next(iter(self.service.journal.reports(entry)), None)
        if entry is None or last is None or not last.evidence:
            return dict.fromkeys(config.approvals.roles, "nobody yet")
        standing = self.service.gatherer.standing(config, entry, digest=entry.digest, evidence=last.evidence)
        return standing.missing if standing else {}

    def _asks(self, state: FamilyState, config: FamilyConfig | None) -> Iterator[Ask]:
        """What a person has to do, most pressing first."""
        named = shlex.quote(state.family)
        if state.problem:
            yield Ask("the family's owner", f"mend the family's file: {state.problem}", "python scripts/doctor.py")
        if any(alert.level == "critical" for alert in state.alerts):
            yield Ask(
                "whoever is on call", "a critical alert lasts", f"python scripts/monitor-model.py --model {named}"
            )
        if state.drift:
            yield Ask("whoever is on call", state.drift[0], f"python scripts/promote-model.py --list --model {named}")
        if (waiting := state.waiting) is None:
            return
        for role, why in waiting.missing.items():
            command = approval_command(waiting.model, waiting.label, role, config)
            yield Ask(role, f"approve {waiting.name}, or say why not: {why}", command, is_review=True)
        if not waiting.missing:
            candidate = f"--model-name {shlex.quote(waiting.model)} --version {shlex.quote(waiting.label)}"
            command = f"python mlops/registry/check_promotion.py {candidate}"
            yield Ask("whoever promotes", f"see whether {waiting.name} may enter Production", command)


def _cluster_drift(serving: Served | None, deployments: Sequence[StoredDeployment]) -> list[str]:
    """Where what was last seen to be deployed for production is not what serves by the record."""
    newest = next((it for it in deployments if it.environment == _PRODUCTION and it.track == _STABLE), None)
    if newest is None or newest.state != _DEPLOYED:
        return []
    ran = _deployed_place(newest.labels)
    if serving and ran == place_of(serving.entry):
        return []
    at = newest.finished_at or newest.started_at
    says = str(serving.entry) if serving else "no version"
    return [
        "the cluster ran {} v{} when it was looked at last, {:%Y-%m-%d %H:%M} UTC; the registry says {}".format(
            *ran, at, says
        )
    ]


def _deployed_place(labels: Mapping[str, Any]) -> Place:
    return str(labels.get("model", "?")), int(labels.get("version", 0))
