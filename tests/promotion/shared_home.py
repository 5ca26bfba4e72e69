"""One home for many tests, put back to a kept state before each: MLflow takes seconds to open a database anew."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.promotion.factories import Store, a_family

from promotion.config.settings import Settings
from promotion.service import Mover

DATABASES = ("mlflow.db", "promotion.db")
ARTIFACTS = "artifacts"


class SharedHome:
    """A home with MLflow's tables in it.

    Args:
        folder: Where to make it.
        empty_store: MLflow's tables in a SQLite file, the journal's beside it.
    """

    def __init__(self, folder: Path, empty_store: Path) -> None:
        home = folder / "home"
        (home / "config").mkdir(parents=True)
        (home / ARTIFACTS).mkdir()
        for name in DATABASES:
            shutil.copy(empty_store.with_name(name), home / name)
        uri = f"sqlite:///{home / 'mlflow.db'}"
        self._kept = folder / "kept"
        self.store = Store(Settings(home, uri, uri, f"sqlite:///{home / 'promotion.db'}"), home / ARTIFACTS)
        self.keep("empty")

    def keep(self, name: str) -> None:
        """Remember the present state."""
        shutil.copytree(self.store.home, self._kept / name)

    def back_to(self, name: str) -> Store:
        """Put a kept state back; the databases by SQLite's own means, for somebody may have them open."""
        kept, home = self._kept / name, self.store.home
        for file in DATABASES:
            if not (kept / file).exists():
                (home / file).unlink(missing_ok=True)
                continue
            with closing(sqlite3.connect(kept / file)) as source, closing(sqlite3.connect(home / file)) as target:
                source.backup(target)
        for folder in ("config", ARTIFACTS):
            shutil.rmtree(home / folder)
            shutil.copytree(kept / folder, home / folder)
        return self.store


def served_in_turn(folder: Path, empty_store: Path, model: str) -> SharedHome:
    """Three versions of a registered model, each better than the one before; the third serves. Kept as `served`."""
    made = SharedHome(folder, empty_store)
    service = made.store.service(a_family())
    for number, score in enumerate((0.90, 0.92, 0.94), start=1):
        made.store.register(model, roc_auc=score)
        service.promote(service.check(service.candidate(model, number)), Mover("anna", "better"))
    made.keep("served")
    return made
