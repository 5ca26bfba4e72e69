"""The journal's database: migrations, locks, and failures in plain words."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from tests.promotion.factories import a_journal, a_registration, a_version, promote, read_only, rows, small_disk

from promotion.config.settings import REPOSITORY
from promotion.errors import JournalError, JournalLocked, RecordsAltered, UsageError
from promotion.journal.database import Database
from promotion.journal.schema import REVISION, metadata


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Another program in the middle of a write."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def _fill(folder: Path) -> None:
    """Use every byte that is left."""
    with (folder / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(b"0" * 4096)


def test_the_first_write_creates_every_table_the_code_declares(tmp_path: Path) -> None:
    """Migrations and declared tables agree, column by column, and a missing folder is made."""
    promote(a_journal(tmp_path / "new"), "churn", a_version())

    with closing(sqlite3.connect(tmp_path / "new" / "promotion.db")) as database:
        assert [(REVISION,)] == database.execute("SELECT version_num FROM alembic_version").fetchall()
        for table in metadata.sorted_tables:
            present = database.execute(f"PRAGMA table_info({table.name})").fetchall()
            declared = [(column.name, column.nullable) for column in table.columns]
            assert declared == [(row[1], not row[3]) for row in present]


@pytest.mark.system
def test_a_journal_in_place_is_opened_without_the_migration_engine(tmp_path: Path) -> None:
    """A second command pays nothing for migrations: Alembic is not even imported."""
    promote(a_journal(tmp_path), "churn", a_version())
    program = (
        "import sys; from pathlib import Path; from promotion.journal.database import Database\n"
        f"with Database('sqlite:///{tmp_path / 'promotion.db'}').write(): pass\n"
        "print('alembic' in sys.modules, 'mlflow' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY / "src", capture_output=True, text=True, check=True
    )

    assert "False False\n" == done.stdout


def test_commands_that_start_at_the_same_moment_migrate_once(tmp_path: Path) -> None:
    """Four first writes at once: all succeed, the tables are created once."""
    failures: list[BaseException] = []
    start = threading.Barrier(4)

    def first_write(number: int) -> None:
        journal = a_journal(tmp_path)
        start.wait()
        try:
            promote(journal, f"family-{number}", a_version(f"model-{number}"))
        except BaseException as error:  # noqa: BLE001  # whatever happened in the thread is what the test shows
            failures.append(error)

    threads = [threading.Thread(target=first_write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == failures
    assert 4 == len(a_journal(tmp_path).productions())


def test_a_locked_journal_is_one_clear_line(tmp_path: Path) -> None:
    """While another program writes, a move waits as long as allowed and then says so; nothing moved."""
    promote(a_journal(tmp_path), "churn", a_version())
    file = tmp_path / "promotion.db"
    before = rows(file)

    with _writing(file), pytest.raises(JournalLocked, match="locked by another process; nothing moved") as locked:
        promote(a_journal(tmp_path, lock_timeout=0.1), "churn", a_version(number=2))

    assert 1 == locked.value.exit_code
    assert 1 == len(str(locked.value).splitlines())
    assert before == rows(file)


def test_readers_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    """Listing and history work while a promotion is being written."""
    promote(a_journal(tmp_path), "churn", a_version())

    with _writing(tmp_path / "promotion.db"):
        assert "churn v1" == str(a_journal(tmp_path, lock_timeout=0.1).production("churn"))


def test_the_family_lock_keeps_others_out_and_ends(tmp_path: Path) -> None:
    """A second process waits as long as allowed; other families are free; afterwards the lock is free again."""
    journal, other = a_journal(tmp_path), a_journal(tmp_path, lock_timeout=0.1)
    with journal.family_lock("churn"):
        with pytest.raises(JournalLocked, match="another process has been moving 'churn'"), other.family_lock("churn"):
            pass
        with other.family_lock("fraud"):
            pass
    with other.family_lock("churn"):
        pass


@pytest.mark.system
def test_the_family_lock_dies_with_its_process(tmp_path: Path) -> None:
    """A killed holder leaves no lock behind."""
    program = (
        "import os, signal; from promotion.journal.database import Database\n"
        f"with Database('sqlite:///{tmp_path / 'promotion.db'}').family_lock('churn'): os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY / "src", check=False)

    assert -9 == done.returncode
    with a_journal(tmp_path, lock_timeout=0.1).family_lock("churn"):
        pass


def test_a_read_only_journal_can_be_read_and_says_why_it_cannot_be_written(tmp_path: Path) -> None:
    """On a file this user may not write, history works and a move is refused in one line."""
    promote(a_journal(tmp_path), "churn", a_version())

    with read_only(tmp_path):
        journal = a_journal(tmp_path)
        assert "churn v1" == str(journal.production("churn"))
        with pytest.raises(JournalError, match="read-only for this user: nothing moved") as refused:
            promote(journal, "churn", a_version(number=2))

    assert 1 == len(str(refused.value).splitlines())
    assert "churn v1" == str(a_journal(tmp_path).production("churn"))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The first write into a read-only folder fails in one line, for the tables and for the lock alike."""
    with read_only(tmp_path):
        journal = a_journal(tmp_path)
        with pytest.raises(JournalError, match="folder exists and is writable"):
            promote(journal, "churn", a_version())
        with pytest.raises(JournalError, match=r"cannot lock 'churn' beside the journal .*nothing moved"):
            journal.family_lock("churn").__enter__()

    assert [] == list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file where the journal's folder should be is one clear line, not a Python error."""
    (tmp_path / "file").write_text("")
    journal = a_journal(tmp_path / "file")

    with pytest.raises(JournalError, match="folder exists and is writable"):
        promote(journal, "churn", a_version())
    with pytest.raises(JournalError, match="cannot lock"):
        journal.family_lock("churn").__enter__()


