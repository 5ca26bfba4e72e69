"""A first family file for a registered model that was trained elsewhere: rules, and with a holdout evidence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from promotion.artifacts.description import read_description
from promotion.artifacts.files import local_artifact
from promotion.config.evidence import HoldoutRows
from promotion.config.family import load_configs
from promotion.config.printable import first_names, printable
from promotion.config.settings import Settings
from promotion.errors import PromotionError, UsageError
from promotion.evaluation.received.flavours import ReceivedModel, describe_model
from promotion.evaluation.received.rows import HoldoutFile
from promotion.journal.database import Database
from promotion.journal.journal import Journal
from promotion.onboarding.bounds import (
    BINARY,
    MEASURED,
    MULTICLASS,
    REGRESSION,
    holdout_bounds,
    number_metrics,
    run_bounds,
)
from promotion.onboarding.draft import (
    DECIDE,
    FamilyDraft,
    governance,
    heading,
    relative_to_home,
    require_new_family,
    scalar,
)
from promotion.onboarding.profile import ColumnProfile, profile, require_filled, require_target
from promotion.reconcile.families import Families
from promotion.registry.contract import ModelVersion, RegisteredModel, Registry, TrackedRun
from promotion.registry.open import open_registry

_CHECK = "python mlops/registry/check_promotion.py --model-name {} --version {}"
_USUAL = {"production": ("production", "prod", "champion", "live"), "staging": ("staging", "challenger", "candidate")}
_TARGETS = ("target", "label", "y", "class", "outcome")
_LIBRARIES = ("scikit-learn", "xgboost", "lightgbm", "catboost", "onnx")
_TWO = 2


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What can be known of a version.

    Attributes:
        version: Which.
        registered: Its registered model.
        run: Its run; None when it has none.
        model: What its MLmodel says; None when it cannot be told.
        task_of_class: What its class's name says it is; empty when it says nothing.
        libraries: Libraries it was made with, where another version is installed here: name, its version, ours.
        problem: Why its files could not be looked at.
    """

    version: ModelVersion
    registered: RegisteredModel
    run: TrackedRun | None
    model: ReceivedModel | None = None
    task_of_class: str = ""
    libraries: tuple[tuple[str, str, str], ...] = ()
    problem: str = ""

    @property
    def metrics(self) -> Mapping[str, float]:
        """What its run measured."""
        return self.run.finite_metrics if self.run else {}


def draft_family(
    settings: Settings, model: str, number: str | None, *, family: str | None, holdout: str | None, target: str | None
) -> FamilyDraft:
    """A file for the family of a version, at the level that what is known of it allows.

    Args:
        settings: Names the registry.
        model: A registered model.
        number: MLflow's number of the version it is begun with; None for the newest.
        family: The file's name; None for the one its past is recorded under, else the registered model's.
        holdout: Rows to score it on: a path, or an address that fsspec knows; None for rules alone.
        target: Column to predict, where the file's columns and the signature do not tell.

    Raises:
        UsageError: No such model or version, another family owns it, the file is there already, or the holdout has no
            plausible target or is not what the signature asks for.
        DataError: The holdout cannot be read.
        RegistryError: MLflow cannot be read.
    """
    configs, registry, home = load_configs(settings.config_folder), open_registry(settings), settings.home
    families = Families(Journal(Database(settings.database_url)), registry, configs)
    if owner := configs.owner(model):
        raise UsageError(f"{model} belongs to family {owner.family!r} already: edit config/{owner.family}.yaml")
    recorded = families.journal.homes().get(model)
    if family and recorded not in {None, family}:
        raise UsageError(f"--family {family}: what {model} did so far is recorded under {recorded!r}: leave it out")
    family = family or recorded or model
    candidate = families.candidate(model, number)
    require_new_family(settings.config_folder, family)
    known = _evidence(registry, candidate)
    folder = settings.config_folder
    holdout = _from_home(holdout, home) if holdout else None
    said = "Rules and evidence" if holdout else "Rules"
    lines = [*heading(family, f"{said} for {printable(model)}, begun with version {candidate.number}.", folder)]
    lines.append(f"registered_model: {scalar(model)}")
    if holdout:
        lines += _scored(known, holdout, HoldoutFile(_any_target(holdout), home, REGRESSION), target)
    else:
        lines += run_bounds(known.metrics)
    lines += _aliases(known.registered)
    lines += governance()
    return FamilyDraft(family, 2 if holdout else 1, tuple(lines), _CHECK.format(model, candidate.number))


