"""Who is told of which event of a family: by its own file, and by the one for all families."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from promotion.config.events import EventKind, EventReceivers, general_receivers
from promotion.config.family import FamilyConfig, FamilyConfigs
from promotion.journal.transaction import Receivers

KINDS: Mapping[str, EventKind] = {
    "register": "register",
    "stage": "stage",
    "promote": "promote",
    "refuse": "refuse",
    "approve": "approve",
    "reject": "reject",
    "rollback": "rollback",
    "quarantine": "quarantine",
    "deployed": "deploy",
    "deploy undone": "undo",
    "restore": "undo",
}
"""What the world calls an act of the journal; of others nobody outside is told."""


def receivers_of(folder: Path, configs: Mapping[str, FamilyConfig], family: str) -> EventReceivers:
    """Whom a family's events concern; its own file wins over the general one.

    Args:
        folder: Where the families' files are.
        configs: Families by name; one whose file is broken adds nobody.
        family: Whose events.

    Raises:
        ConfigError: The general file is wrong.
    """
    is_broken = isinstance(configs, FamilyConfigs) and family in configs.broken
    config = None if is_broken else configs.get(family)
    return general_receivers(folder) | (config.events if config else {})


def event_receivers(folder: Path, configs: Mapping[str, FamilyConfig]) -> Receivers:
    """What names, for the journal, who is told of an act; arguments as `receivers_of`."""

    def names(family: str, action: str) -> list[str]:
        kind = KINDS.get(action)
        if kind is None:
            return []
        known = receivers_of(folder, configs, family)
        return [name for name, receiver in known.items() if receiver.only is None or kind in receiver.only]

    return names