def test_on_a_full_disk_nothing_moves(tmp_path: Path) -> None:
    """When the file system has no room left, the move is undone and the message says so."""
    with small_disk(tmp_path, "512k"):
        promote(a_journal(tmp_path), "churn", a_version())
        before = rows(tmp_path / "promotion.db")
        _fill(tmp_path)

        with pytest.raises(JournalError, match="the disk is full or failing: nothing moved"):
            promote(a_journal(tmp_path), "churn", a_version(number=2))

        (tmp_path / "ballast").unlink()
        assert before == rows(tmp_path / "promotion.db")
        promote(a_journal(tmp_path), "churn", a_version(number=2))


def test_a_file_that_may_not_grow_is_a_clear_refusal(tmp_path: Path) -> None:
    """A size limit (`ulimit -f`, here of one byte) stops the write like a full disk does."""
    journal = a_journal(tmp_path)
    promote(journal, "churn", a_version())
    before = rows(tmp_path / "promotion.db")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    resource.setrlimit(resource.RLIMIT_FSIZE, (1, limits[1]))
    try:
        with pytest.raises(JournalError, match="the disk is full or failing: nothing moved"):
            promote(journal, "churn", a_version(number=2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert before == rows(tmp_path / "promotion.db")


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    """Some other file under the journal's name is neither read as empty nor overwritten."""
    (tmp_path / "promotion.db").write_text("this is a text file, and longer than a SQLite header of 100 bytes" * 4)

    with pytest.raises(JournalError, match="not a database"):
        a_journal(tmp_path).production("churn")


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("promotion.db", "not a database URL"),
        ("", "not a database URL"),
        ("mysql+pymysql://anna:secret@db/journal", "SQLite or PostgreSQL, not in mysql"),
        ("oracle://db", "SQLite or PostgreSQL"),
        ("sqlite://", "file"),
        ("sqlite:///:memory:", "file"),
        ("postgresql+psycopg://anna:secret@db:port/journal", "not a database URL"),
        ("mysql://db/journal?password=secret", "SQLite or PostgreSQL, not in mysql"),
    ],
)
def test_a_wrong_url_is_a_usage_error(url: str, complaint: str) -> None:
    """A URL that names no SQLite file and no PostgreSQL is refused before anything is opened, without its password."""
    with pytest.raises(UsageError, match=complaint) as refused:
        Database(url)

    assert 2 == refused.value.exit_code
    assert "secret" not in str(refused.value)


def test_a_row_that_holds_what_none_of_ours_does_is_altered(tmp_path: Path) -> None:
    """SQLite keeps any text in any column; whoever reads it refuses in one line."""
    journal = a_journal(tmp_path)
    journal.register("churn", [(a_version(), a_registration("1" * 64, None))], actor="anna", semver=None)
    with closing(sqlite3.connect(tmp_path / "promotion.db")) as session, session:
        session.execute("UPDATE model_version_detail SET registered_at = 'yesterday'")

    with pytest.raises(RecordsAltered, match=r"holds what no row of ours does .*yesterday.*changed by SQL"):
        journal.entries("churn")


def test_a_dead_postgresql_is_one_clear_line_without_the_password() -> None:
    """A server that is not there is a failure, never an empty journal."""
    with pytest.raises(JournalError, match="check that the server runs") as refused:
        _ = Database("postgres://anna:secret@127.0.0.1:9/journal", lock_timeout=0.1).exists

    assert 1 == len(str(refused.value).splitlines())
    assert "secret" not in str(refused.value)


def test_another_file_in_its_place_is_the_one_that_is_read(tmp_path: Path) -> None:
    """Connections that stay open do not hold on to a journal that somebody replaced, by a backup for example."""
    ours, other = a_journal(tmp_path), a_journal(tmp_path / "other")
    promote(ours, "churn", a_version(number=1))
    promote(other, "churn", a_version(number=2))
    assert "churn v1" == str(ours.production("churn"))

    (tmp_path / "other" / "promotion.db").replace(tmp_path / "promotion.db")

    assert "churn v2" == str(ours.production("churn"))
    assert "churn v2" == str(a_journal(tmp_path).production("churn"))
