"""`scripts/download-data.py` as a person and as Jenkins call it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytestmark = pytest.mark.system  # each starts a process

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "scripts" / "download-data.py"
URL = "https://archive.ics.uci.edu/static/public/45/data.csv"
SHA256 = "c62392cce6a715ef063ff42c1557df0675df2d8612e272abed377932e8e475c7"


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without talking."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
        """Stay silent."""


@pytest.fixture
def source(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A URL and the file behind it, a copy of the bundled one."""
    folder = tmp_path / "source"
    folder.mkdir()
    file = Path(shutil.copy(REPOSITORY / "data" / "heart-disease.csv", folder / "data.csv"))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/data.csv", file
        server.shutdown()
        thread.join()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder with the bundled config and data; the URL is one nobody listens to."""
    folder = tmp_path / "home"
    (folder / "config").mkdir(parents=True)
    (folder / "data").mkdir()
    shutil.copy(REPOSITORY / "data" / "heart-disease.csv", folder / "data")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        point_at(folder, f"http://127.0.0.1:{free.getsockname()[1]}/data.csv")
    return folder


def point_at(home: Path, url: str) -> None:
    text = (REPOSITORY / "config" / "heart-disease.yaml").read_text(encoding="utf-8")
    assert URL in text
    (home / "config" / "heart-disease.yaml").write_text(text.replace(URL, url), encoding="utf-8")


def run(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        cwd=home.parent,
        env=os.environ | {"PROMOTION_HOME": str(home), "NO_PROXY": "127.0.0.1", "PYTHONUTF8": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def data(home: Path) -> Path:
    return home / "data" / "heart-disease.csv"


def test_fresh_clone_works_without_network(home: Path) -> None:
    """The bundled file is recognised by its digest; rows, columns and the next command are said."""
    done = run(home)
    assert 0 == done.returncode
    assert f"✅ data/heart-disease.csv: cached, verified (sha256 {SHA256})" in done.stdout
    assert "303 rows × 14 columns" in done.stdout
    assert "CC BY 4.0" in done.stdout
    assert "Next: python src/models/train.py\n" == done.stderr


def test_missing_file_is_downloaded(home: Path, source: tuple[str, Path]) -> None:
    """Without the file it is fetched and verified; standard error tells how far it is, standard output the result."""
    point_at(home, source[0])
    data(home).unlink()
    done = run(home)
    assert 0 == done.returncode
    assert "data/heart-disease.csv: downloaded, verified" in done.stdout
    assert "data/heart-disease.csv: 11,012 bytes of 11,012" in done.stderr
    assert source[1].read_bytes() == data(home).read_bytes()
    assert ["heart-disease.csv"] == [path.name for path in data(home).parent.iterdir()]


@pytest.mark.system
def test_force_without_network_uses_the_bundled_file(home: Path) -> None:
    """`--force` without network says so, uses the verified file and exits 0; the report as JSON says it too."""
    done = run(home, "--force", "--json")
    assert 0 == done.returncode
    assert "Connection refused" in done.stderr
    report = json.loads(done.stdout)
    assert {"origin": "kept", "verified": True, "sha256": SHA256, "rows": 303, "columns": 14} == {
        name: report[name] for name in ("origin", "verified", "sha256", "rows", "columns")
    }
    assert {"not num > 0": 164, "num > 0": 139} == report["rows_by_class"]
    assert "Connection refused" in report["reason"]


@pytest.mark.system
def test_no_verified_file_and_no_network_is_a_failure(home: Path) -> None:
    """Without network and with another file in place the exit code is 1, in one line, and the file stays."""
    data(home).write_text("age\n1\n", encoding="utf-8")
    done = run(home)
    assert (1, "") == (done.returncode, done.stdout)
    assert 1 == len(done.stderr.splitlines())
    assert "so there is no verified file" in done.stderr
    assert "age\n1\n" == data(home).read_text(encoding="utf-8")


def test_wrong_bytes_are_a_failure(home: Path, source: tuple[str, Path]) -> None:
    """A web page instead of the data exits 1, is called what it is, and the verified file stays."""
    point_at(home, source[0])
    source[1].write_text("<!DOCTYPE html><p>Please sign in", encoding="utf-8")
    done = run(home, "--force")
    assert (1, "") == (done.returncode, done.stdout)
    assert "it looks like HTML" in done.stderr
    assert (REPOSITORY / "data" / "heart-disease.csv").read_bytes() == data(home).read_bytes()


def test_offline_contacts_nobody(home: Path, source: tuple[str, Path]) -> None:
    """`--offline` accepts the verified file, and fails without one although the server would answer."""
    point_at(home, source[0])
    assert 0 == run(home, "--offline", "--force").returncode
    data(home).unlink()
    done = run(home, "--offline")
    assert 1 == done.returncode
    assert "run without --offline to fetch it" in done.stderr
    assert not data(home).exists()


def test_broken_contract_is_a_failure(home: Path) -> None:
    """A user's own file without digest is accepted by the download and then refused by its contract, with the hint."""
    config = home / "config" / "heart-disease.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace(f"  sha256: {SHA256}\n", ""), encoding="utf-8")
    data(home).write_text(data(home).read_text(encoding="utf-8").replace("63,1,1,145", "63,1,0,145"), encoding="utf-8")
    done = run(home)
    assert (1, "") == (done.returncode, done.stdout)
    assert "column 'cp': must be one of 1, 2, 3, 4: 1 of 303 rows, first: line 2 ('0')" in done.stderr
    assert "0-3 is Kaggle's recoding" in done.stderr


@pytest.mark.parametrize("arguments", [("--model", "nope"), ("--modle", "heart-disease"), ("extra",)])
def test_usage_errors(arguments: tuple[str, ...], home: Path) -> None:
    """An unknown family, option or argument exits 2 and changes nothing."""
    assert 2 == run(home, *arguments).returncode


def test_plain_console(home: Path) -> None:
    """On a console that only shows ASCII the output is ASCII."""
    done = run(home, PYTHONUTF8="0", LC_ALL="C", PYTHONIOENCODING="")
    assert 0 == done.returncode
    assert done.stdout.isascii()
    assert "[ok] data/heart-disease.csv: cached, verified" in done.stdout
