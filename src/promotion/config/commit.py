"""The commit a checkout is at: of the code that trained a model, or that serves it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT_SECONDS = 10


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


def current_commit(folder: Path) -> Commit | None:
    """The commit `folder` is at; None without git or outside a repository."""
    sha = _git(folder, "rev-parse", "HEAD")
    if sha is None:
        return None
    dirty = bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    return Commit(sha, dirty, author=_git(folder, "show", "--no-patch", "--format=%ae", sha) or "")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(  # noqa: S603  # fixed arguments, no shell
            ["git", "-C", str(folder), *arguments],  # noqa: S607  # git is wherever the user has it
            capture_output=True,
            text=True,
            check=True,
            timeout=_TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
