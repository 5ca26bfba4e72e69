"""The journal's part about deployments: each step is written down before it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Row, Select, select
from sqlalchemy.exc import IntegrityError

from promotion.delivery.records import (
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
from promotion.errors import JournalLocked, ProductionMoved
from promotion.journal import clock
from promotion.journal.journal import Journal
from promotion.journal.records import Authority, Entry
from promotion.journal.rows import append_event, identity, lock_family
from promotion.journal.schema import deployment, model_version_detail

_NEWEST_FIRST = deployment.c.id.desc()


class Deployments:
    """Reads and writes deployments; each write is one transaction with its event in the hash chain.

    Args:
        journal: Whose database holds them.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def unfinished(self, family: str, environment: Environment) -> Deployment | None:
        """The attempt that is under way, or was interrupted."""
        return self._first(_of(family, environment).where(deployment.c.finished_at.is_(None)))

    def named(self, operation: str | None) -> Deployment | None:
        """One attempt by its id."""
        return self._first(select(deployment).where(deployment.c.operation == operation)) if operation else None

    def deployed(self, family: str, environment: Environment, entry: Entry) -> Deployment | None:
        """The newest attempt that got a version running there."""
        return self._first(
            _of(family, environment).where(
                deployment.c.version_id == entry.id,
                deployment.c.state == DeploymentState.DEPLOYED.value,
                deployment.c.track == Track.STABLE.value,
            )
        )

    def newest(self, family: str, environment: Environment) -> Deployment | None:
        """The newest attempt that got any version running there."""
        return self._first(
            _of(family, environment).where(
                deployment.c.state == DeploymentState.DEPLOYED.value, deployment.c.track == Track.STABLE.value
            )
        )

    def begin(
        self,
        target: DeploymentTarget,
        image: Image,
        entry: Entry,
        predecessor: Predecessor | None,
        *,
        cluster: str,
        actor: str,
    ) -> Deployment:
        """Record that a version is going to be applied, if it still is where the checks saw it.

        Args:
            target: Where.
            image: What.
            entry: The version, as the checks saw it.
            predecessor: What runs there now.
            cluster: URL of the API server.
            actor: Who asks for it.

        Raises:
            ProductionMoved: The version left its stage since the checks.
            JournalLocked: Another process began a deployment there at the same time.
        """
        now, operation = clock.now(), uuid4().hex
        values = {
            "operation": operation,
            "family": target.family,
            "version_id": entry.id,
            "environment": target.environment.value,
            "track": target.track.value,
            "cluster": cluster,
            "image": image.reference,
            "labels": image.as_json(),
            "state": DeploymentState.APPLYING.value,
            "predecessor": asdict(predecessor) if predecessor else None,
            "actor": actor,
            "started_at": now,
        }
        try:
            with self._journal.database.write() as connection:
                lock_family(connection, target.family, now)
                _require_stage(connection, entry.id, str(entry), target)
                connection.execute(deployment.insert().values(values))
                _event(connection, entry.id, image.model, target, operation, Authority("deploy", actor, f"to {target}"))
        except IntegrityError as error:
            raise JournalLocked(
                f"another process deploys {target.family!r} to {target.environment} right now; nothing was applied"
            ) from error
        begun = self.named(operation)
        assert begun  # noqa: S101  # written a moment ago
        return begun

    def require_place(self, attempt: Deployment) -> None:
        """Look again before an interrupted attempt goes on.

        Raises:
            ProductionMoved: The version left its stage meanwhile.
        """
        with self._journal.database.write() as connection:
            lock_family(connection, attempt.target.family, clock.now())
            _require_stage(connection, attempt.version_id, attempt.version, attempt.target)

    def advance(
        self, attempt: Deployment, state: DeploymentState, *, actor: str, failure: Failure | None = None
    ) -> Deployment:
        """Record the next step, or the end, of an attempt.

        Args:
            attempt: Which.
            state: The step that is made next, or how it ended.
            actor: Who acts.
            failure: Why it failed, when that is decided now.

        Returns:
            The attempt as it stands now.
        """
        now = clock.now()
        values: dict[str, Any] = {"state": state.value}
        if failure:
            values |= {"verdict": failure.verdict.value}
            values |= {"explanation": {"reason": failure.reason, "details": list(failure.details)}}
        if state in _ENDS:
            values["finished_at"] = now
        authority = self._authority(attempt, state, actor, failure)
        with self._journal.database.write() as connection:
            connection.execute(deployment.update().where(deployment.c.operation == attempt.operation).values(values))
            if authority:
                _event_of(connection, attempt, authority)
        stands = self.named(attempt.operation)
        assert stands  # noqa: S101  # it was read from there
        return stands

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

    def _first(self, query: Select[Any]) -> Deployment | None:
        rows = self._journal.rows(query.order_by(_NEWEST_FIRST).limit(1))
        return _deployment(rows[0]) if rows else None


_ENDS = {DeploymentState.DEPLOYED, DeploymentState.FAILED}


def _of(family: str, environment: Environment) -> Select[Any]:
    return select(deployment).where(deployment.c.family == family, deployment.c.environment == environment.value)


def _require_stage(connection: Connection, version_id: int, version: str, target: DeploymentTarget) -> None:
    query = select(model_version_detail.c.status, model_version_detail.c.known_bad).where(
        model_version_detail.c.id == version_id
    )
    row = connection.execute(query).one()
    allowed = [stage.status for stage in target.environment.stages]
    if row.status not in allowed or row.known_bad:
        why = f"known bad ({row.known_bad})" if row.known_bad else f"in {row.status}"
        raise ProductionMoved(
            f"{version} is {why} now, expected {' or '.join(allowed)} for {target.environment}: "
            "it moved since it was checked; nothing was applied"
        )


def _event_of(connection: Connection, attempt: Deployment, authority: Authority) -> None:
    _event(connection, attempt.version_id, attempt.image.model, attempt.target, attempt.operation, authority)


def _event(
    connection: Connection, version_id: int, model: str, target: DeploymentTarget, operation: str, authority: Authority
) -> None:
    row = connection.execute(select(model_version_detail).where(model_version_detail.c.id == version_id)).one()
    append_event(
        connection,
        family=target.family,
        operation=operation,
        version_id=version_id,
        statuses=(row.status, row.status),
        authority=authority,
        at=clock.now(),
        details={
            **identity(row, model),
            "environment": target.environment.value,
            "track": target.track.value,
        },
    )


def _deployment(row: Row[Any]) -> Deployment:
    explanation: Mapping[str, Any] = row.explanation or {}
    failure = None
    if row.verdict:
        failure = Failure(RolloutVerdict(row.verdict), explanation["reason"], tuple(explanation["details"]))
    return Deployment(
        operation=row.operation,
        version_id=row.version_id,
        target=DeploymentTarget(row.family, Environment(row.environment), Track(row.track)),
        image=Image(**row.labels),
        cluster=row.cluster,
        state=DeploymentState(row.state),
        predecessor=Predecessor(**row.predecessor) if row.predecessor else None,
        failure=failure,
        actor=row.actor,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