def _evidence(registry: Registry, candidate: ModelVersion) -> _Evidence:
    registered = registry.model(candidate.model)
    run = registry.run(candidate.run_id) if candidate.run_id else None
    try:
        with local_artifact(registry, candidate) as folder:
            document = read_description(folder)
            return _Evidence(
                candidate,
                registered,
                run,
                describe_model(folder, classes=False),
                _task_of_class(document["flavors"]),
                tuple(_other_libraries(folder / "requirements.txt")),
            )
    except PromotionError as error:
        return _Evidence(candidate, registered, run, problem=str(error))


def _from_home(given: str, home: Path) -> str:
    """A holdout as a family's file says it: an address as it is, a path relative to the home where it lies in it."""
    if "://" in given:
        return given
    if not Path(given).exists() and (home / given).exists():
        return given
    return relative_to_home(Path(given), home)


def _any_target(path: str) -> HoldoutRows:
    try:
        return HoldoutRows(path=path, target="?")
    except ValueError as error:
        raise UsageError(f"--holdout {path}: expected a file that ends in .csv or .parquet") from error


def _scored(known: _Evidence, holdout: str, rows: HoldoutFile, wanted: str | None) -> Iterator[str]:
    """Task, holdout and what it takes to run the model, each with where that is known from."""
    first = next(rows.chunks())
    columns = [str(name) for name in first.columns]
    signature = [(it.name, it.required) for it in (known.model.inputs if known.model else None) or () if it.name]
    inputs = [name for name, _ in signature]
    seen = profile(first)
    target = wanted or _plausible_target(rows.name, seen, inputs)
    require_target(rows.name, columns, target)
    if missing := [name for name, is_required in signature if is_required and name not in columns]:
        raise UsageError(
            f"{rows.name}: column {missing[0]!r}, which the model's signature asks for, is missing: it has "
            f"{first_names(columns)}"
        )
    column = seen[target]
    require_filled(rows.name, column)
    task, why = _task(known, column)
    _require_classes(rows.name, column, task)
    yield f"task: {task}   # {why}"
    yield f"selection_metric: {MEASURED[task][0]}   # {DECIDE} what is compared with Production"
    yield "holdout:"
    yield f"  path: {scalar(holdout)}"
    yield f"  target: {scalar(target)}"
    if task == BINARY:
        shown = printable(", ".join(column.classes))
        yield f"  positive: {_value(column.classes[-1], column)}   # {DECIDE} the value that is looked for, of {shown}"
    names = [it.name for it in seen.values() if it.names_a_row and it.name != target and it.name not in inputs]
    yield from (f"  id: {scalar(name)}   # no value stands twice" for name in names[:1])
    yield f"  sha256: {rows.sha256}   # of the file as it is now"
    others = [name for name in columns if name not in {target, *inputs, *names[:1]}] if inputs else []
    if others:
        yield f"  # {DECIDE} do rows belong together (group: COLUMN), or follow in time (time: COLUMN)? left over: "
        yield f"  #   {first_names(others)}"
    yield from _running(known)
    yield from holdout_bounds(known.metrics, task)


def _running(known: _Evidence) -> Iterator[str]:
    """What it takes to load the model."""
    if known.problem:
        yield f"# {DECIDE} its files could not be looked at ({printable(known.problem)})"
        yield "artifacts: {code: sandbox}"
    elif known.model and known.model.runs_code:
        yield f"artifacts: {{code: sandbox}}   # {printable(known.model.runs_code)}: loading it runs code"
    for name, theirs, ours in known.libraries[:1]:
        if known.model and known.model.runs_code:
            yield f"environment: model   # it was made with {name} {theirs}, here is {ours}; scored with its own"


