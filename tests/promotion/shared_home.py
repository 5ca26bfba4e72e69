"""One home for many tests, put back to a kept state before each: MLflow takes long to open a database anew."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from tests.promotion.factories import Store, a_family

from promotion.config.settings import Settings
from promotion.service import Mover

DATABASES = ("mlflow.db", "promotion.db")
ARTIFACTS = "artifacts"
_IS_PLAIN_MODEL = text("""
    SELECT EXISTS (SELECT 1 FROM registered_models WHERE name = :name) AND NOT EXISTS (
    SELECT 1 FROM registered_model_tags WHERE name = :name AND key = 'mlflow.prompt.is_prompt')
""")


class SharedHome:
    """A home with MLflow's tables in it.

    Args:
        folder: Where to make it.
        empty_store: MLflow's tables in a SQLite file, the journal's beside it.
        contents: Folders that lie in the home beside the databases.
    """

    def __init__(self, folder: Path, empty_store: Path, *contents: Path) -> None:
        home = folder / "home"
        for name in ("config", ARTIFACTS):
            (home / name).mkdir(parents=True)
        for content in contents:
            shutil.copytree(content, home / content.name, dirs_exist_ok=True)
        for name in DATABASES:
            shutil.copy(empty_store.with_name(name), home / name)
        uri = f"sqlite:///{home / 'mlflow.db'}"
        self._kept = folder / "kept"
        self._file = (home / "mlflow.db").stat()
        self.store = Store(Settings(home, uri, uri, f"sqlite:///{home / 'promotion.db'}"), home / ARTIFACTS)
        self.keep("empty")

    @property
    def is_whole(self) -> bool:
        """Whether MLflow's file is the one that its connections have open, and may be written."""
        path = self.store.home / "mlflow.db"
        return path.is_file() and (self._file.st_ino, self._file.st_mode) == (path.stat().st_ino, path.stat().st_mode)

    def keep(self, name: str) -> None:
        """Remember the present state."""
        shutil.copytree(self.store.home, self._kept / name)

    def arranged(self, make: Callable[[Store], object]) -> Store:
        """The state that a function makes of the empty one, which it does once."""
        name = f"{make.__module__}.{make.__qualname__}"
        if not (self._kept / name).exists():
            make(self.back_to("empty"))
            self.keep(name)
        return self.back_to(name)

    def back_to(self, name: str) -> Store:
        """Put a kept state back; MLflow's database by SQLite's own means, for its connections stay open."""
        kept, home = self._kept / name, self.store.home
        for there in home.iterdir():
            if there.is_dir():
                shutil.rmtree(there)
            elif there.name != "mlflow.db":
                there.unlink()
        restore(kept / "mlflow.db", home / "mlflow.db")
        for content in kept.iterdir():
            if content.is_dir():
                shutil.copytree(content, home / content.name)
            elif content.name != "mlflow.db":
                shutil.copy2(content, home)
        return self.store


def restore(seed: Path, database: Path) -> None:
    """Overwrite a database, which others may have open, with the seed."""
    with closing(sqlite3.connect(seed)) as source, closing(sqlite3.connect(database, timeout=20)) as target:
        source.backup(target)


def tell_prompts_by_their_tag(patch: pytest.MonkeyPatch) -> None:
    """MLflow reads a model with all its versions before each write, to see whether it is a prompt: its tag says so."""
    from mlflow.tracking import MlflowClient

    if not hasattr(MlflowClient, "_raise_if_prompt"):  # MLflow 2.22 brought them
        return
    thorough = MlflowClient._raise_if_prompt

    def raise_if_prompt(client: Any, name: str) -> None:
        engine = getattr(client._get_registry_client().store, "engine", None)
        if engine is not None:
            with engine.connect() as connection:
                if connection.execute(_IS_PLAIN_MODEL, {"name": name}).scalar():
                    return
        thorough(client, name)

    patch.setattr(MlflowClient, "_raise_if_prompt", raise_if_prompt)


def served_in_turn(folder: Path, empty_store: Path, model: str) -> SharedHome:
    """Three versions of a registered model, each better than the one before; the third serves. Kept as `served`."""
    made = SharedHome(folder, empty_store)
    service = made.store.service(a_family())
    for number, score in enumerate((0.90, 0.92, 0.94), start=1):
        made.store.register(model, roc_auc=score)
        service.promote(service.check(service.candidate(model, number)), Mover("anna", "better"))
    made.keep("served")
    return made
