"""What a listing wants to know of the whole journal, in a few queries however large it is."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import String, cast, or_, select, tuple_

from promotion.journal.journal import Journal
from promotion.journal.records import Entry
from promotion.journal.rows import ENTRIES, MOVES, entry
from promotion.journal.schema import family, model_registry, model_version_detail, promotion_event
from promotion.registry.stages import Stage

_AT_ONCE = 4000
"""Pairs of a query; SQLite takes 32,766 parameters."""

_WATCHED = (Stage.PRODUCTION.status, Stage.STAGING.status)


def semantic_versions(journal: Journal, shown: Sequence[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """Semantic versions of the versions shown that have one.

    Args:
        journal: Knows them.
        shown: Registered model and MLflow's number of each.
    """
    found: dict[tuple[str, int], str] = {}
    row = model_version_detail.c
    for start in range(0, len(shown), _AT_ONCE):
        query = (
            select(model_registry.c.name, row.mlflow_version, row.version)
            .join(model_version_detail, model_registry.c.id == row.model_id)
            .where(
                tuple_(model_registry.c.name, row.mlflow_version).in_(shown[start : start + _AT_ONCE]),
                row.version != cast(row.mlflow_version, String),
            )
        )
        found |= {(item.name, item.mlflow_version): item.version for item in journal.rows(query)}
    return found


def changed_rows(journal: Journal) -> dict[str, list[tuple[Entry, Stage]]]:
    """Rows that SQL put into Staging or Production, and versions that SQL took out of a now empty Production.

    It is `Journal.changed_by_hand` for all families at once, without changes between the other stages.

    Returns:
        By family, each version with the stage that was recorded for it.
    """
    row, event = model_version_detail.c, promotion_event.c
    recorded = (
        select(event.to_status)
        .where(event.version_id == row.id, MOVES)
        .order_by(event.sequence.desc())
        .limit(1)
        .scalar_subquery()
    )
    intruders = ENTRIES.add_columns(recorded.label("recorded")).where(
        row.status.in_(_WATCHED), or_(recorded.is_(None), recorded != row.status)
    )
    last = (
        select(event.sequence)
        .where(
            event.family == family.c.name,
            MOVES,
            or_(event.from_status == Stage.PRODUCTION.status, event.to_status == Stage.PRODUCTION.status),
        )
        .order_by(event.sequence.desc())
        .limit(1)
        .scalar_subquery()
    )
    serving = select(row.id).where(row.family == family.c.name, row.status == Stage.PRODUCTION.status)
    # Where nothing serves, whoever entered Production last and did not leave by an event was taken out by hand.
    missing = (
        ENTRIES.add_columns(event.to_status.label("recorded"))
        .join(promotion_event, event.version_id == row.id)
        .where(
            event.sequence.in_(select(last).select_from(family).where(~serving.exists())),
            event.to_status == Stage.PRODUCTION.status,
            row.status != Stage.STAGING.status,
        )
    )
    found: dict[str, list[tuple[Entry, Stage]]] = {}
    for query in (intruders, missing):
        for item in journal.rows(query):
            found.setdefault(item.family, []).append((entry(item), Stage.parse(item.recorded or Stage.NONE.status)))
    return found
