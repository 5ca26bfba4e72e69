"""Real parts for the system tests: a host for commands, a PostgreSQL cluster, and a folder to register."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.drivers.commands import Commands


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    """Runs real command files."""
    with Commands() as host:
        yield host


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that stand for a model: an unconfigured family's artifact is digested and never loaded."""
    folder = tmp_path_factory.mktemp("artifact") / "model"
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {}\n", encoding="utf-8")
    (folder / "weights.bin").write_bytes(bytes(range(256)))
    return folder


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """A PostgreSQL cluster with the databases `journal` and `mlflow`; the URL has `{}` for the database's name.

    It listens on a socket in its own folder only, so it needs no port and meets no other server.
    """
    binaries = _postgresql_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL's initdb and pg_ctl are not installed")
    # Its socket's path may have 107 characters at most, and PostgreSQL refuses to run as root.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    user = "postgres" if os.getuid() == 0 else None
    if user:
        shutil.chown(folder, user)

    def call(program: str, *arguments: str) -> None:
        command = [str(binaries / program), *arguments]
        subprocess.run(command, cwd=folder, user=user, check=True, stdout=subprocess.DEVNULL, timeout=60)

    data = str(folder / "data")
    try:
        call("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        call("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        for name in ("journal", "mlflow"):
            call("createdb", "-h", str(folder), "-U", "postgres", name)
        yield f"postgresql+psycopg://postgres@/{{}}?host={folder}"
    finally:
        call("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


def _postgresql_binaries() -> Path | None:
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    found = shutil.which("initdb")
    return next(iter(versions), Path(found).parent if found else None)
