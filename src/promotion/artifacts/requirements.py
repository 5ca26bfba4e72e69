"""Where a model's own requirements would fetch code from, beside the package index of whoever installs them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import yaml

from promotion.artifacts.declared_dangers import LEADS_OUT
from promotion.artifacts.description import read_description
from promotion.config.document import line_of, read_yaml
from promotion.errors import ArtifactRefused, ConfigError

FILES = ("requirements.txt", "conda.yaml", "python_env.yaml")
"""The files by which MLflow rebuilds a model's environment, where its MLmodel names no others."""
_MAX_BYTES = 1024**2
_CHANNELS = frozenset({"conda-forge", "defaults", "nodefaults"})
_OWN = re.compile(r"(?:-r|--requirement)[=\s]\s*requirements\.txt")
# A name with extras, versions and a condition, as PEP 508 writes it without an address; pip's hashes may follow.
_PLAIN = re.compile(
    r"[A-Za-z0-9](?:[\w.-]*\w)?\s*(?:\[[\w\s,.-]*\])?\s*\(?\s*"
    r"(?:(?:===?|~=|!=|<=?|>=?|=)\s*[\w.*+!-]+\s*,?\s*)*\)?\s*(?:;[^@/\\]*)?(?:\s--hash[=:]\S+)*"
)
# pip's options that fetch from nowhere else.
_HARMLESS = re.compile(r"--(?:pre|no-index|prefer-binary|require-hashes|(?:only|no)-binary[=\s]\s*[\w:,.-]+)")
_ARCHIVE = re.compile(r"\.(?:whl|zip|tar|tgz|tbz|tar\.\w+)$", re.IGNORECASE)
# A comment by which pip chooses how it reads a file (PEP 263).
_CODING = re.compile(r"^[ \t\f]*#.*?coding[:=][ \t]*(?!utf-?8\b|ascii\b)([-\w.]+)", re.MULTILINE | re.IGNORECASE)
_COMMENT = re.compile(r"(?:^|\s)#.*")


def foreign_requirements(folder: Path) -> list[str]:
    """The lines that name an index, an address, a repository, a path or another file, one finding a line.

    They run no code when the model is loaded, so they are remarks and no refusal; whoever builds the environment from
    them installs whatever lies there.
    """
    names = dict.fromkeys([*FILES, *_named_files(folder)])
    return [remark for name in names for remark in _remarks(folder, name)]


def _named_files(folder: Path) -> Iterator[str]:
    """The files that MLmodel names in place of the usual ones; a path that leads out is a danger of its own."""
    try:
        function = read_description(folder)["flavors"].get("python_function")
    except ArtifactRefused:
        return
    named = function.get("env") if isinstance(function, dict) else None
    # MLflow 1 named conda's file alone.
    for name in named.values() if isinstance(named, dict) else [named]:
        if isinstance(name, str) and not LEADS_OUT.match(name):
            yield str(PurePosixPath(name))


def _remarks(folder: Path, name: str) -> Iterator[str]:
    path = folder / name
    if not path.is_file():
        return
    if path.stat().st_size > _MAX_BYTES:
        yield f"{name} is larger than {_MAX_BYTES // 1024**2} MB and was not read"
        return
    try:
        found = list(_lines(path) if path.suffix == ".txt" else _values(path))
    except ConfigError as error:
        yield f"{name}{str(error).removeprefix(str(path))}"
        return
    written = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, text in found:
        if not is_plain(text):
            line = written[number - 1]
            yield f"{name} line {number} installs from elsewhere: {(line if text in line else text).strip()!a}"
    if path.suffix == ".txt" and (coding := _CODING.search("\n".join(written[:2]))):
        yield f"{name} is read by pip as {coding[1]}, in which its lines may say something else"


def is_plain(text: str) -> bool:
    """Whether a requirement names a package of the index, or an option that leads nowhere else, and nothing more."""
    line = _COMMENT.sub("", text).strip()
    name = line.partition(";")[0].split("[")[0].strip()
    return not line or bool(_HARMLESS.fullmatch(line) or (_PLAIN.fullmatch(line) and not _ARCHIVE.search(name)))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """As pip reads them: a backslash joins a line with the next."""
    begun, joined = 0, ""
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        begun = begun or number
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            joined += line[:-1]
            continue
        yield begun, joined + line
        begun, joined = 0, ""
    if joined:
        yield begun, joined


def _values(path: Path) -> Iterator[tuple[int, str]]:
    """The requirements that a YAML file lists, channels that are not known, and variables, which configure pip, too."""
    root = read_yaml(path, _MAX_BYTES).root
    for name, value in root.value if isinstance(root, yaml.MappingNode) else ():
        if name.value in {"variables", "prefix"}:
            yield from ((line, f"{name.value}: {text}") for line, text in _scalars(value))
        elif name.value == "channels":
            yield from ((line, f"channel {text}") for line, text in _scalars(value) if text not in _CHANNELS)
        elif name.value in {"dependencies", "build_dependencies"}:
            yield from ((line, text) for line, text in _scalars(value) if not _OWN.fullmatch(text))


def _scalars(node: yaml.Node) -> Iterator[tuple[int, str]]:
    """Every value below a node; of a section, as conda's `pip:`, not its names."""
    if isinstance(node, yaml.ScalarNode):
        yield line_of(node), str(node.value)
    for child in node.value if isinstance(node, yaml.CollectionNode) else ():
        yield from _scalars(child[1] if isinstance(child, tuple) else child)