def _aliases(registered: RegisteredModel) -> Iterator[str]:
    """The names of a team's own aliases, where they are usual ones; whoever reads the others is asked about."""
    names = sorted(registered.aliases)
    usual = {stage: [name for name in names if name.lower() in known] for stage, known in _USUAL.items()}
    if told := {stage: found for stage, found in usual.items() if found and found != [stage]}:
        named = ", ".join(f"{stage}: {scalar(found)}" for stage, found in told.items())
        yield f"aliases: {{{named}}}   # {DECIDE} written in MLflow, and moved by hand they count as a move"
    if others := [name for name in names if not any(name in found for found in usual.values())]:
        yield f"# {DECIDE} who reads the aliases {printable(', '.join(others))}? say in `aliases` which follow"


def _plausible_target(name: str, seen: Mapping[str, ColumnProfile], inputs: Sequence[str]) -> str:
    """The one column that is no input of the model and names no row, or one that is called so."""
    left = [column for column in seen if column not in inputs]
    telling = [column for column in left if not seen[column].names_a_row] or left
    called = [column for column in left if column.lower() in _TARGETS]
    for found in (telling if inputs else [], called):
        if len(found) == 1:
            return found[0]
    what = "its columns are" if left else "every column is an input of the model:"
    raise UsageError(
        f"{name}: which column is to be predicted? say --target COLUMN; {what} {first_names(left or list(seen))}"
    )


def _task(known: _Evidence, target: ColumnProfile) -> tuple[str, str]:
    """The task, and what it is known from."""
    kinds = BINARY if target.distinct == _TWO else MULTICLASS
    if target.kind == "text":
        return kinds, f"the target has {target.distinct} values that are no numbers"
    if known.task_of_class:
        is_regression = known.task_of_class.endswith("Regressor")
        return REGRESSION if is_regression else kinds, f"the model is a {known.task_of_class}"
    if told := number_metrics(known.metrics):
        return REGRESSION, f"its run measured {printable(told[0])}"
    if target.are_classes:
        return kinds, f"{DECIDE} the target has {target.distinct} whole numbers, taken for classes"
    return REGRESSION, f"the target has {target.distinct} different numbers"


def _require_classes(name: str, target: ColumnProfile, task: str) -> None:
    if task == REGRESSION:
        return
    if target.distinct < _TWO:
        raise UsageError(f"{name}: every row has the same {target.name}: no model can be judged on that; add others")
    if not target.classes:
        raise UsageError(
            f"{name}: {target.name} has {target.distinct} values, more than classes can be: is --target right?"
        )


def _task_of_class(flavours: Mapping[str, Any]) -> str:
    """The class of a model as its flavour names it, where the name says what it does."""
    named = [
        str(flavour.get(key, "")).rpartition(".")[2]
        for flavour in flavours.values()
        if isinstance(flavour, dict)
        for key in ("model_class", "model_type")
    ]
    return next((name for name in named if name.endswith(("Regressor", "Classifier")) and name.isidentifier()), "")


def _other_libraries(requirements: Path) -> Iterator[tuple[str, str, str]]:
    """Learning libraries of which the model asks for another minor version than is installed here."""
    text = requirements.read_text(encoding="utf-8", errors="replace") if requirements.is_file() else ""
    for name, theirs in re.findall(r"^([A-Za-z0-9-]+)==(\d[\w.]*)", text, re.MULTILINE):
        if name.lower() not in _LIBRARIES:
            continue
        try:
            ours = version(name)
        except PackageNotFoundError:
            ours = "none"
        if theirs.split(".")[:2] != ours.split(".")[:2]:
            yield name, theirs, ours


def _value(name: str, column: ColumnProfile) -> str:
    """A class as the file of a family says it: a number without quotes, a text as text."""
    if column.kind == "text":
        return name if name in {"true", "false"} else scalar(name)
    return scalar(int(name) if name.lstrip("-").isdecimal() else float(name))
