"""Attempts to run a version on a cluster, as they are kept; what their states mean is the delivery's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from promotion.errors import JournalLocked
from promotion.journal.journal import Journal
from promotion.journal.rows import record
from promotion.journal.schema import deployment
from promotion.journal.transaction import FamilyTransaction


@dataclass(frozen=True, slots=True)
class StoredDeployment:
    """An attempt to run a version on a cluster, as it was kept; `Deployment` of the delivery says what it means."""

    operation: str
    family: str
    version_id: int
    environment: str
    track: str
    cluster: str
    labels: Mapping[str, Any]
    state: str
    predecessor: Mapping[str, Any] | None
    verdict: str | None
    explanation: Mapping[str, Any] | None
    actor: str
    started_at: datetime
    finished_at: datetime | None

    @property
    def analysis(self) -> str:
        """How far a canary came through its steps, in words; empty where none are kept."""
        return str(((self.explanation or {}).get("analysis") or {}).get("text", ""))


def newest_deployment(journal: Journal, **values: Any) -> StoredDeployment | None:
    """The newest attempt with these values, by column; None as a value finds what was not written yet."""
    query = select(deployment).where(*(deployment.c[name] == value for name, value in values.items()))
    rows = journal.rows(query.order_by(deployment.c.id.desc()).limit(1))
    return record(StoredDeployment, rows[0]) if rows else None


def newest_deployments(journal: Journal) -> list[StoredDeployment]:
    """The newest attempt of every family in each environment, of the stable Deployment and of the canary."""
    row = deployment.c
    newest = select(func.max(row.id)).group_by(row.family, row.environment, row.track)
    found = journal.rows(select(deployment).where(row.id.in_(newest)).order_by(row.environment, row.track))
    return [record(StoredDeployment, it) for it in found]


def add_deployment(transaction: FamilyTransaction, **values: Any) -> None:
    """Write down what is going to be applied; the operation is the transaction's.

    Raises:
        JournalLocked: Another attempt is under way there.
    """
    try:
        transaction.insert(
            deployment,
            family=transaction.family,
            operation=transaction.operation,
            started_at=transaction.now,
            **values,
        )
    except IntegrityError as error:
        raise JournalLocked(
            f"another process deploys {transaction.family!r} to {values['environment']} right now; nothing was applied"
        ) from error


def change_deployment(transaction: FamilyTransaction, operation: str, *, is_over: bool, **values: Any) -> None:
    """Write down the next step, or the end, of an attempt."""
    end = {"finished_at": transaction.now} if is_over else {}
    transaction.connection.execute(
        deployment.update().where(deployment.c.operation == operation).values(**values, **end)
    )
