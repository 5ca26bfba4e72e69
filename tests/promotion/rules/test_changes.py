"""Every key of a family's file says which way it loosens, and a change of it is told as that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from tests.promotion.factories import a_family, a_training_family

from promotion.config.explain import fields_under
from promotion.config.schema import FamilyConfig
from promotion.rules.changes import Direction, changes_between
from promotion.rules.kinds import SCALES, rule_kind
from promotion.rules.rulebook import deciding_sections

LOOSER, TIGHTER, CHANGED = Direction.LOOSER, Direction.TIGHTER, Direction.CHANGED
OPPOSITE = {LOOSER: TIGHTER, TIGHTER: LOOSER, CHANGED: CHANGED}
ROLES = ["data-science", "devops", "business", "security"]
APPROVALS = {"roles": ROLES}
STRICT: dict[str, Any] = {
    "thresholds": {"accuracy": {"minimum": 0.85}, "rmspe": {"maximum": 0.2}, "loss": {"below": 0.3}},
    "better_than_production": {"policy": "not_worse", "margin": 0.02, "also": {"recall": 0.01}},
    "staging": {"minimum": 7},
    "cpu": {"share": 0.8},
    "latency_p95_ms": 100,
    "signature": "required",
    "incidents": True,
    "required_artifacts": ["MLmodel", "requirements.txt"],
}
COLUMN = {"type": "number", "minimum": 0, "maximum": 10, "max_missing": 0.1}
TWO_COLUMNS = {"x": COLUMN, "y": {"type": "code", "codes": [0, 1]}}


def sections(**changes: Any) -> dict[str, Any]:
    """What decides in the file of a family."""
    return deciding_sections(a_family(**changes))


def training(**changes: Any) -> dict[str, Any]:
    """What decides in the file of a family that trains here."""
    return deciding_sections(a_training_family(**changes))


def gates(**changes: Any) -> dict[str, Any]:
    """What decides with these gates instead of the strict ones."""
    return sections(gates={name: value for name, value in (STRICT | changes).items() if value is not None})


def approvals(**changes: Any) -> dict[str, Any]:
    """What decides with these approvals."""
    return sections(approvals=APPROVALS | changes)


def data(column: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """What decides with this description of the rows."""
    columns = TWO_COLUMNS | {"x": COLUMN | (column or {})}
    return sections(data={"path": "data/tiny.csv", "columns": columns} | changes)


MONITORED = {"rollback": {"error_rate": 0.05}, "sustained": {"needed": 2}}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            gates(),
            gates(thresholds=STRICT["thresholds"] | {"accuracy": {"minimum": 0.1}}),
            "gates.thresholds.accuracy.minimum 0.85 → 0.1 (looser)",
        ),
        (
            gates(),
            gates(thresholds=STRICT["thresholds"] | {"accuracy": {"minimum": 0.85, "from": "run"}}),
            "gates.thresholds.accuracy.from nothing → run (looser)",
        ),
        (
            gates(),
            gates(thresholds=STRICT["thresholds"] | {"rmspe": {"maximum": 0.3}}),
            "gates.thresholds.rmspe.maximum 0.2 → 0.3 (looser)",
        ),
        (
            gates(),
            gates(thresholds=STRICT["thresholds"] | {"loss": {"below": 0.31}}),
            "gates.thresholds.loss.below 0.3 → 0.31 (looser)",
        ),
        (
            gates(),
            gates(thresholds={name: it for name, it in STRICT["thresholds"].items() if name != "loss"}),
            "gates.thresholds.loss a section (below) → nothing (looser)",
        ),
        (
            gates(better_than_production={"policy": "strictly_greater"}),
            gates(better_than_production={"policy": "not_worse"}),
            "gates.better_than_production.policy strictly_greater → not_worse (looser)",
        ),
        (
            gates(better_than_production={"minimum_gain": 0.01}),
            gates(better_than_production={}),
            "gates.better_than_production.minimum_gain 0.01 → 0 (looser)",
        ),
        (
            gates(),
            gates(better_than_production=STRICT["better_than_production"] | {"margin": 0.5}),
            "gates.better_than_production.margin 0.02 → 0.5 (looser)",
        ),
        (
            gates(),
            gates(better_than_production=STRICT["better_than_production"] | {"also": {"recall": 0.2}}),
            "gates.better_than_production.also.recall 0.01 → 0.2 (looser)",
        ),
        (
            gates(),
            gates(better_than_production=STRICT["better_than_production"] | {"also": {}}),
            "gates.better_than_production.also.recall 0.01 → nothing (looser)",
        ),
        (gates(), gates(signature="checked"), "gates.signature required → checked (looser)"),
        (gates(), gates(staging={"minimum": 0}), "gates.staging.minimum 7 → 0 (looser)"),
        (gates(), gates(staging=None), "gates.staging a section → nothing (looser)"),
        (gates(), gates(latency_p95_ms=200), "gates.latency_p95_ms 100 → 200 (looser)"),
        (gates(), gates(latency_p95_ms=None), "gates.latency_p95_ms 100 → nothing (looser)"),
        (gates(), gates(cpu={"share": 0.9}), "gates.cpu.share 0.8 → 0.9 (looser)"),
        (gates(), gates(cpu={"requests_per_second": 1}), "gates.cpu.requests_per_second 10 → 1 (looser)"),
        (gates(), gates(cpu={"cores": 4}), "gates.cpu.cores 1 → 4 (looser)"),
        (gates(), gates(cpu=None), "gates.cpu a section → nothing (looser)"),
        (gates(), gates(incidents=False), "gates.incidents true → false (looser)"),
        (
            gates(),
            gates(required_artifacts=["MLmodel"]),
            "gates.required_artifacts - requirements.txt (looser)",
        ),
        (approvals(), sections(), "approvals a section (roles) → nothing (looser)"),
        (
            approvals(),
            approvals(roles=["devops"]),
            "approvals.roles - business, - data-science, - security (looser)",
        ),
        (approvals(), approvals(expire_days=300), "approvals.expire_days 30 → 300 (looser)"),
        (approvals(signed=True), approvals(), "approvals.signed true → false (looser)"),
        (
            approvals(approvers={"devops": ["dora"]}),
            approvals(approvers={"devops": ["dora", "mallory"]}),
            "approvals.approvers.devops + mallory (looser)",
        ),
        (
            approvals(approvers={"devops": ["dora"]}),
            approvals(approvers={"devops": ["mallory"]}),
            "approvals.approvers.devops - dora, + mallory (looser)",
        ),
        (approvals(approvers={"devops": ["dora"]}), approvals(), "approvals.approvers.devops dora → nothing (looser)"),
        (approvals(), approvals(ci_accounts=["jenkins", "tina"]), "approvals.ci_accounts + tina (looser)"),
        (
            sections(access={"production": ["anna"]}),
            sections(access={"production": ["anna", "mallory"]}),
            "access.production + mallory (looser)",
        ),
        (
            sections(access={"staging": []}),
            sections(access={"staging": ["mallory"]}),
            "access.staging + mallory (looser)",
        ),
        (sections(access={"production": ["anna"]}), sections(), "access.production anna → nothing (looser)"),
        (sections(), sections(rollback={"cool_down_hours": 1}), "rollback.cool_down_hours 24 → 1 (looser)"),
        (sections(), sections(retention={"days": 30}), "retention.days 365 → 30 (looser)"),
        (sections(rules="committed"), sections(), "rules committed → nothing (looser)"),
        (sections(promotion="manual"), sections(promotion="auto"), "promotion manual → auto (looser)"),
        (sections(), sections(not_better="staging"), "not_better stay → staging (looser)"),
        (sections(monitoring={}), sections(monitoring={"drift": False}), "monitoring.drift true → false (looser)"),
        (
            sections(monitoring={"action": "rollback", "rollback": {"error_rate": 0.05}}),
            sections(monitoring={"rollback": {"error_rate": 0.05}}),
            "monitoring.action rollback → alert-only (looser)",
        ),
        (
            sections(monitoring=MONITORED),
            sections(monitoring=MONITORED | {"rollback": {"error_rate": 0.5}}),
            "monitoring.rollback.error_rate 0.05 → 0.5 (looser)",
        ),
        (
            sections(monitoring=MONITORED),
            sections(monitoring=MONITORED | {"sustained": {"needed": 3}}),
            "monitoring.sustained.needed 2 → 3 (looser)",
        ),
        (sections(monitoring={}), sections(), "monitoring a section → nothing (looser)"),
        (data(), data({"maximum": 100}), "data.columns.x.maximum 10 → 100 (looser)"),
        (data(), data({"minimum": -5}), "data.columns.x.minimum 0 → -5 (looser)"),
        (data(), data({"max_missing": 0.5}), "data.columns.x.max_missing 0.1 → 0.5 (looser)"),
        (data(sha256="a" * 64), data(), "data.sha256 aaaaaaaaaaaa… → nothing (looser)"),
        (data(), data(allow_duplicates=True), "data.allow_duplicates false → true (looser)"),
        (data(), data(path="data/easy.csv"), "data.path data/tiny.csv → data/easy.csv (changed)"),
        (sections(), sections(selection_metric="recall"), "selection_metric roc_auc → recall (changed)"),
        (sections(), sections(split={"seed": 7}), "split.seed 42 → 7 (changed)"),
        (training(), training(candidates={"forest": {}}), "candidates.linear a section → nothing (changed)"),
        (
            training(),
            training(candidates=None),
            "candidates a section (forest, linear) → nothing (looser)",
        ),
        (gates(), {"family": "tiny"}, "the family's file there → gone (looser)"),
    ],
)
def test_a_change_says_whether_it_loosens(before: dict[str, Any], after: dict[str, Any], said: str) -> None:
    """With what was before and after, and the way back is the opposite."""
    found = changes_between(before, after)
    back = changes_between(after, before)

    assert said in [str(change) for change in found]
    (change,) = [change for change in found if str(change) == said]
    assert OPPOSITE[change.direction] in [it.direction for it in back if it.key == change.key] or "- dora" in said


@pytest.mark.parametrize(
    "changes",
    [
        {
            "monitoring": {
                "channels": {"chat": "CHAT_URL"},
                "routing": {"critical": ["chat"], "warning": [], "info": []},
            }
        },
        {"monitoring": {"cool_down": "1h", "psi": {"warning": 0.5}, "warning": {"latency_ms": 900}}},
    ],
)
def test_what_only_alerts_read_is_no_rule(changes: dict[str, Any]) -> None:
    """A channel by another name asks for nothing else than before."""
    assert sections(monitoring={}) == sections(**changes)


def test_words_and_contacts_are_no_rules() -> None:
    """Nor are hyper-parameters, folds, and what the columns mean."""
    described = data({"unit": "mm", "description": "how long", "hint": "use a ruler"}, licence="CC BY 4.0")
    silent = {
        "contacts": {"stakeholders": ["anna"], "runbooks": {"alert": "a.md"}},
        "review": {"criteria_days": 1},
        "cross_validation": {"folds": 9},
        "candidates": {"forest": {"params": {"depth": 3}}, "linear": {}},
    }

    assert data() == described
    assert training() == training(**silent)


def test_the_order_of_people_and_what_is_stated_as_the_default_are_no_change() -> None:
    """So a key that a later version adds, with a default, makes no other rules of an old file."""
    assert approvals() == approvals(roles=ROLES[::-1], expire_days=30)
    assert gates(staging={"minimum": 7}) == gates(staging={})


def test_what_could_not_be_read_has_not_changed() -> None:
    """A machine without the rows takes a version back under the same rules."""
    here, away = ({"registered_model": ["m"], "files": {"data/tiny.csv": found}} for found in ("a" * 64, None))

    assert [] == changes_between(here, away)
    assert ["files.data/tiny.csv aaaaaaaaaaaa… → bbbbbbbbbbbb… (changed)"] == [
        str(change) for change in changes_between(here, here | {"files": {"data/tiny.csv": "b" * 64}})
    ]


def test_every_key_of_a_family_file_is_classified() -> None:
    """Whoever adds a key says in the same commit whether it decides, and which way it loosens."""
    assert [] == [".".join(key) for key in _leaves(()) if rule_kind(key) is None]
    assert [] == [key for key in SCALES if not fields_under(FamilyConfig, tuple(key.split("."))[:-1])]


def _leaves(key: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    fields = fields_under(FamilyConfig, key)
    for name, field in fields.items():
        path = (*key, name)
        if fields_under(FamilyConfig, path):
            yield from _leaves(path)
        elif _holds_sections(field.annotation):
            yield from _leaves((*path, "any"))
        else:
            yield path


def _holds_sections(annotation: Any) -> bool:
    return any(
        (isinstance(item, type) and issubclass(item, BaseModel)) or _holds_sections(item)
        for item in get_args(annotation)
    )
