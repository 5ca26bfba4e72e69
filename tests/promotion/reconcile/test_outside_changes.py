"""What happened in MLflow behind the journal's back, recognised and taken over."""

from __future__ import annotations

import pytest
from tests.promotion.factories import Store, a_family, a_version, an_entry

from promotion.journal.records import Entry
from promotion.reconcile.outside_changes import compare_with_mlflow
from promotion.registry.contract import ModelVersion
from promotion.registry.stages import Stage
from promotion.service import Mover

NONE, STAGING, PRODUCTION, ARCHIVED = Stage


def _entry(model: str, number: int, stage: Stage) -> Entry:
    return an_entry(model, number, stage)


def _moves(entries: list[Entry], versions: list[ModelVersion], alias: tuple[str, int] | None = None) -> list[str]:
    promoted = ("champion", alias) if alias else None
    return [f"{change.version} → {change.to}" for change in compare_with_mlflow(entries, versions, promoted).changes]


HELD = [_entry("tree", 1, PRODUCTION), _entry("tree", 2, NONE)]


@pytest.mark.parametrize(
    ("versions", "alias", "moves"),
    [
        pytest.param([a_version("tree", 1, PRODUCTION), a_version("tree", 2)], None, [], id="nothing changed"),
        pytest.param(
            [a_version("tree", 1, ARCHIVED), a_version("tree", 2, PRODUCTION, minutes=1)],
            None,
            ["tree v1 → Archived", "tree v2 → Production"],
            id="promoted in the same model, old one archived",
        ),
        pytest.param(
            [a_version("tree", 1, PRODUCTION), a_version("tree", 2, PRODUCTION, minutes=1)],
            None,
            ["tree v1 → Archived", "tree v2 → Production"],
            id="promoted without archiving",
        ),
        pytest.param(
            [a_version("tree", 1, PRODUCTION, minutes=9), a_version("tree", 2, PRODUCTION, minutes=1)],
            None,
            ["tree v1 → Archived", "tree v2 → Production"],
            id="the newcomer wins although the old one was touched later",
        ),
        pytest.param(
            [a_version("tree", 1, PRODUCTION), a_version("tree", 2), a_version("line", 5, PRODUCTION)],
            None,
            ["tree v1 → Archived", "line v5 → Production"],
            id="promoted in another registered model of the family",
        ),
        pytest.param(
            [
                a_version("tree", 1, PRODUCTION),
                a_version("tree", 2, PRODUCTION, minutes=2),
                a_version("line", 5, PRODUCTION, minutes=1),
            ],
            None,
            ["tree v1 → Archived", "line v5 → Archived", "tree v2 → Production"],
            id="two newcomers: the later one",
        ),
        pytest.param(
            [a_version("tree", 1, ARCHIVED), a_version("tree", 2)],
            None,
            ["tree v1 → Archived"],
            id="Production archived",
        ),
        pytest.param(
            [a_version("tree", 1, STAGING), a_version("tree", 2)], None, ["tree v1 → Staging"], id="Production demoted"
        ),
        pytest.param([a_version("tree", 2)], None, ["tree v1 → Archived"], id="Production deleted"),
        pytest.param(
            [a_version("tree", 2, PRODUCTION)],
            None,
            ["tree v1 → Archived", "tree v2 → Production"],
            id="Production deleted and another promoted",
        ),
        pytest.param([a_version("tree", 1, PRODUCTION)], None, [], id="some other version deleted"),
        pytest.param(
            [a_version("tree", 1, PRODUCTION), a_version("tree", 2)],
            ("tree", 2),
            ["tree v1 → Archived", "tree v2 → Production"],
            id="alias moved",
        ),
        pytest.param(
            [a_version("tree", 1, PRODUCTION), a_version("tree", 2), a_version("line", 5, PRODUCTION)],
            ("tree", 2),
            ["tree v1 → Archived", "line v5 → Production"],
            id="alias and stage moved apart: the stage counts",
        ),
        pytest.param(
            [a_version("tree", 1, PRODUCTION), a_version("tree", 2)], ("tree", 9), [], id="alias to a deleted version"
        ),
        pytest.param(
            [a_version("tree", 1, PRODUCTION), a_version("tree", 2, STAGING)],
            None,
            ["tree v2 → Staging"],
            id="another one to Staging",
        ),
    ],
)
def test_changes_made_outside_become_moves(
    versions: list[ModelVersion], alias: tuple[str, int] | None, moves: list[str]
) -> None:
    """With v1 in Production, each change in MLflow is the list of moves that leaves at most one Production."""
    assert moves == _moves(HELD, versions, alias)


