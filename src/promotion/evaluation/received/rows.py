"""The owner's holdout: fetched once, digested, its targets kept outside, its rows read chunk by chunk."""

from __future__ import annotations

import hashlib
import shutil
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import mkdtemp
from typing import IO, Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from promotion.config.evidence import HoldoutRows
from promotion.config.printable import first_names
from promotion.data.arrays import FloatArray, IntArray
from promotion.data.tables import read_chunks
from promotion.errors import DataError
from promotion.registry.contract import without_password

_CHUNK = 1 << 20
_MOST_ROWS = 50_000
_FEW = 2


def class_name(value: Any) -> str:
    """A class as text, the same for 1, 1.0, "1" and "1.0", and for true, True and "true"."""
    text = str(value).strip()
    if text.lower() in {"true", "false"}:
        return text.lower()
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() else text


def class_order(name: str) -> tuple[int, float, str]:
    """What classes are sorted by: numbers by value before texts by alphabet."""
    try:
        return 0, float(name), ""
    except ValueError:
        return 1, 0.0, name


def in_order(names: Iterable[str], positive: object) -> list[str]:
    """Classes by name; of two the positive one last, the greater where none is named."""
    found = sorted(set(names), key=class_order)
    if positive is not None and class_name(positive) in found:
        found.sort(key=lambda name: name == class_name(positive))
    return found


def told_classes(own: Iterable[object] | None, known: list[str], positive: object) -> list[str]:
    """The classes: the model's own where it names them in the holdout's words, else the holdout's.

    Args:
        own: What the model calls its classes; None where it does not say.
        known: Those of the holdout.
        positive: As in `in_order`.
    """
    named = [class_name(name) for name in own or ()]
    return in_order(named, positive) if set(named) & set(known) else known


