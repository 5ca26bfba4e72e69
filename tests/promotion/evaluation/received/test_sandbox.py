"""Models that attack whoever scores them: nothing gets out, and the refusal is one line."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from tests.promotion.evaluation.received.made import FEATURES, a_received_family, customers, save_code

from promotion.config.evidence import RunLimits
from promotion.config.settings import REPOSITORY
from promotion.errors import PromotionError
from promotion.evaluation.received import sandbox
from promotion.evaluation.received.evaluator import ReceivedEvaluator
from promotion.evaluation.received.process import ModelFailed

SECRET = "postgresql+psycopg://journal:s3cret@db/promotions"  # noqa: S105  # nobody's
LOOKS = """
    found = []
    for name in ("~/.ssh/id_ed25519", "HOME/.ssh/id_ed25519", "REPOSITORY/pyproject.toml", "HOLDOUT", "/etc/passwd",
                 "/etc/shadow", "/proc/1/environ", "/var/log", "/home", "/sys/class/net/eth0"):
        try:
            path = Path(name).expanduser()
            found.append((name, str(path.read_bytes()[:200]) if path.is_file() else path.exists()))
        except OSError:
            found.append((name, None))
    told = [entry for entry in found if entry[1] and "SECRET" not in str(entry[1]) and entry[0] != "/proc/1/environ"]
    leaked = [entry for entry in found if "s3cret" in str(entry[1]) or "private key" in str(entry[1])]
    assert not told and not leaked and "s3cret" not in str(os.environ), (told, leaked)
"""
ATTACKS = {
    "opens a socket": (
        'socket.create_connection(("127.0.0.1", PORT), timeout=2)',
        r"the model fails: (OSError|ConnectionRefusedError)",
    ),
    "resolves a name": ('socket.gethostbyname("example.com")', r"the model fails: gaierror"),
    "writes into the repository": (
        'Path("REPOSITORY/src/evil.py").write_text("x")',
        "the model fails: FileNotFoundError",
    ),
    "writes over the worker": ('Path("/run/promotion/worker.py").write_text("x")', "Read-only|Permission denied"),
    "writes over the model": ('Path("/run/promotion/model/MLmodel").write_text("x")', "Read-only|Permission denied"),
    "writes a library": ('Path(np.__file__).write_text("x")', "Read-only|Permission denied"),
    "fills the disk": (
        """
        for number in range(100):
            Path(f"/tmp/{number}").write_bytes(b"x" * 10_000_000)
        """,
        "No space left on device",
    ),
    "fills /dev/shm": ('Path("/dev/shm/x").write_bytes(b"x" * 200_000_000)', "No space left|File too large"),
    "takes memory": (
        "return [len(bytearray(4_000_000_000))] * len(rows)",
        "fails: MemoryError|took more than",
    ),
    "takes memory in many processes": (
        """
        for _ in range(20):
            if os.fork() == 0:
                held = np.ones(20_000_000); time.sleep(60)
        time.sleep(60)
        """,
        r"took more than 900 MB of memory \(artifacts.memory_mb\) and was ended",
    ),
    "forks without end": (
        """
        while True:
            os.fork()
        """,
        "BlockingIOError|took more than|did not end within",
    ),
    "never ends": ("while True: time.sleep(1)", r"did not end within 10 s \(artifacts.timeout\) and was ended"),
    "forges an answer": (
        """
        for descriptor in range(3, 12):
            try:
                os.write(descriptor, b"\\x00" * 11 + b"\\xff")
            except OSError:
                pass
        """,
        "which is no answer",
    ),
    "dies": ("os._exit(0)", "the model's process ended with exit code 0"),
    "crashes": ("import ctypes; ctypes.string_at(0)", "crashed with SIGSEGV"),
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a key in it, a holdout, and the journal's address in the environment."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519").write_text("private key")
    customers(50).to_csv(tmp_path / "holdout.csv", index=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PROMOTION_DATABASE_URL", SECRET)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRET)
    return tmp_path


def scored(home: Path, body: str, **limits: Any) -> Any:
    """Score a model whose code does this first."""
    for name, value in {"REPOSITORY": REPOSITORY, "HOLDOUT": home / "holdout.csv", "HOME": home}.items():
        body = body.replace(name, str(value))
    folder = save_code(
        home / "model", f"{textwrap.dedent(body).strip()}\nreturn np.ones(len(rows))", customers(50)[FEATURES]
    )
    rules = {"code": "sandbox", "timeout": "40s", "memory_mb": 900, "disk_mb": 50, **limits}
    return ReceivedEvaluator(a_received_family(artifacts=rules), home).evaluate(folder)


@pytest.mark.system
@pytest.mark.needs("bwrap")
@pytest.mark.timeout(300)
def test_a_model_sees_no_secret(home: Path) -> None:
    """Neither keys nor the environment, the repository, the targets, or anybody's files; it is scored all the same."""
    assert 50 == scored(home, LOOKS).rows


