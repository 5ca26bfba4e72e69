"""Tell a family's channels that a version moved, as whoever moved it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from promotion.checklist import Announce, Announced
from promotion.config.family import FamilyConfig
from promotion.journal.journal import Journal
from promotion.service import Move

if TYPE_CHECKING:
    from promotion.monitoring.alerts.records import Delivery


def announcer(journal: Journal, configs: Mapping[str, FamilyConfig]) -> Announce:
    """What announces a move to the channels of its family, and nothing where the family has no file.

    Args:
        journal: Keeps what was told.
        configs: Families by name.
    """

    def announce(move: Move) -> Announced:
        config = configs.get(move.family)
        event = journal.arrival(move.family, move.to) if config else None
        if config is None or event is None:
            return Announced()
        from promotion.monitoring.alerts.alerter import Alerter
        from promotion.monitoring.alerts.messages import Kind

        told = Alerter(journal, config).announce(event)
        ours = [item for item in told.deliveries if item.due.kind == Kind.ANNOUNCEMENT]
        return Announced(
            [_channel(item) for item in ours if item.answer.accepted],
            [f"{item.due.channel} ({item.answer.problem})" for item in ours if not item.answer.accepted],
        )

    return announce


def _channel(delivery: Delivery) -> str:
    recipient = delivery.answer.recipient
    return f"{delivery.due.channel} ({recipient})" if recipient else delivery.due.channel