def test_a_first_look_takes_every_stage_over() -> None:
    """An empty journal learns what is where; of several Productions the one moved there last."""
    versions = [
        a_version("tree", 1, PRODUCTION, minutes=1),
        a_version("tree", 2, PRODUCTION, minutes=3),
        a_version("tree", 3, STAGING),
        a_version("tree", 4),
    ]

    moves = _moves([], versions)

    assert ["tree v1 → Archived", "tree v3 → Staging", "tree v2 → Production"] == moves


def test_every_difference_is_told() -> None:
    """One line each, naming version, what MLflow shows and what the journal held."""
    lines = compare_with_mlflow(HELD, [a_version("tree", 1, ARCHIVED), a_version("tree", 2, PRODUCTION)], None).lines

    assert [
        "tree v1: MLflow shows Archived, the journal Production",
        "tree v2: MLflow shows Production, the journal None",
    ] == lines


STAGED = [*HELD, _entry("tree", 3, STAGING)]
SHOWN = [
    a_version("tree", 1, PRODUCTION),
    a_version("tree", 2),
    a_version("tree", 3, STAGING),
    a_version("tree", 4, ARCHIVED),
]


@pytest.mark.parametrize(
    ("number", "moves", "lines"),
    [
        (2, ["tree v2 → Staging"], ["points at v2 (None), the journal holds tree v3 in Staging"]),
        (4, ["tree v4 → Staging"], ["points at v4 (Archived), the journal holds tree v3 in Staging"]),
        (1, [], []),
        (9, [], []),
    ],
)
def test_an_alias_of_staging_that_a_person_moves_stages_a_version(
    number: int, moves: list[str], lines: list[str]
) -> None:
    """Not the one that serves, nor one that is not there; what MLflow shows of it stays in the record."""
    found = compare_with_mlflow(STAGED, [*SHOWN], None, ("challenger", ("tree", number)))
    changes = [change for change in found.changes if change.version.number != 4 or number == 4]

    assert moves == [f"{change.version} → {change.to}" for change in changes]
    assert lines == [line.removeprefix("alias challenger of tree ") for line in found.lines if "alias" in line]
    assert all(change.found.endswith(", with the alias challenger") for change in changes)


# The same on the real store


@pytest.fixture
def family(store: Store) -> Store:
    """A family of two registered models, v1 of the linear one promoted by us."""
    service = store.service(a_family())
    store.register("tiny-linear", roc_auc=0.90)
    store.register("tiny-linear", roc_auc=0.91)
    store.register("tiny-forest", roc_auc=0.92)
    service.promote(service.check(service.candidate("tiny-linear", 1)), Mover("anna", "first"))
    return store


def test_without_a_change_nothing_is_written(family: Store) -> None:
    """Looking again finds nothing to adopt and leaves both databases as they are."""
    before = family.rows()
    said: list[str] = []

    assert family.service(a_family(), report=said.append).synchronise("tiny") == ""

    assert [] == said
    assert before == family.rows()