class HoldoutFile:
    """A holdout, read when it is asked for.

    Args:
        rules: What the family's file says of it.
        home: Folder its path is relative to.
        task: Of the family.
        beside: Further columns that are kept in memory, such as those of slices.
    """

    def __init__(self, rules: HoldoutRows, home: Path, task: str, beside: tuple[str, ...] = ()) -> None:
        self._rules = rules
        self._home = home
        self._task = task
        self._beside = beside

    @property
    def name(self) -> str:
        """What messages call it: no password, no token."""
        return without_password(self._rules.path).partition("?")[0]

    @property
    def copy(self) -> Path:
        """A private copy of the file, there as long as this object is.

        Raises:
            DataError: It cannot be fetched.
        """
        return self._copy[0]

    @property
    def sha256(self) -> str:
        """Digest of the bytes that are scored.

        Raises:
            DataError: It cannot be fetched.
        """
        return self._copy[1]

    @cached_property
    def columns(self) -> list[str]:
        """The file's columns, in its order."""
        return [str(name) for name in self._kept[0]]

    @property
    def features(self) -> list[str]:
        """Columns that a model may be fed: a signature may ask for the row's name, group and time, too."""
        return [name for name in self.columns if name != self._rules.target]

    @property
    def plain_features(self) -> list[str]:
        """Columns for a model that does not name what it is fed."""
        rules = self._rules
        return [name for name in self.features if name not in {rules.id, rules.group, rules.time}]

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self._kept[1])

    @property
    def beside(self) -> pd.DataFrame:
        """The columns that are kept: target, group and those of slices."""
        return self._kept[1]

    @property
    def groups(self) -> IntArray | None:
        """To which group each row belongs, numbered from 0; None where none is named."""
        if self._rules.group is None:
            return None
        return np.asarray(pd.factorize(self.beside[self._rules.group], use_na_sentinel=False)[0], dtype=np.int64)

    @cached_property
    def classes(self) -> list[str]:
        """The target's classes by name; of two the positive one last."""
        named = (class_name(value) for value in self.beside[self._rules.target].dropna())
        return in_order(named, self._rules.positive)

    @property
    def target_classes(self) -> IntArray:
        """Class of each row, a position in `classes`."""
        places = {name: place for place, name in enumerate(self.classes)}
        return self.beside[self._rules.target].map(lambda value: places[class_name(value)]).to_numpy(dtype=np.int64)

    @property
    def target_numbers(self) -> FloatArray:
        """The number of each row."""
        return pd.to_numeric(self.beside[self._rules.target]).to_numpy(dtype=np.float64)

    @cached_property
    def problems(self) -> list[str]:
        """Why no model can be scored on it; empty when one can.

        Raises:
            DataError: It cannot be fetched or read.
        """
        rules = self._rules
        if rules.sha256 not in {None, self.sha256}:
            return [f"{self.name}: its sha256 is {self.sha256}, expected {rules.sha256}: it is another file"]
        try:
            columns = self.columns
        except DataError as error:
            if not str(error).endswith(("has a header but no rows", "with a header and rows")):
                raise
            return [f"{self.name}: has no rows: add some"]
        wanted = dict.fromkeys((rules.target, rules.id, rules.group, rules.time, *self._beside))
        if missing := [name for name in wanted if name is not None and name not in columns]:
            shown = first_names(columns)
            what = "the target, " if rules.target in missing else ""
            return [f"{self.name}: column {missing[0]!r} is missing{f' ({what}' if what else ' ('}it has {shown})"]
        return list(self._cell_problems())

    def chunks(self) -> Iterator[pd.DataFrame]:
        """Its rows, as many at a time as memory holds; of a CSV as text."""
        return self._chunks(as_text=True)

    def untyped_chunks(self) -> Iterator[pd.DataFrame]:
        """The same with numbers where a column looks like them, for a model that does not say what it is fed."""
        return self._chunks(as_text=False)

    def _chunks(self, *, as_text: bool) -> Iterator[pd.DataFrame]:
        path = self._copy[0]
        try:
            for chunk in read_chunks(path, as_text=as_text, most=_MOST_ROWS):
                yield chunk.rows
        except DataError as error:  # of the copy, which nobody knows
            raise DataError(*(line.replace(str(path), self.name) for line in error.lines)) from error

    def features_at(self, places: IntArray) -> pd.DataFrame:
        """The feature cells of some rows, in the order asked for; the index holds their numbers, from 0."""
        first, parts = 0, []
        for chunk in self.untyped_chunks():
            inside = places[(places >= first) & (places < first + len(chunk))]
            parts.append(chunk[self.features].iloc[inside - first].set_axis(inside))
            first += len(chunk)
        return pd.concat(parts).loc[places] if parts else pd.DataFrame()

    def _cell_problems(self) -> Iterator[str]:
        rules, target = self._rules, self.beside[self._rules.target]
        if empty := int(target.isna().sum()):
            first = target.index[target.isna()][0]
            yield f"{self.name}: {empty} rows without target, the first in line {first}: fill them in, or remove them"
        elif self._task == "regression":
            numbers = pd.to_numeric(target, errors="coerce")
            wrong = numbers.isna() | np.isinf(numbers)
            if wrong.any():
                cell, line = target[wrong].iloc[0], target.index[wrong][0]
                yield f"{self.name}: line {line}, target {rules.target!r}: {str(cell)!r} is no finite number"
        else:
            yield from self._class_problems()
        if rules.id and (repeated := self.beside[rules.id].duplicated()).any():
            cell = self.beside[rules.id][repeated].iloc[0]
            yield f"{self.name}: {str(cell)!r} stands more than once in column {rules.id!r}, which names a row"

    def _class_problems(self) -> Iterator[str]:
        found = first_names(self.classes)
        if len(self.classes) < _FEW:
            yield f"{self.name}: every row is of class {found}: no model can be judged on that; add rows of others"
        elif self._task == "binary-classification" and len(self.classes) > _FEW:
            yield f"{self.name}: the target has {len(self.classes)} values ({found}), and a binary task two"
        elif self._rules.positive is not None and class_name(self._rules.positive) not in self.classes:
            yield f"{self.name}: no row is positive ({self._rules.positive!r}); the target is one of {found}"

    @cached_property
    def _kept(self) -> tuple[list[str], pd.DataFrame]:
        rules = self._rules
        wanted = dict.fromkeys((rules.target, rules.id, rules.group, *self._beside))
        columns: list[str] = []
        parts = []
        for chunk in self.chunks():
            columns = [str(name) for name in chunk.columns]
            # A copy: a selection keeps the whole chunk.
            parts.append(chunk[[name for name in wanted if name in columns]].copy())
        return columns, pd.concat(parts)

    @cached_property
    def _copy(self) -> tuple[Path, str]:
        """A private copy, so that what was digested is what is scored."""
        folder = Path(mkdtemp(prefix="holdout-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        parts = urlsplit(self._rules.path)
        suffix = Path(parts.path if parts.scheme else self._rules.path).suffix.lower()
        path, digest = folder / f"holdout{suffix}", hashlib.sha256()
        with self._fetched() as source, path.open("xb") as copy:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                copy.write(chunk)
        return path, digest.hexdigest()

    @contextmanager
    def _fetched(self) -> Iterator[IO[bytes]]:
        """The file, opened; whatever goes wrong while it is read is one line."""
        try:
            if "://" not in self._rules.path:
                with (self._home / self._rules.path).open("rb") as file:
                    yield file
                return
            import fsspec

            with fsspec.open(self._rules.path, "rb") as file:
                yield file
        except FileNotFoundError as error:
            raise DataError(
                f"{self.name}: no such file: holdout.path names the rows that models are scored on"
            ) from error
        except ImportError:
            raise
        except Exception as error:
            summary = getattr(error, "strerror", None) or f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise DataError(f"{self.name}: the holdout cannot be read: {summary}") from error
