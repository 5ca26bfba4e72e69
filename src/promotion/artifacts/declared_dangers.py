"""What MLflow's description of a model would have a load do: which files are opened, which code is imported and run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from promotion.artifacts.description import NAME, read_description
from promotion.artifacts.trusted_types import BOOSTER_TYPES, TRUSTED_TYPES
from promotion.errors import ArtifactRefused

LEADS_OUT = re.compile(r"[/\\~]|[A-Za-z][\w+.-]*:[/\\]|(?:.*[/\\])?\.\.(?:[/\\]|$)", re.DOTALL)
"""A path that is absolute, an address, or climbs."""
_PLAIN_FLAVOURS = ("sklearn", "xgboost", "lightgbm", "catboost", "onnx", "statsmodels", "prophet", "pmdarima")
"""Those of MLflow whose files hold no code, or pickles, which are found; others import what a file of theirs names."""
# They may turn the files into a model, and so may this project.
_TRUSTED_LOADER = re.compile(rf"mlflow\.(?:{'|'.join(_PLAIN_FLAVOURS)})|models(?:\.\w+)*")
# MLflow's loader of models from code; a pickle instead of the code would lie under the other key.
_CODE_LOADER, _PICKLED = "mlflow.pyfunc.loaders.code_model", "python_model"
# Keys by which MLflow imports Python that lies in the artifact.
_CODE_KEYS = frozenset({"code", "model_code_path"})
_CLASS_KEY = "model_class"
"""Names what a flavour imports and calls to make the model: a class of its own library."""
# Where a flavour says which of the files is the model; MLflow's readers of one model use different ones.
_MODEL_KEYS = frozenset({"data", "model_data", "model_path", "pickled_model"})
_EXAMPLE = "saved_input_example_info"
"""Beside the flavours, the only section by which MLflow opens files of the folder."""


class Danger(NamedTuple):
    """One thing that is wrong.

    Attributes:
        what: In words.
        is_code: Whether it runs code, or may hide what does; anything else leads out of the artifact, or is malformed.
    """

    what: str
    is_code: bool


def declared_dangers(folder: Path, *, code_is_vouched: bool) -> Iterator[Danger]:
    """Everything that is wrong with a folder's MLmodel.

    Args:
        folder: Where it lies.
        code_is_vouched: Whether a trusted signature covers every file, so that a model from code is no danger.
    """
    try:
        document = read_description(folder)
        flavours = document["flavors"]
        function = flavours.get("python_function", {})
        loader = function.get("loader_module")
        is_vouched = code_is_vouched and loader == _CODE_LOADER and _PICKLED not in function
    except ArtifactRefused as error:
        yield Danger(str(error).removeprefix(f"{NAME}: missing or "), is_code=False)
        return
    except (TypeError, AttributeError) as error:
        yield Danger(f"is not an MLmodel file: {type(error).__name__}", is_code=False)
        return
    leaves = list(_leaves(flavours))
    judged = [(f"flavors.{place}", value) for place, value in leaves]
    judged += [(f"{_EXAMPLE}.{place}", value) for place, value in _leaves(document.get(_EXAMPLE))]
    for place, value in judged:
        keys = place.split(".")
        if reason := _objection(keys, value, is_vouched=is_vouched):
            # Whatever path MLflow wrote for a model's code: nothing outside is seen from inside the sandbox.
            is_path = isinstance(value, str) and LEADS_OUT.match(value) and _CODE_KEYS.isdisjoint(keys)
            yield Danger(f"{place}: {value!r} {reason}", is_code=not is_path)
    files = {place: str(value) for place, value in leaves if value and place.rpartition(".")[2] in _MODEL_KEYS}
    if len({file for file in files.values() if not LEADS_OUT.match(file)}) > 1:
        named = ", ".join(f"{place} says {value!r}" for place, value in files.items())
        yield Danger(f"flavours disagree on which file is the model: {named}", is_code=True)
    for flavour in sorted(flavours.keys() - {*_PLAIN_FLAVOURS, "python_function"}):
        yield Danger(f"flavors.{flavour}: a load may run code that its files name", is_code=True)
    if loader is not None and not is_vouched and not _TRUSTED_LOADER.fullmatch(str(loader)):
        yield Danger(f"flavors.python_function.loader_module: {loader!r} is not a loader we trust", is_code=True)


def _objection(keys: Sequence[str], value: Any, *, is_vouched: bool) -> str:
    """What is wrong with one scalar of MLmodel, under the keys it stands, outermost first; empty when nothing is."""
    if isinstance(value, str) and LEADS_OUT.match(value):
        return "leads out of the artifact"
    if value and not is_vouched and not _CODE_KEYS.isdisjoint(keys):
        return "is Python that would run when the model is loaded"
    if value and "skops_trusted_types" in keys and value not in TRUSTED_TYPES | BOOSTER_TYPES:
        return "is a type that nobody but the model itself trusts"
    if value and keys[-1] == _CLASS_KEY and not str(value).startswith(f"{keys[-2]}."):
        return "is a class outside its library, which a load would call"
    return ""


def _leaves(document: Any) -> Iterable[tuple[str, Any]]:
    """All scalars with their dotted place; what an alias stands for counts at each of its places, which are bounded."""
    waiting = [("", document)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, Mapping | list):
            pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
            waiting.extend((f"{place}.{key}".lstrip("."), child) for key, child in reversed(list(pairs)))
        else:
            yield place, value
