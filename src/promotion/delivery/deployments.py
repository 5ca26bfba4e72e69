"""The journal's part about deployments: each step is written down before it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from promotion.delivery.canary.records import Analysis, AnalysisPlan, AnalysisProgress
from promotion.delivery.records import (
    TRANSITIONS,
    Deployment,
    DeploymentState,
    DeploymentTarget,
    Environment,
    Failure,
    Image,
    Predecessor,
    RolloutVerdict,
    Track,
)
from promotion.errors import ProductionMoved
from promotion.journal.journal import Journal
from promotion.journal.records import Authority, Entry
from promotion.journal.systems.deployments import StoredDeployment, add_deployment, change_deployment, newest_deployment
from promotion.journal.transaction import FamilyTransaction
from promotion.registry.stages import Stage
from promotion.rollbacks import ACTION


class Deployments:
    """Reads and writes deployments; each write is one transaction with its event in the hash chain.

    Args:
        journal: Whose database holds them.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def unfinished(self, family: str, environment: Environment) -> Deployment | None:
        """The attempt that is under way, or was interrupted."""
        return self._newest(family=family, environment=environment.value, finished_at=None)

    def named(self, operation: str | None) -> Deployment | None:
        """One attempt by its id."""
        return self._newest(operation=operation) if operation else None

    def deployed(self, family: str, environment: Environment, entry: Entry) -> Deployment | None:
        """The newest attempt that got a version running there, on all pods or as a canary."""
        return self._newest(family=family, environment=environment.value, version_id=entry.id, state=_DEPLOYED)

    def ran(self, target: DeploymentTarget, reference: str) -> Deployment | None:
        """The newest attempt that got this very image running there, on all pods or as a canary."""
        return self._newest(
            family=target.family, environment=target.environment.value, image=reference, state=_DEPLOYED
        )

    def newest(self, family: str, environment: Environment) -> Deployment | None:
        """The newest attempt that got any version running there on all pods."""
        return self._newest(family=family, environment=environment.value, state=_DEPLOYED, track=Track.STABLE.value)

    def canary(self, family: str, environment: Environment) -> Deployment | None:
        """The canary that stands there by the record: under way, held, or deployed and neither followed nor removed."""
        found = self.unfinished(family, environment) or self._newest(
            family=family, environment=environment.value, state=_DEPLOYED
        )
        if found is None or found.target.track is not Track.CANARY:
            return None
        events = self._journal.history(family, version_id=found.version_id)
        return None if any((e.action, e.operation) == (_REMOVED, found.operation) for e in events) else found

    def removed(self, canary: Deployment, *, actor: str, why: str) -> None:
        """Record that a canary that had been deployed is there no more."""
        with self._journal.transaction(canary.target.family) as transaction:
            authority = Authority(_REMOVED, actor, why)
            _append(transaction, canary.version_id, canary.target, canary.operation, authority)

    def begun_at(self, attempt: Deployment) -> int:
        """Place in the hash chain of the event that began an attempt."""
        events = self._journal.history(attempt.target.family, version_id=attempt.version_id)
        return next((event.sequence for event in reversed(events) if event.operation == attempt.operation), 0)

    def begin(
        self,
        target: DeploymentTarget,
        image: Image,
        entry: Entry,
        predecessor: Predecessor | None,
        *,
        cluster: str,
        actor: str,
        plan: AnalysisPlan | None = None,
    ) -> Deployment:
        """Record that a version is going to be applied, if it still is where the checks saw it.

        Args:
            target: Where.
            image: What.
            entry: The version, as the checks saw it.
            predecessor: What runs there now.
            cluster: URL of the API server.
            actor: Who asks for it.
            plan: How a canary is analysed; None for one that is only watched and asked.

        Raises:
            ProductionMoved: The version left its stage since the checks.
            JournalLocked: Another process began a deployment there at the same time.
        """
        with self._journal.transaction(target.family) as transaction:
            _require_stage(transaction, entry.id, str(entry), target)
            add_deployment(
                transaction,
                version_id=entry.id,
                environment=target.environment.value,
                track=target.track.value,
                cluster=cluster,
                image=image.reference,
                labels=image.as_json(),
                state=DeploymentState.APPLYING.value,
                predecessor=asdict(predecessor) if predecessor else None,
                explanation=_left("", AnalysisProgress(plan)) if plan else None,
                actor=actor,
            )
            _append(transaction, entry.id, target, transaction.operation, Authority("deploy", actor, f"to {target}"))
        begun = self.named(transaction.operation)
        assert begun  # noqa: S101  # written a moment ago
        return begun

    def require_place(self, attempt: Deployment) -> None:
        """Look again before an interrupted attempt goes on.

        Raises:
            ProductionMoved: The version left its stage meanwhile.
        """
        with self._journal.transaction(attempt.target.family) as transaction:
            _require_stage(transaction, attempt.version_id, attempt.version, attempt.target)

    def advance(
        self,
        attempt: Deployment,
        state: DeploymentState,
        *,
        actor: str,
        failure: Failure | None = None,
        template: str = "",
        why: str = "",
    ) -> Deployment:
        """Record the next step, or the end, of an attempt.

        Args:
            attempt: Which.
            state: The step that is made next, or how it ended.
            actor: Who acts.
            failure: Why it failed, when that is decided now.
            template: Digest of the pod template it left, when that is known now.
            why: What overtook it.

        Returns:
            The attempt as it stands now.

        Raises:
            ValueError: That step does not follow.
        """
        if state not in TRANSITIONS[attempt.state]:
            raise ValueError(f"{attempt} is {attempt.state}: it cannot become {state}")
        values: dict[str, Any] = {"state": state.value}
        left = _left(template or attempt.template, attempt.analysis)
        if failure:
            values |= {"verdict": failure.verdict.value}
            values |= {"explanation": {"reason": failure.reason, "details": list(failure.details), **left}}
        elif template:
            values |= {"explanation": left}
        authority = Authority(_OVERTAKEN, actor, why) if why else self._authority(attempt, state, actor, failure)
        with self._journal.transaction(attempt.target.family) as transaction:
            change_deployment(transaction, attempt.operation, is_over=not TRANSITIONS[state], **values)
            if authority:
                _append(transaction, attempt.version_id, attempt.target, attempt.operation, authority)
        stands = self.named(attempt.operation)
        assert stands  # noqa: S101  # it was read from there
        return stands

    def try_step(self, attempt: Deployment) -> Deployment:
        """Write down that a step of a canary is analysed from now on, before it is."""
        assert attempt.analysis  # noqa: S101  # only what has steps comes here
        return self._progress(attempt, attempt.analysis.begun())

    def analysed(self, attempt: Deployment, analysis: Analysis, *, actor: str) -> Deployment:
        """Record what an analysis said."""
        assert attempt.analysis  # noqa: S101  # only what has steps comes here
        authority = Authority(_ANALYSIS, actor, str(analysis), details={"analysis": analysis.as_json()})
        return self._progress(attempt, attempt.analysis.decided(analysis), authority)

    def _progress(
        self, attempt: Deployment, progress: AnalysisProgress, authority: Authority | None = None
    ) -> Deployment:
        with self._journal.transaction(attempt.target.family) as transaction:
            left = _left(attempt.template, progress)
            change_deployment(transaction, attempt.operation, is_over=False, explanation=left)
            if authority:
                _append(transaction, attempt.version_id, attempt.target, attempt.operation, authority)
        return replace(attempt, analysis=progress)

    def entry(self, attempt: Deployment) -> Entry:
        """The version of an attempt, as the journal knows it now."""
        entry = self._journal.entry(attempt.image.model, attempt.image.version)
        assert entry  # noqa: S101  # a foreign key holds it
        return entry

    @staticmethod
    def _authority(
        attempt: Deployment, state: DeploymentState, actor: str, failure: Failure | None
    ) -> Authority | None:
        if failure:
            return Authority("deploy failed", actor, failure.reason, details={"verdict": failure.verdict.value})
        if state is DeploymentState.FAILED:
            return Authority("deploy undone", actor, "cluster and journal agree again")
        if state is DeploymentState.DEPLOYED:
            return Authority("deployed", actor, f"{attempt.target} answers as expected")
        return None

    def _newest(self, **values: Any) -> Deployment | None:
        found = newest_deployment(self._journal, **values)
        return _deployment(found) if found else None


