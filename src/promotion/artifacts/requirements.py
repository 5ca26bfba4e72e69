"""Where a model's own requirements would fetch code from, beside the package index of whoever installs them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

FILES = ("requirements.txt", "conda.yaml", "python_env.yaml")
"""The files by which MLflow rebuilds a model's environment."""
_MAX_BYTES = 1024**2
# pip's options that name an index or trust a host, version control, archives by URL, paths, editable installs.
_ELSEWHERE = re.compile(
    r"(?:^|\s)(?:-i|-f|-e|--(?:index-url|extra-index-url|find-links|trusted-host|editable))(?:[=\s]|$)"
    r"|(?:^|[\s@'\"])(?:(?:git|hg|svn|bzr)\+|(?:https?|ftp|file):)"
    r"|^\s*(?:-\s+)?['\"]?(?:\.{1,2}/|/|~/|[A-Za-z]:[\\/])"
)


def foreign_requirements(folder: Path) -> list[str]:
    """The lines that name an index, an address, a repository or a path, one finding a line.

    They run no code when the model is loaded, so they are remarks and no refusal; whoever builds the environment from
    them installs whatever lies there.

    Args:
        folder: A version's files.
    """
    return [remark for name in FILES for remark in _remarks(folder / name)]


def _remarks(path: Path) -> Iterator[str]:
    if not path.is_file():
        return
    if path.stat().st_size > _MAX_BYTES:
        yield f"{path.name} is larger than {_MAX_BYTES // 1024**2} MB and was not read"
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        if _ELSEWHERE.search(line.partition(" #")[0]) and not line.lstrip().startswith("#"):
            yield f"{path.name} line {number} installs from elsewhere: {line.strip()!a}"