def test_a_promotion_in_the_user_interface_is_adopted_loudly(family: Store) -> None:
    """A version moved by hand in another registered model becomes the family's one Production, in both places."""
    family.move("tiny-forest", 1, PRODUCTION)
    said: list[str] = []
    service = family.service(a_family(), report=said.append)

    assert "" == service.synchronise("tiny")

    assert {"tiny-linear v1": "Archived", "tiny-forest v1": "Production"} == family.shown()
    assert {"tiny-forest@production": "1", "tiny-linear@previous": "1"} == family.aliases()
    assert "tiny-forest v1" == str(service.journal.production("tiny"))
    newest = service.journal.history("tiny")[0]
    assert ("adopt", "mlflow", "changed in MLflow outside the journal") == (
        newest.action,
        newest.actor,
        newest.reason,
    )
    assert "tiny: changed outside: tiny-forest v1: MLflow shows Production, the journal None" in said


def test_a_moved_alias_is_adopted(family: Store) -> None:
    """Whoever promotes by alias alone gets the stage as well."""
    family.client.set_registered_model_alias("tiny-linear", "production", "2")

    family.service(a_family()).synchronise("tiny")

    assert {"tiny-linear v1": "Archived", "tiny-linear v2": "Production"} == family.shown()
    assert {"tiny-linear@production": "2", "tiny-linear@previous": "1"} == family.aliases()


def test_an_archived_production_leaves_the_family_without_one(family: Store) -> None:
    """Taking Production away by hand is adopted too: no other version is put in its place."""
    family.move("tiny-linear", 1, ARCHIVED)
    service = family.service(a_family())

    assert "" == service.synchronise("tiny")

    assert service.journal.production("tiny") is None
    assert {"tiny-linear@previous": "1"} == family.aliases()


def test_a_deleted_production_leaves_the_family_without_one(family: Store) -> None:
    """A version deleted in MLflow is archived in the journal, and the next promotion completes."""
    family.client.delete_model_version("tiny-linear", "1")
    service = family.service(a_family())

    assert "" == service.synchronise("tiny")
    assert service.journal.production("tiny") is None
    promotion = service.promote(service.check(service.candidate("tiny-linear", 2)), Mover("ben", "repair"))

    assert "" == promotion.unprojected
    assert {"tiny-linear v2": "Production"} == family.shown()
    assert {"tiny-linear@production": "2"} == family.aliases()


def test_a_deleted_predecessor_does_not_stand_in_the_way(family: Store) -> None:
    """When the version that `previous` should name is gone from MLflow, the projection is complete without it."""
    service = family.service(a_family())
    service.promote(service.check(service.candidate("tiny-linear", 2)), Mover("ben", "better"))
    family.client.delete_model_version("tiny-linear", "1")

    service.reconcile(Mover("anna", "tidy"), "tiny")

    assert [] == service.journal.pending()
    assert {"tiny-linear@production": "2"} == family.aliases()


@pytest.mark.system
def test_a_registry_with_stages_is_imported_once(store: Store) -> None:
    """The first command on an old registry records its stages as genesis and keeps one Production."""
    for score in (0.9, 0.91, 0.92):
        store.register("churn", roc_auc=score)
    store.move("churn", 1, PRODUCTION)
    store.move("churn", 3, STAGING)
    service = store.service()

    assert "" == service.synchronise("churn")
    assert "" == service.synchronise("churn")

    assert {"churn v1": "Production", "churn v3": "Staging"} == store.shown()
    assert {"churn@production": "1", "churn@staging": "3"} == store.aliases()
    history = service.journal.history()
    assert {("genesis", 1, PRODUCTION), ("genesis", 3, STAGING)} == {
        (event.action, event.number, event.to_stage) for event in history
    }
    assert 2 == len(history)


def test_two_productions_of_an_old_registry_become_one(store: Store) -> None:
    """MLflow lets two versions be in Production; the first look keeps the one that was moved there last."""
    for score in (0.9, 0.91):
        store.register("churn", roc_auc=score)
    store.move("churn", 2, PRODUCTION)
    store.move("churn", 1, PRODUCTION)

    store.service().synchronise("churn")

    assert {"churn v1": "Production", "churn v2": "Archived"} == store.shown()
