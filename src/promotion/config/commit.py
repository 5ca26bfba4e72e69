"""The commit a checkout is at: of the code that trained a model, of the rules that decide about it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT_SECONDS = 10
_ELSEWHERE = {
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
}
"""Variables that would have git answer for another repository."""

COMMITTED = "committed"
MODIFIED = "modified"
UNCOMMITTED = "uncommitted"
NO_FILE = "no file"
NO_REPOSITORY = "in no git repository"
NO_GIT = "unknown: git is not installed"


@dataclass(frozen=True, slots=True)
class Commit:
    """The checked-out commit; `dirty` when tracked files differ from it.

    Attributes:
        sha: 40 hexadecimal digits.
        author: E-mail address of who wrote it.
    """

    sha: str
    dirty: bool
    author: str = ""


@dataclass(frozen=True, slots=True)
class FileState:
    """Where a file stands in the git repository that holds it.

    Attributes:
        file: Its path in the repository, or its name outside of one; empty when there is none.
        state: `COMMITTED` when the commit holds it byte for byte, `MODIFIED`, `UNCOMMITTED`, or why nobody can tell.
        commit: What is checked out; None when that is unknown.
        dirty: Whether tracked files of the repository differ from the commit; None when that is unknown.
    """

    file: str
    state: str
    commit: str | None = None
    dirty: bool | None = None


def current_commit(folder: Path) -> Commit | None:
    """The commit `folder` is at; None without git or outside a repository."""
    sha = _said(folder, "rev-parse", "HEAD")
    if sha is None:
        return None
    dirty = bool(_said(folder, "status", "--porcelain", "--untracked-files=no"))
    return Commit(sha, dirty, author=_said(folder, "show", "--no-patch", "--format=%ae", sha) or "")


def source_address(folder: Path) -> str:
    """Where the checkout comes from, without a login; empty where it has no remote called origin."""
    address = _said(folder, "remote", "get-url", "origin") or ""
    scheme, mark, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}" if mark else address


def file_state(path: Path, sha256: str | None) -> FileState:
    """Where a file, as it was read, stands in its repository.

    What was read is compared with the commit itself: the index can be told to overlook a change.

    Args:
        path: The file, or a folder in place of one that is missing.
        sha256: Digest of the bytes that were read; None for no file.
    """
    real = path.resolve()
    folder = real if sha256 is None else real.parent
    top = next((parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), None)
    name = "" if sha256 is None else real.relative_to(top).as_posix() if top else path.name
    if top is None:
        return FileState(name, NO_REPOSITORY if name else NO_FILE)
    try:
        head = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
        if head.stderr:
            return FileState(name, f"unknown: {_last_line(head.stderr)}")
        commit = head.stdout.decode().strip() or None
        state = _state(folder, real.name, sha256) if name else NO_FILE
        changes = _git(folder, "status", "--porcelain", "--untracked-files=no").stdout
    except FileNotFoundError:
        return FileState(name, NO_GIT)
    except (OSError, subprocess.SubprocessError) as error:
        return FileState(name, f"unknown: {error}")
    return FileState(name, state, commit, bool(changes) or state in {MODIFIED, UNCOMMITTED})


def _state(folder: Path, name: str, sha256: str | None) -> str:
    held = _git(folder, "cat-file", "blob", f"HEAD:./{name}")
    if held.returncode:
        return UNCOMMITTED
    return COMMITTED if hashlib.sha256(held.stdout).hexdigest() == sha256 else MODIFIED


def _last_line(text: bytes) -> str:
    lines = [line for line in text.decode(errors="replace").splitlines() if line.strip()]
    return next((line for line in lines if line.startswith("fatal:")), lines[-1] if lines else "git failed")


def _said(folder: Path, *arguments: str) -> str | None:
    try:
        answer = _git(folder, *arguments)
    except (OSError, subprocess.SubprocessError):
        return None
    return None if answer.returncode else answer.stdout.decode(errors="replace").strip()


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    # A repository may name a program of its own as its file monitor, and other contents for its objects.
    options = ["--no-replace-objects", "-c", "core.fsmonitor=false", "-C", str(folder)]
    return subprocess.run(  # noqa: S603  # fixed arguments, no shell
        ["git", *options, *arguments],  # noqa: S607  # git is wherever the user has it
        env={name: value for name, value in os.environ.items() if name not in _ELSEWHERE} | {"LC_ALL": "C"},
        capture_output=True,
        check=False,
        timeout=_TIMEOUT_SECONDS,
    )
