"""The sandbox a model that runs code is scored in: bubblewrap, without network, home, secrets or write access.

Inside are the interpreter with its libraries, the model, the worker, and one folder that can be written to, of bounded
size. Started as root, the model runs as an unprivileged user all the same, whom the limit on processes binds.
"""

from __future__ import annotations

import os
import random
import shutil
import site
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from promotion.config.evidence import RunLimits
from promotion.errors import PromotionError

INSIDE = Path("/run/promotion")
MODEL, WORKER, PRIVATE = INSIDE / "model", INSIDE / "worker.py", Path("/tmp")  # noqa: S108  # the sandbox's own
PROCESSES = 256
_BESIDE_WORKER = tuple(Path(__file__).with_name(name) for name in ("openmp.py", "translation.py"))
_FILES = 1024
_MEGABYTE = 1_000_000
_PROBE_SECONDS = 30
# systemd's range for users that exist only while a service runs: nobody else's processes count against the limit.
_UNPRIVILEGED = range(61_184, 65_520)
_SYSTEM = (
    "/usr",
    "/lib",
    "/lib64",
    "/lib32",
    "/bin",
    "/sbin",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/alternatives",
)
_PROGRAMS = {"bwrap": "bubblewrap", "prlimit": "util-linux", "setpriv": "util-linux"}


class SandboxUnavailable(PromotionError):
    """Code cannot be run safely on this machine."""


def sandboxed(
    command: Sequence[str], model: Path, worker: Path, limits: RunLimits, prefixes: Iterable[Path]
) -> list[str]:
    """The command line that runs a command in the sandbox.

    Args:
        command: Program and arguments, with paths as they are inside.
        model: Folder of the model, seen as `MODEL`.
        worker: File of the worker, seen as `WORKER`.
        limits: What the model may use.
        prefixes: Folders of the interpreter and its libraries, seen where they are.

    Raises:
        SandboxUnavailable: A program is missing.
    """
    found = {name: _program(name, package) for name, package in _PROGRAMS.items()}
    disk = str(limits.disk_mb * _MEGABYTE)
    # Root needs no user namespace to leave its rights behind, and cannot become another user inside one.
    users = [] if _is_root() else ["--unshare-user"]
    become = [found["setpriv"], *_no_rights()] if _is_root() else []
    return [
        found["bwrap"],
        *("--die-with-parent", "--new-session", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"),
        *("--unshare-cgroup-try", "--hostname", "sandbox", *users),
        *(() if _is_root() else ("--cap-drop", "ALL")),
        # First what is everybody's: an interpreter may lie in the very folder that becomes the private one.
        *("--perms", "1777", "--size", disk, "--tmpfs", str(PRIVATE)),
        *_read_only([*map(Path, _SYSTEM), *prefixes]),
        *_folders(INSIDE),
        *("--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--size", disk, "--tmpfs", "/dev/shm"),  # noqa: S108
        *("--ro-bind", str(model), str(MODEL), "--ro-bind", str(worker), str(WORKER)),
        *(word for file in _BESIDE_WORKER for word in ("--ro-bind", str(file), str(INSIDE / file.name))),
        *("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", str(PRIVATE), "--"),
        *_limits(found["prlimit"], limits),
        *become,
        *command,
    ]


def interpreter_prefixes(python: Path) -> list[Path]:
    """The folders an interpreter of this process's kind needs, links that lead on included.

    Args:
        python: Of this process, or of an environment that was made for a model.
    """
    own = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.exec_prefix)}
    if site.ENABLE_USER_SITE and (packages := Path(site.getusersitepackages())).is_dir():
        own.add(packages)
    if python != Path(sys.executable):
        own = {python.parent.parent}
    step = python
    while step.is_symlink():
        step = step.parent / step.readlink()
        own.add(step.parent.parent)
    return sorted(own)


def environment() -> dict[str, str]:
    """Everything that a model in the sandbox sees of the environment."""
    private = str(PRIVATE)
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": private,
        "TMPDIR": private,
        "USER": "sandbox",
        "LANG": "C.UTF-8",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "true",
        "MLFLOW_TRACKING_URI": f"sqlite:///{private}/mlflow.db",
        "GIT_PYTHON_REFRESH": "quiet",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def require_sandbox(limits: RunLimits) -> None:
    """Start the sandbox once with nothing in it.

    Raises:
        SandboxUnavailable: It does not start; the message says why, and what to install or allow.
    """
    if problem := _problem(limits):
        raise SandboxUnavailable(problem)


@cache
def _problem(limits: RunLimits) -> str:
    python = Path(sys.executable)
    advice = "score the version on a machine where it can run"
    with TemporaryDirectory(prefix="sandbox-") as empty:
        try:
            process = subprocess.run(  # noqa: S603  # our own command line
                sandboxed(
                    [str(python), "-I", "-S", "-c", ""],
                    readable(Path(empty)),
                    Path(__file__),
                    limits,
                    interpreter_prefixes(python),
                ),
                env=environment(),
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_PROBE_SECONDS,
                check=False,
            )
        except SandboxUnavailable as error:
            return str(error)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"the sandbox does not start here: {' '.join(str(error).split())}: {advice}"
    if not process.returncode:
        return ""
    said = (process.stderr.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
    return (
        f"the sandbox does not start here: {said}: bubblewrap 0.8 or newer is needed, and namespaces "
        f"(kernel.unprivileged_userns_clone; in a container --security-opt seccomp=unconfined); {advice}"
    )


def readable(folder: Path) -> Path:
    """A private copy, made readable for the unprivileged user; nobody else reaches it from outside."""
    if _is_root():
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def _program(name: str, package: str) -> str:
    if path := shutil.which(name):
        return path
    raise SandboxUnavailable(
        f"the sandbox needs the program {name}, which is not on this machine: apt-get install {package}, or score the "
        "version on a machine that has it"
    )


def _is_root() -> bool:
    return os.geteuid() == 0


def _no_rights() -> list[str]:
    user = random.SystemRandom().choice(_UNPRIVILEGED)
    return [
        *(f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs"),
        *("--inh-caps=-all", "--bounding-set=-all"),
    ]


def _limits(prlimit: str, limits: RunLimits) -> list[str]:
    seconds = int(limits.timeout.total_seconds()) * (os.cpu_count() or 1)
    return [
        prlimit,
        *(f"--data={limits.memory_mb * _MEGABYTE}", f"--fsize={limits.disk_mb * _MEGABYTE}", f"--cpu={seconds}"),
        *(f"--nproc={PROCESSES}", f"--nofile={_FILES}", "--core=0", "--"),
    ]


def _read_only(paths: Iterable[Path]) -> Iterator[str]:
    """Binds of what is there, nothing within something that is bound already; links of the system stay links."""
    bound: list[Path] = []
    for path in paths:
        if path.is_symlink() and len(path.parts) <= 2:  # noqa: PLR2004  # such as /bin, which is /usr/bin
            yield from ("--symlink", str(path.readlink()), str(path))
            bound.append(path)
        elif path.exists() and not any(path.is_relative_to(other) for other in bound):
            yield from _folders(path.parent)
            yield from ("--ro-bind", str(path), str(path))
            bound.append(path)


def _folders(path: Path) -> Iterator[str]:
    """A folder with those above it, which whoever the model runs as may pass through."""
    for folder in reversed([path, *path.parents][:-1]):
        yield from ("--perms", "0755", "--dir", str(folder))
