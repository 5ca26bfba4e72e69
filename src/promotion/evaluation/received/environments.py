"""The libraries a model was trained with: installed from its own requirements, once, outside the sandbox.

Nothing of the model's choosing is built or fetched from elsewhere: wheels only, from the package index of this machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from promotion.artifacts.requirements import is_plain
from promotion.config.document import read_yaml
from promotion.errors import ConfigError, PromotionError

_TIMEOUT_SECONDS = 900
_MAX_BYTES = 1024**2
# Where and how pip would look; what names anything to be installed, or held to a version, is none of these.
_INDEX_OPTION = re.compile(
    r"-[if]|--(?:(?:extra-)?index-url|find-links|no-index|trusted-host|pre|prefer-binary|require-hashes|"
    r"(?:no|only)-binary|use-feature)\b"
)
# How the worker is asked, in whatever version the model allows; and what older libraries take for given.
_OURS = ("pyarrow", "pandas", "setuptools<81")


class EnvironmentRefused(PromotionError):
    """The environment of a model's requirements cannot be made."""


def model_environment(folder: Path, cache: Path | None = None) -> Path:
    """The interpreter of the environment that a model's own files describe, made when it is asked for first.

    Args:
        folder: The model's files.
        cache: Where environments are kept, by the digest of what is in them.

    Raises:
        EnvironmentRefused: Its requirements are missing, lead elsewhere or cannot be installed, its Python is not on
            this machine, or uv is not installed.
    """
    requirements, version = _requirements(folder), _python_version(folder)
    requirements += _missing(requirements)
    python = _interpreter(version)
    recipe = json.dumps([requirements, str(python), platform.machine(), platform.libc_ver()])
    place = (cache or _cache()) / hashlib.sha256(recipe.encode()).hexdigest()[:32]
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{place}.lock", timeout=_TIMEOUT_SECONDS):
            if not (place / "complete").is_file():
                _build(place, python, requirements)
    except Timeout as error:
        raise EnvironmentRefused(f"{place}.lock: another process has been building there for too long") from error
    except OSError as error:
        raise EnvironmentRefused(f"{place}: the model's environment cannot be made: {error.strerror}") from error
    return place / "bin" / "python"


def _build(place: Path, python: Path, requirements: list[str]) -> None:
    shutil.rmtree(place, ignore_errors=True)
    _uv("venv", "--quiet", "--python", str(python), str(place), why="the model's environment cannot be made")
    listed = place / "requirements.txt"
    listed.write_text("\n".join(requirements) + "\n", encoding="utf-8")
    _uv(
        *("pip", "install", "--quiet", "--python", str(place / "bin" / "python"), "--only-binary", ":all:"),
        *("--requirement", str(listed)),
        why="the model's requirements cannot be installed as wheels",
        folder=place,
    )
    (place / "complete").touch()


def _uv(*arguments: str, why: str, folder: Path | None = None) -> str:
    """Run uv where no file of a project or of the model tells it what to do."""
    variables = {**os.environ, "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}
    try:
        process = subprocess.run(  # noqa: S603  # our own arguments; requirements are in a file
            [sys.executable, "-m", "uv", *arguments],
            cwd=folder or "/",
            env=variables,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EnvironmentRefused(f"{why}: not done within {_TIMEOUT_SECONDS} s") from error
    if process.returncode:
        if "No module named uv" in process.stderr:
            raise EnvironmentRefused("environment: model needs uv: pip install 'promotion-layer[evaluate]'")
        raise EnvironmentRefused(f"{why}: {_reason(process.stderr)}; or write environment: current")
    return process.stdout


def _reason(talk: str) -> str:
    """What uv said, in one line without its drawings."""
    words = re.sub(r"[│├╰╭─▶×╴]+", " ", talk).split()
    return " ".join(words)[:300]


def _missing(requirements: list[str]) -> list[str]:
    named = {_name(line) for line in requirements}
    return [line for line in _OURS if _name(line) not in named]


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def _requirements(folder: Path) -> list[str]:
    path = folder / "requirements.txt"
    lines = _text(path).splitlines() if path.is_file() else _conda_lines(folder / "conda.yaml")
    if lines is None:
        raise EnvironmentRefused("environment: model needs the model's requirements.txt, which its files do not have")
    kept = []
    for number, line in enumerate(lines, start=1):
        wanted = line.partition(" #")[0].strip()
        if not wanted or wanted.startswith("#") or _INDEX_OPTION.match(wanted):
            continue
        if not is_plain(wanted):
            raise EnvironmentRefused(
                f"requirements.txt line {number}: {wanted[:100]!r} installs from elsewhere, which is not followed: "
                "name a version on the package index, or write environment: current"
            )
        kept.append(wanted)
    return sorted(kept)


def _conda_lines(path: Path) -> list[str] | None:
    if not path.is_file():
        return None
    parts = _yaml(path).get("dependencies", [])
    return [str(line) for part in parts if isinstance(part, dict) for line in part.get("pip", [])]


def _python_version(folder: Path) -> str:
    """Major and minor of the Python the model was trained with; of this process where its files do not say."""
    for name in ("python_env.yaml", "conda.yaml"):
        if (path := folder / name).is_file():
            document = _yaml(path)
            stated = [
                document.get("python"),
                *(part for part in document.get("dependencies", []) if isinstance(part, str)),
            ]
            for text in stated:
                if text and (found := re.fullmatch(r"(?:python[=<> ]*)?(\d+\.\d+)(?:\.\S*)?", str(text))):
                    return found[1]
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _interpreter(version: str) -> Path:
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return Path(sys.base_prefix, "bin", f"python{version}")
    advice = (
        f"the model wants Python {version}, which is not on this machine: score it on a machine that has it, "
        f"install it (uv python install {version}), or write environment: current"
    )
    try:
        return Path(_uv("python", "find", "--no-project", version, why="").strip())
    except EnvironmentRefused as error:
        raise error if "needs uv" in str(error) else EnvironmentRefused(advice) from error


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "promotion-layer" / "environments"


def _text(path: Path) -> str:
    if path.stat().st_size > _MAX_BYTES:
        raise EnvironmentRefused(f"{path.name}: larger than {_MAX_BYTES // 1024**2} MB, and was not read")
    return path.read_text(encoding="utf-8", errors="replace")


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = read_yaml(path, _MAX_BYTES).content
    except ConfigError as error:
        raise EnvironmentRefused(f"{path.name}{str(error).removeprefix(str(path))}") from error
    return content if isinstance(content, dict) else {}
