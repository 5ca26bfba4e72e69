"""Read a YAML file of ours with the line of everything in it; what reads otherwise than it looks is refused."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from promotion.errors import ConfigError

MAX_BYTES = 1_000_000
MAX_DEPTH = 40
MAX_NODES = 100_000
"""Values of one file, each alias counted as what it stands for."""

_CONFLICT = re.compile(r"^(<{7}|>{7})(?= |$)", re.MULTILINE)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_TAB = re.compile(r"^ *\t")
_INTEGER, _REAL, _MERGE, _TEXT = (f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "merge", "str"))
_NUMBERS = (_INTEGER, _REAL)
_OTHER_BASE = re.compile(r"[-+]?0[0-7_]+|.*:.*")
_KINDS = {"bool": "a yes/no value", "int": "a number", "float": "a number", "timestamp": "a date", "null": "nothing"}
# From so many brackets and dashes, or commas and lines on, depth and number are measured before anything is built.
_SUSPICIOUS, _MANY = 500, 5000
_SHOWN = 60
_LONGEST_NUMBER = 400
"""Characters of what is no text: PyYAML multiplies the parts of 1:59:59:… one by one."""
# Every command reads every family's file; libyaml does it six times faster, where PyYAML was built with it.
FASTEST_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(FASTEST_LOADER):  # type: ignore[misc]  # chosen at run time
    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002  # PyYAML's
        try:
            return super().construct_object(node, deep)
        except ValueError as error:
            value = str(node.value)[:_SHOWN]
            raise ConstructorError(None, None, f"{value} is no value: {error}", node.start_mark) from error


@dataclass(frozen=True, slots=True)
class YamlPlace:
    """Where a key stands.

    Attributes:
        line: Counted from 1.
        keys: As much of the key's path as the file has.
        node: The value there.
    """

    line: int
    keys: tuple[str | int, ...]
    node: yaml.Node | None


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """A file's content, and where each part of it stands.

    Attributes:
        path: The file.
        content: Plain data; None when the file is empty.
        root: The same as YAML's nodes.
        sha256: Digest of the bytes that were read.
    """

    path: Path
    content: Any
    root: yaml.Node | None
    sha256: str

    def place(self, keys: Sequence[str | int]) -> YamlPlace:
        """The deepest place on the way to a key; what the file has no name for is passed over."""
        node, line, found = self.root, 1, []
        for key in keys:
            if entry := _child(node, key):
                line, node = line_of(entry[0]), entry[1]
                found.append(key)
        return YamlPlace(line, tuple(found), node)


def read_yaml(path: Path, max_bytes: int = MAX_BYTES, *, numbered: str | None = None) -> YamlDocument:
    """Read a file.

    Args:
        path: The file.
        max_bytes: Its largest size.
        numbered: The section whose keys may be whole numbers, too; everywhere else keys are texts.

    Raises:
        ConfigError: It cannot be read, is no YAML, names a key twice, or is too large or too deep; in one line with
            file, line and what to do.
    """
    text, sha256 = _text(path, max_bytes)
    try:
        deep, long = (sum(map(text.count, marks)) for marks in (("[", "{", "- ", "? "), (",", "\n")))
        if deep > _SUSPICIOUS or long > _MANY:
            _require_small(path, text)
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            if root is not None:
                _Check(path, numbered).measure(root, (), 0)
            content = None if root is None else loader.construct_document(root)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise _unreadable(path, text, error) from error
    except RecursionError as error:
        raise _too_deep(path, 1) from error
    return YamlDocument(path, content, root, sha256)


def described(node: yaml.Node | None) -> str:
    """What stands at a place, in a few words."""
    if isinstance(node, yaml.MappingNode):
        return f"a section of {len(node.value)} keys"
    if isinstance(node, yaml.SequenceNode):
        return f"a list of {len(node.value)}"
    if node is None or kind_of(node) == "nothing":
        return "nothing"
    text = node.value if len(node.value) <= _SHOWN else f"{node.value[:_SHOWN]}…"
    return repr(text) if node.tag == _TEXT else str(text)


def line_of(node: yaml.Node | yaml.Event) -> int:
    """Where a node begins, counted from 1."""
    return int(node.start_mark.line) + 1 if node.start_mark else 1


def kind_of(node: yaml.Node | None) -> str:
    """What YAML takes an unquoted word for where that is no text; empty for texts, lists and sections."""
    return _KINDS.get(str(node and node.tag).rpartition(":")[2], "")


def _text(path: Path, max_bytes: int) -> tuple[str, str]:
    """A file's text, and the digest of its bytes."""
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > max_bytes:
        raise ConfigError(f"{path}: larger than {max_bytes:,} bytes: this is no file that people write; shorten it")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: not readable as YAML: no UTF-8 text; save the file as UTF-8") from error
    if mark := _CONFLICT.search(text):
        message = "a merge conflict was left here; keep one of the two versions and remove the lines with the marks"
        raise ConfigError(f"{path}:{_line(text, mark.start())}: {message}")
    if control := _CONTROL.search(text):
        message = f"not readable as YAML: a control character (0x{ord(control[0]):02x}); remove it"
        raise ConfigError(f"{path}:{_line(text, control.start())}: {message}")
    return text, hashlib.sha256(content).hexdigest()


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _require_small(path: Path, text: str) -> None:
    """Count before anything is built."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, FASTEST_LOADER)):
        if number > MAX_NODES:
            raise ConfigError(f"{path}:{line_of(event)}: more than {MAX_NODES:,} values; shorten it")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _too_deep(path, line_of(event))


def _too_deep(path: Path, line: int) -> ConfigError:
    return ConfigError(f"{path}:{line}: sections in sections, more than {MAX_DEPTH} deep; check the brackets")


def _unreadable(path: Path, text: str, error: yaml.YAMLError) -> ConfigError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    lines = text.split("\n")
    at = min(mark.line, len(lines) - 1) if mark else 0
    if _TAB.match(lines[at]):
        return ConfigError(f"{path}:{at + 1}: not readable as YAML: a tab in the indentation; YAML takes blanks only")
    problem = " ".join(str(getattr(error, "problem", None) or error).split())
    began = getattr(error, "context_mark", None)
    since = f", in what begins in line {began.line + 1}" if began and began.line < at else ""
    advice = "look for a missing quote, bracket, colon or blank"
    return ConfigError(f"{path}:{at + 1}: not readable as YAML: {problem}{since}; {advice}")


def _child(node: yaml.Node | None, key: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """What stands under a key or at a position, after the node that names it."""
    if isinstance(node, yaml.SequenceNode) and str(key).isdecimal() and int(key) < len(node.value):
        return node.value[int(key)], node.value[int(key)]
    if isinstance(node, yaml.MappingNode):
        # Building the data has put what was merged before a section's own keys, which count.
        return next(((name, value) for name, value in reversed(node.value) if name.value == str(key)), None)
    return None


class _Check:
    """Looks at every node once, before anything is built of them."""

    def __init__(self, path: Path, numbered: str | None) -> None:
        self._path = path
        self._numbered = (numbered,)
        self._known: dict[int, tuple[int, int]] = {}

    def measure(self, node: yaml.Node, keys: tuple[str, ...], depth: int) -> tuple[int, int]:
        """How many values stand below a node, aliases written out, and how deep."""
        line = line_of(node)
        if depth > MAX_DEPTH:
            raise _too_deep(self._path, line)
        if id(node) in self._known:
            size, height = self._known[id(node)]
            if not size:
                raise ConfigError(f"{self._path}:{line}: {'.'.join(keys)}: an alias to itself; write the value out")
            return size, height
        self._known[id(node)] = 0, 0
        if isinstance(node, yaml.ScalarNode) and node.tag != _TEXT and len(node.value) > _LONGEST_NUMBER:
            kind = kind_of(node) or "a value"
            raise ConfigError(f"{self._path}:{line}: {'.'.join(keys)}: {kind} of {len(node.value):,} characters")
        self._require_number_as_it_looks(node, keys)
        below = [self.measure(child, where, depth + 1) for child, where in self._below(node, keys)]
        size, height = 1 + sum(size for size, _ in below), 1 + max((height for _, height in below), default=0)
        if size > MAX_NODES:
            message = f"aliases that stand for more than {MAX_NODES:,} values; write out what is meant"
            raise ConfigError(f"{self._path}:{line}: {'.'.join(keys)}: {message}")
        if depth + height > MAX_DEPTH + 1:
            raise _too_deep(self._path, line)
        self._known[id(node)] = size, height
        return size, height

    def _below(self, node: yaml.Node, keys: tuple[str, ...]) -> Iterator[tuple[yaml.Node, tuple[str, ...]]]:
        if isinstance(node, yaml.SequenceNode):
            yield from ((child, (*keys, str(position))) for position, child in enumerate(node.value))
        elif isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for name, value in node.value:
                where = (*keys, described(name) if name.tag != _TEXT else name.value)
                self._require_name(name, where)
                line = line_of(name)
                if name.value in lines:
                    message = f"this key stands here and in line {lines[name.value]}; keep one of the two"
                    raise ConfigError(f"{self._path}:{line}: {'.'.join(where)}: {message}")
                lines[name.value] = line
                yield value, where

    def _require_number_as_it_looks(self, node: yaml.Node, keys: tuple[str, ...]) -> None:
        if node.tag not in _NUMBERS or not _OTHER_BASE.fullmatch(node.value):
            return
        read = yaml.safe_load(node.value)
        if ":" in node.value or read != int(node.value.replace("_", "")):
            message = f'YAML reads {node.value} as {read}; write that number, or in quotes, "{node.value}", a text'
            raise ConfigError(f"{self._path}:{line_of(node)}: {'.'.join(keys)}: {message}")

    def _require_name(self, name: yaml.Node, where: tuple[str, ...]) -> None:
        if name.tag not in {_TEXT, _MERGE} and not (name.tag == _INTEGER and where[:-1] == self._numbered):
            kind = kind_of(name) or described(name)
            quoted = f'write it in quotes: "{name.value}"' if isinstance(name, yaml.ScalarNode) else "write a text"
            message = f"a key is a text, and YAML reads this one as {kind}; {quoted}"
            raise ConfigError(f"{self._path}:{line_of(name)}: {'.'.join(where)}: {message}")
