"""One registered model, its journal and its MLflow: where commands find them, and what they show afterwards."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from promotion.journal.database import Database
from promotion.journal.journal import Journal
from promotion.journal.records import Event
from promotion.registry.stages import Stage

MODEL = "churn"


@dataclass(frozen=True)
class World:
    """A registered model without configuration, and the stores around it.

    Attributes:
        home: Folder given as PROMOTION_HOME.
        tracking_uri: Where MLflow is read directly, past any proxy.
        database_url: The journal.
        model: The registered model, its own family.
    """

    home: Path
    tracking_uri: str
    database_url: str
    model: str = MODEL

    @classmethod
    def local(cls, home: Path) -> World:
        """The default stores: two SQLite files in `home`."""
        (home / "config").mkdir(parents=True, exist_ok=True)
        return cls(home, f"sqlite:///{home / 'mlflow.db'}", f"sqlite:///{home / 'promotion.db'}")

    @property
    def environment(self) -> Mapping[str, str]:
        """What a command needs to find this world."""
        return {
            "PROMOTION_HOME": str(self.home),
            "PROMOTION_DATABASE_URL": self.database_url,
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "PROMOTION_ACTOR": "test",
        }

    @cached_property
    def journal(self) -> Journal:
        """The journal, opened once: a PostgreSQL server has no connections to spare."""
        return Journal(self._database)

    @cached_property
    def _database(self) -> Database:
        return Database(self.database_url)

    def close(self) -> None:
        """Give the journal's connections back."""
        self._database._engine.dispose()

    def held(self) -> list[int]:
        """Versions that are in Production in the journal."""
        return [entry.number for entry in self.journal.entries(self.model) if entry.stage is Stage.PRODUCTION]

    def shown(self) -> list[int]:
        """Versions that a plain MLflow client finds in Production, over all versions."""
        from mlflow.tracking import MlflowClient

        found = MlflowClient(self.tracking_uri).search_model_versions(f"name = '{self.model}'")
        return sorted(int(version.version) for version in found if version.current_stage == "Production")

    def aliases(self) -> dict[str, int]:
        """The registered model's aliases, as a plain MLflow client sees them."""
        from mlflow.tracking import MlflowClient

        found = MlflowClient(self.tracking_uri).get_registered_model(self.model).aliases
        return {alias: int(version) for alias, version in found.items()}

    def tags(self, number: int) -> dict[str, str]:
        """The tags of one version, as a plain MLflow client sees them."""
        from mlflow.tracking import MlflowClient

        return dict(MlflowClient(self.tracking_uri).get_model_version(self.model, str(number)).tags)

    def production(self) -> int:
        """The one version in Production; fails unless journal, stages and aliases agree on exactly one."""
        held = self.held()
        assert 1 == len(held), held
        assert held == self.shown()
        aliases = self.aliases()
        assert held[0] == aliases["production"]
        before = [event.number for event in self.journal.history(self.model) if event.from_stage is Stage.PRODUCTION]
        bad = {entry.number for entry in self.journal.entries(self.model) if entry.known_bad}
        previous = next((number for number in before if number != held[0] and number not in bad), None)
        assert previous == aliases.get("previous")
        return held[0]

    def require_whole_history(self) -> None:
        """Every move starts where the last one of that version ended, and one version serves after each operation."""
        events = self.journal.history(self.model)[::-1]
        where: dict[int, Stage] = {}
        for operation in _operations(events):
            for event in operation:
                assert where.get(event.number, Stage.NONE) is event.from_stage, event
                where[event.number] = event.to_stage
            assert 1 == list(where.values()).count(Stage.PRODUCTION), operation
        assert where == {entry.number: entry.stage for entry in self.journal.entries(self.model)}


def _operations(events: Sequence[Event]) -> list[list[Event]]:
    """Events by operation, in order; an operation's events lie together."""
    grouped: list[list[Event]] = []
    for event in events:
        if grouped and grouped[-1][0].operation == event.operation:
            grouped[-1].append(event)
        else:
            assert event.operation not in {group[0].operation for group in grouped}
            grouped.append([event])
    return grouped


def register(tracking_uri: str, model: str, source: Path, versions: int) -> None:
    """Register versions whose artifact is the folder `source`."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri)
    client.create_registered_model(model)
    for _ in range(versions):
        client.create_model_version(model, source=str(source))


def content(home: Path) -> dict[str, list[str]]:
    """Everything in the SQLite files of a folder, as SQL text by file."""
    dumps = {}
    for file in sorted(home.glob("*.db")):
        with closing(sqlite3.connect(file)) as store:
            dumps[file.name] = list(store.iterdump())
    return dumps