@pytest.mark.system
@pytest.mark.needs("bwrap")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_a_refusal_in_one_line(home: Path, attack: str) -> None:
    """Whatever it tries, it fails inside, is ended at a limit, or answers what is no answer."""
    body, reason = ATTACKS[attack]
    patience = {"timeout": "10s"} if attack == "never ends" else {}
    with socket.create_server(("127.0.0.1", 0)) as server:
        with pytest.raises(ModelFailed, match=reason) as caught:
            scored(home, body.replace("PORT", str(server.getsockname()[1])), **patience)
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()
    assert 1 == len(str(caught.value).splitlines())
    assert not (REPOSITORY / "src" / "evil.py").exists()
    assert [] == left_over(home)


@pytest.mark.system
@pytest.mark.needs("bwrap")
@pytest.mark.timeout(300)
def test_it_does_not_outlive_its_parent(home: Path) -> None:
    """Killed, the process that scores takes the model and all its children along."""
    save_code(home / "model", 'subprocess.Popen(["sleep", "7531"]); time.sleep(7531)', customers(50)[FEATURES])
    script = (
        "from tests.promotion.evaluation.received.made import *; import pathlib\n"
        "from promotion.evaluation.received.evaluator import ReceivedEvaluator\n"
        f"home = pathlib.Path({str(home)!r}); family = a_received_family(artifacts={{'code': 'sandbox'}})\n"
        "ReceivedEvaluator(family, home).evaluate(home / 'model')"
    )
    paths = {"PYTHONPATH": f"{REPOSITORY / 'src'}:{REPOSITORY}"}
    with subprocess.Popen([sys.executable, "-c", script], env={**os.environ, **paths}) as parent:
        until(lambda: any("7531" in line for line in processes()))
        parent.kill()
    until(lambda: not any("7531" in line for line in processes()))


def processes() -> list[str]:
    """The command line of every process of this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        except OSError:
            continue
    return found


def left_over(home: Path) -> list[str]:
    """Processes of a sandbox with this home's model in it."""
    return [line for line in processes() if str(home) in line and "bwrap" in line]


def until(condition: Any) -> None:
    """Wait for something, a minute at most."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_without_bubblewrap_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """And on which machine the version can be scored instead."""
    monkeypatch.setenv("PATH", "/nowhere")
    sandbox._problem.cache_clear()
    with pytest.raises(PromotionError, match=r"needs the program bwrap.*apt-get install bubblewrap"):
        sandbox.require_sandbox(RunLimits())
    sandbox._problem.cache_clear()


def test_where_it_does_not_start_it_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As bubblewrap says it, where namespaces are off."""
    for name in ("bwrap", "prlimit", "setpriv"):
        (tmp_path / name).write_text(
            "#!/bin/sh\necho 'bwrap: Creating new namespace failed: Operation not permitted' >&2\nexit 1\n"
        )
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    sandbox._problem.cache_clear()
    with pytest.raises(PromotionError, match="does not start here: bwrap: Creating new namespace failed") as caught:
        sandbox.require_sandbox(RunLimits())
    assert 1 == len(str(caught.value).splitlines())
    sandbox._problem.cache_clear()
