"""Families as their past has them, whatever their files say by now: no file takes the way back away."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from promotion.config.family import FamilyConfig, FamilyConfigs
from promotion.journal.journal import Journal

_KEPT = ("approvals", "aliases", "rollback")
"""What of older rules is read where the rest is none any more."""


def recorded_families(
    configs: FamilyConfigs, journal: Journal, name: str, report: Callable[[str], None] = lambda _line: None
) -> FamilyConfigs:
    """Each registered model in the family that its past is recorded under; files that can be used rule as ever.

    A family whose file is broken, or gone while the family had another name than its model, has the rules that its
    last version came into Production under.
    """
    homes = journal.homes()
    home = homes.get(name, name)
    claiming = configs.owner(name) if name in homes and configs.is_certain(name) else None
    if home in configs.broken:
        report(f"⚠️ {configs.broken[home].summary}; the way back goes by the rules that were recorded last")
    elif claiming and claiming.family != home:
        where = claiming.at("registered_model")
        report(f"⚠️ {where}: {name} is recorded as one of family {home!r}; the way back goes by that")
    recorded = {}
    models = sorted(model for model, family in homes.items() if family == home)
    if models and (home in configs.broken or home not in configs):
        sections = journal.rules(next(iter(journal.rules_of_arrivals(home, limit=1)), "")) or {}
        # A model without a file is its own family, and needs none.
        if "registered_model" in sections or models != [home]:
            recorded[home] = _as_recorded(home, models, sections)
    return configs.as_recorded(homes, recorded)


def _as_recorded(family: str, models: Sequence[str], sections: Mapping[str, Any]) -> FamilyConfig:
    """The rules as they were last; of those that an older release kept, what is still one."""
    known = {field.alias or name for name, field in FamilyConfig.model_fields.items()}
    names = {"family": family, "registered_model": sections.get("registered_model", list(models))}
    for keys in (known, known & set(_KEPT)):
        try:
            return FamilyConfig.model_validate({key: sections[key] for key in keys & sections.keys()} | names)
        except ValidationError:
            continue
    return FamilyConfig.model_validate(names | {"registered_model": list(models)})