_DEPLOYED = DeploymentState.DEPLOYED.value
_OVERTAKEN = "deploy overtaken"
_ANALYSIS = "canary analysis"
_REMOVED = "canary removed"


def _left(template: str, analysis: AnalysisProgress | None) -> dict[str, Any]:
    """What an attempt left on the cluster, and how far its analysis came."""
    return {"template": template} | ({"analysis": analysis.as_json()} if analysis else {})


def _require_stage(transaction: FamilyTransaction, version_id: int, version: str, target: DeploymentTarget) -> None:
    entry = transaction.entry(version_id)
    if entry.stage not in target.environment.stages or entry.known_bad:
        allowed = " or ".join(stage.status for stage in target.environment.stages)
        why = f"known bad ({entry.known_bad})" if entry.known_bad else f"in {entry.stage.status}"
        raise ProductionMoved(
            f"{version} is {why} now, expected {allowed} for {target.environment}: "
            "it moved since it was checked; nothing was applied"
        )


def _append(
    transaction: FamilyTransaction, version_id: int, target: DeploymentTarget, operation: str, authority: Authority
) -> None:
    place = {"environment": target.environment.value, "track": target.track.value}
    transaction.append(transaction.entry(version_id), authority, place, operation=operation)


def _deployment(row: StoredDeployment) -> Deployment:
    explanation: Mapping[str, Any] = row.explanation or {}
    failure = None
    if row.verdict:
        failure = Failure(RolloutVerdict(row.verdict), explanation["reason"], tuple(explanation["details"]))
    return Deployment(
        operation=row.operation,
        version_id=row.version_id,
        target=DeploymentTarget(row.family, Environment(row.environment), Track(row.track)),
        image=Image.from_json(row.labels),
        cluster=row.cluster,
        state=DeploymentState(row.state),
        predecessor=Predecessor(**row.predecessor) if row.predecessor else None,
        failure=failure,
        actor=row.actor,
        started_at=row.started_at,
        finished_at=row.finished_at,
        template=explanation.get("template", ""),
        analysis=AnalysisProgress.from_json(explanation["analysis"]) if explanation.get("analysis") else None,
    )


def is_behind(journal: Journal, family: str) -> bool:
    """Whether the version in Production came back by a rollback, and another one was deployed last, or is a canary."""
    production = journal.production(family)
    arrival = journal.arrival(family, Stage.PRODUCTION)
    deployments = Deployments(journal)
    newest = deployments.newest(family, Environment.PRODUCTION)
    if production is None or arrival is None or newest is None or arrival.action != ACTION:
        return False
    canary = deployments.canary(family, Environment.PRODUCTION)
    return {newest.version_id, canary.version_id if canary else production.id} != {production.id}
