"""Open the journal's database: connections, transactions, migrations, the family lock, and errors in plain words."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, IntegrityError, SQLAlchemyError

from promotion.config.secrets import is_secret_name
from promotion.errors import JournalError, JournalLocked, RecordsAltered, UsageError
from promotion.journal import clock
from promotion.journal.schema import REVISION

LOCK_TIMEOUT = 30.0
"""Seconds a command waits for another one that is moving the same family."""


class Database:
    """One database by URL: SQLite for one machine, PostgreSQL for a team.

    Args:
        url: SQLAlchemy URL; `postgresql://` and `postgres://` mean psycopg 3.
        lock_timeout: Seconds to wait for locks.

    Raises:
        UsageError: The URL is malformed or names another kind of database.
    """

    def __init__(self, url: str, *, lock_timeout: float = LOCK_TIMEOUT) -> None:
        self.lock_timeout = lock_timeout
        try:
            parsed = make_url(url.replace("postgres://", "postgresql://", 1))
        except (ArgumentError, ValueError) as error:
            raise UsageError(
                f"PROMOTION_DATABASE_URL is not a database URL (expected sqlite:///FILE or postgresql://…): {error}"
            ) from error
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        self.backend = parsed.get_backend_name()
        hidden = {name: "***" for name in parsed.query if is_secret_name(name)}
        self.name = parsed.update_query_dict(hidden).render_as_string(hide_password=True)
        if self.backend not in {"sqlite", "postgresql"}:
            raise UsageError(
                f"the journal lives in SQLite or PostgreSQL, not in {self.name}: set PROMOTION_DATABASE_URL"
            )
        if self.backend == "sqlite" and (parsed.database or ":memory:").startswith((":memory:", "file:")):
            raise UsageError(
                f"the journal needs a file, {self.name} names none: set PROMOTION_DATABASE_URL to sqlite:///FILE"
            )
        self.file = Path(parsed.database or "") if self.backend == "sqlite" else None
        self._engine = (
            _sqlite_engine(parsed, self.file, lock_timeout) if self.file else _postgresql_engine(parsed, lock_timeout)
        )
        # Whoever opens several, as tests do, need not close them: idle connections go with the object.
        weakref.finalize(self, self._engine.dispose)
        self._autocommitting = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._current = False

    @property
    def exists(self) -> bool:
        """Whether there is a journal at all; asking creates none, but brings an older one up to date."""
        if self._current:
            return True
        if self.file and not self.file.is_file():
            return False
        with self.read() as connection:
            present, revision = inspect(connection).has_table("promotion_event"), _revision(connection)
        if present and revision != REVISION:
            with self.write():
                pass
        self._current = present
        return present

    @property
    def revisions(self) -> tuple[str | None, str]:
        """The schema's revision as it is, and the one this version works with; asking brings nothing up to date."""
        if self.file and not self.file.is_file():
            return None, REVISION
        with self.read() as connection:
            return _revision(connection), REVISION

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads."""
        with self._plain_words(), self._engine.connect().execution_options(reads_only=True) as connection:
            try:
                yield connection
            except ValueError as error:  # SQLite keeps any text in any column
                raise RecordsAltered(
                    f"the journal {self.name} holds what no row of ours does ({' '.join(str(error).split())}): it was "
                    "changed by SQL: restore the database"
                ) from error

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that commits at its end or leaves nothing; creates or migrates the schema first."""
        with self._plain_words():
            if not self._current:
                self._migrate()
                self._current = True
            with self._engine.begin() as connection:
                yield connection

    @contextmanager
    def family_lock(self, family: str) -> Iterator[None]:
        """Keep other processes from moving versions of `family`; the lock dies with its process.

        It is apart from the transaction, because it also spans the writes to MLflow that follow the commit.

        Raises:
            JournalLocked: Another process held it for `lock_timeout` seconds.
            ClockSkewed: This machine's clock is not the database's.
        """
        with self._file_lock(self.file, family) if self.file else self._advisory_lock(family):
            yield

    @contextmanager
    def _file_lock(self, file: Path, family: str) -> Iterator[None]:
        from filelock import FileLock, Timeout

        slug = hashlib.sha256(family.encode()).hexdigest()[:12]
        lock = FileLock(file.with_name(f"{file.name}.{slug}.lock"), timeout=self.lock_timeout)
        try:
            lock.acquire()
        except Timeout as error:
            raise JournalLocked(self._busy(family)) from error
        except OSError as error:
            message = f"cannot lock {family!r} beside the journal {file}: {error.strerror or error}; nothing moved"
            raise JournalError(message) from error
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _advisory_lock(self, family: str) -> Iterator[None]:
        with self._plain_words(), self._autocommitting.connect() as connection:
            clock.read_time(connection).require_agreement()
            key = {"key": f"promotion:{family}"}
            try:
                connection.execute(text("SELECT pg_advisory_lock(hashtextextended(:key, 0))"), key)
            except DBAPIError as error:
                if "lock timeout" in str(error.orig):
                    raise JournalLocked(self._busy(family)) from error
                raise
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(hashtextextended(:key, 0))"), key)

    def _busy(self, family: str) -> str:
        return (
            f"another process has been moving {family!r} for more than {self.lock_timeout:.0f} s "
            f"(journal {self.name}); nothing moved, try again"
        )

    def _migrate(self) -> None:
        if self.file:
            try:
                self.file.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise JournalError(
                    f"the journal {self.name} failed: {error.strerror}; check that its folder exists and is writable"
                ) from error
        with self._engine.begin() as connection:
            revision = _revision(connection)
            if revision == REVISION:
                return
            if revision and revision > REVISION:
                raise JournalError(
                    f"the journal {self.name} was written by a newer version of this project (schema {revision}, "
                    f"this one knows {REVISION}): update; nothing moved"
                )
            if self.backend == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('promotion:migrate', 0))"))
            from alembic import command
            from alembic.config import Config

            config = Config()
            config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def _plain_words(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise  # a rule of ours, not a failure: the journal says what it means
        except SQLAlchemyError as error:
            raise _translated(error, self.name) from error


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision


@lru_cache(maxsize=8)
def _sqlite_engine(url: URL, file: Path, lock_timeout: float) -> Engine:
    """One for all who open the file: each new engine compiles every statement anew."""
    engine = create_engine(url, connect_args={"timeout": lock_timeout})

    @event.listens_for(engine, "connect")
    def _manual_transactions(connection: Any, record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        record.info["file"] = _inode(file)

    @event.listens_for(engine, "checkout")
    def _same_file(_connection: Any, record: Any, _proxy: Any) -> None:
        if record.info["file"] != _inode(file):
            raise DisconnectionError("somebody put another file in its place")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # Taking the write lock at once turns "locked halfway" into "waited at the start".
        reads_only = connection.get_execution_options().get("reads_only")
        connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")

    return engine


def _inode(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _postgresql_engine(url: Any, lock_timeout: float) -> Engine:
    milliseconds = int(lock_timeout * 1000)
    options = f"-c lock_timeout={milliseconds} -c timezone=UTC"
    return create_engine(url, connect_args={"connect_timeout": 5, "options": options}, pool_pre_ping=True)


def _translated(error: SQLAlchemyError, name: str) -> JournalError:
    cause = str(getattr(error, "orig", None) or error)
    line = cause.strip().splitlines()[0] if cause.strip() else type(error).__name__
    lowered = line.lower()
    if "locked" in lowered or "lock timeout" in lowered:
        return JournalLocked(f"the journal {name} is locked by another process; nothing moved, try again ({line})")
    advice = "check that its folder exists and is writable"
    if "readonly" in lowered or "read-only" in lowered:
        advice = "it is read-only for this user: nothing moved; give write access or set PROMOTION_DATABASE_URL"
    elif "full" in lowered or "disk i/o" in lowered:
        advice = "the disk is full or failing: nothing moved; free space and run it again"
    elif "connect" in lowered or "password" in lowered:
        advice = "check that the server runs and PROMOTION_DATABASE_URL is right; nothing moved"
    return JournalError(f"the journal {name} failed: {line}; {advice}")
