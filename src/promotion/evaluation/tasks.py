"""The kinds of model beyond tables of classes: whoever has one says here how it is loaded, scored and reviewed.

Classification is built in. A checkout registers the tasks of its own families (`models.tasks`); nothing a family's file
says can name code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promotion.config.family import FamilyConfig
from promotion.config.settings import PACKAGE
from promotion.errors import UsageError
from promotion.gates.evidence import Evaluator

DayRange = tuple[date | None, date | None]
"""First and last day, each optional."""

if TYPE_CHECKING:
    from promotion.config.settings import Settings

_MARKS = ("tasks.py", "train_ensemble.py", "forecast/ensemble_model.py")


@dataclass(frozen=True, slots=True)
class Task:
    """How models of one kind are handled.

    Attributes:
        name: `task` in a family's file.
        evaluator: Of a family, with its home folder.
        folder: A version whose files have this folder is of this kind.
        load: The model in a version's files, without running any code that lies there.
        review: `ReviewFindings` of two models, held together on the family's own rows; of one, where the second is
            None.
        rows: `AskedRows` of a file, or the family's own; between two days.
    """

    name: str
    evaluator: Callable[[FamilyConfig, Path], Evaluator]
    folder: Path
    load: Callable[[Path], Any]
    review: Callable[[FamilyConfig, Settings, Any, Any, tuple[str, ...]], Any]
    rows: Callable[[FamilyConfig, Path, Path | None, DayRange], Any]


_registered: dict[str, Task] = {}
_describe_invention: list[Callable[[FamilyConfig, Path], str]] = []


def register_task(task: Task) -> None:
    """Make a task known to this process; doing it twice changes nothing."""
    _registered[task.name] = task


def register_invention(describe: Callable[[FamilyConfig, Path], str]) -> None:
    """Make known who says that a family's rows were invented: in words, or empty where they are real."""
    _describe_invention[:] = [describe]


def invented_rows(config: FamilyConfig, home: Path) -> str:
    """In words, that a generator invented the rows a family has now; empty for any others."""
    if not config.has_contract or config.data.generator is None:
        return ""
    _find()
    return next((describe(config, home) for describe in _describe_invention), "")


def task_of(config: FamilyConfig) -> Task:
    """The registered task of a family.

    Raises:
        UsageError: Nobody registered it.
    """
    _find()
    try:
        return _registered[config.task]
    except KeyError:
        raise UsageError(
            f"{config.family}: models of task {config.task!r} are scored by code of this project's repository, "
            "which is not here: run the command in a checkout"
        ) from None


def task_of_artifact(folder: Path) -> Task | None:
    """The task whose models look like this; None for what is built in."""
    _find()
    return next((task for task in _registered.values() if (folder / task.folder).is_dir()), None)


def _find() -> None:
    """Register the checkout's own tasks where this package is part of one; somebody else's `models` is left alone."""
    if not _registered and finds_checkout_models():
        import_module("models.tasks")


def finds_checkout_models() -> bool:
    """Whether `import models` gives this repository's package, and nobody else's."""
    spec = find_spec("models")
    found = [Path(place).resolve() for place in (spec and spec.submodule_search_locations) or ()]
    return checkout_models() in found


def checkout_models() -> Path | None:
    """This repository's package `models`, where it lies beside this one: it is not in the wheel."""
    folder = PACKAGE.with_name("models")
    return folder if all((folder / name).is_file() for name in _MARKS) else None
