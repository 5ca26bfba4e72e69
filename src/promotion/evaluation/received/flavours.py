"""What a received version's MLmodel says of it: which file is the model, who loads it, and what it is fed."""

from __future__ import annotations

import json
import mmap
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promotion.artifacts.description import read_description
from promotion.artifacts.pickles import TooLong, is_pickle
from promotion.artifacts.trusted_types import TRUSTED_TYPES
from promotion.errors import ArtifactRefused

_TENSOR_TYPES = {
    "float32": "float",
    "float64": "double",
    "int32": "integer",
    "int64": "long",
    "bool": "boolean",
    "object": "string",
    "str": "string",
}
"""Types of columns by those of tensors."""
_KNOWN = "scikit-learn, XGBoost, LightGBM, CatBoost, ONNX, or a python_function"


@dataclass(frozen=True, slots=True)
class InputColumn:
    """A column of a signature; without a name it goes by its place."""

    name: str | None
    type: str
    required: bool


@dataclass(frozen=True, slots=True)
class ReceivedModel:
    """How a version is loaded and fed.

    Attributes:
        order: What the worker is told, with the model's file relative to the folder.
        runs_code: Why loading it runs code; empty for the formats that do not.
        inputs: The signature's columns; None for a model without.
    """

    order: Mapping[str, Any] = field(default_factory=dict)
    runs_code: str = ""
    inputs: tuple[InputColumn, ...] | None = None

    @property
    def names_columns(self) -> bool:
        """Whether the signature says what its columns are called."""
        return self.inputs is not None and all(column.name is not None for column in self.inputs)

    @property
    def takes_text(self) -> bool:
        """Whether cells are best read as they are written: the signature types each column for itself."""
        return self.inputs is not None and self.order["tensor"] is None

    @property
    def library(self) -> str:
        """The flavour of a library that a converter knows; empty for what runs as code only."""
        return next((name for name in _NATIVE if name in self.order["flavours"]), "")


def describe_model(folder: Path, *, classes: bool) -> ReceivedModel:
    """Read MLmodel; nothing is loaded.

    Args:
        folder: The version's files.
        classes: Whether the task is to tell classes apart.

    Raises:
        ArtifactRefused: MLmodel is missing or malformed, names a file that is not there, or no flavour that is known.
    """
    document = read_description(folder)
    flavours = document["flavors"]
    inputs, tensor, positional = _signature(document)
    common = {"classes": classes, "tensor": tensor, "positional": positional, "flavours": sorted(map(str, flavours))}
    why = ""
    for name, native in _NATIVE.items():
        if isinstance(flavour := flavours.get(name), dict):
            order, why = native(folder, flavour)
            if not why:
                return ReceivedModel({**common, **order}, "", inputs)
    if "python_function" not in flavours:
        found = ", ".join(sorted(map(str, flavours))) or "none"
        raise ArtifactRefused(f"MLmodel: nobody here can load its flavours ({found}): expected {_KNOWN}")
    function = flavours["python_function"]
    loader = function.get("loader_module") if isinstance(function, dict) else None
    return ReceivedModel({**common, "loader": "mlflow", "path": ""}, why or f"{loader} runs code of the model", inputs)


def _signature(document: Mapping[str, Any]) -> tuple[tuple[InputColumn, ...] | None, dict[str, Any] | None, bool]:
    """Input columns, the tensor they become, and whether they go by place."""
    signature = document.get("signature")
    if not isinstance(signature, dict) or not signature.get("inputs"):
        return None, None, False
    try:
        columns = json.loads(signature["inputs"])
        if columns[0]["type"] == "tensor":
            return _tensors(columns)
        found = tuple(
            InputColumn(column.get("name"), str(column["type"]), bool(column.get("required", True)))
            for column in columns
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactRefused(f"MLmodel: its signature cannot be read: {type(error).__name__}") from error
    return found, None, any(column.name is None for column in found)


def _tensors(
    stated: Sequence[Mapping[str, Any]],
) -> tuple[tuple[InputColumn, ...] | None, dict[str, Any] | None, bool]:
    """A table as one tensor, its columns by place; several tensors of one value a row as columns by name."""
    specs = [item["tensor-spec"] for item in stated]
    shapes = [[int(size) for size in spec["shape"]] for spec in specs]
    types = [_TENSOR_TYPES.get(str(spec["dtype"])) for spec in specs]
    if len(stated) > 1:
        if not all(kind and shape in ([-1], [-1, 1]) for kind, shape in zip(types, shapes, strict=True)):
            raise ArtifactRefused("MLmodel: its signature asks for several tensors, which no table holds")
        named = zip(stated, types, strict=True)
        return tuple(InputColumn(item["name"], str(kind), required=True) for item, kind in named), None, False
    shape, kind = shapes[0], types[0]
    of_numbers = kind not in {None, "string"} and len(shape) == 2 and shape[1] > 0  # noqa: PLR2004  # rows × columns
    columns = (InputColumn(None, str(kind), required=True),) * shape[1] if of_numbers else None
    return columns, {"dtype": str(specs[0]["dtype"]), "shape": shape}, False


def _file(folder: Path, name: object) -> tuple[Path, str]:
    """A flavour's file, and why it is no safe format when it is a pickle."""
    if not isinstance(name, str):
        raise ArtifactRefused("MLmodel: a flavour does not say which file is its model")
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.exists():
        raise ArtifactRefused(f"MLmodel: {name!r}: expected a file inside the model's folder")
    if path.is_dir():
        return path, f"{name} is a folder"
    if not path.stat().st_size:
        raise ArtifactRefused(f"MLmodel: {name!r}: the file is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            return path, f"{name} is a pickle" if is_pickle(content) else ""
        except TooLong:
            return path, f"{name} could be a pickle"


def _sklearn(folder: Path, flavour: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    name = flavour.get("pickled_model")
    path, why = _file(folder, name)
    if flavour.get("serialization_format") != "skops" or why:
        return {}, why or f"{name} is serialised as {flavour.get('serialization_format', 'pickle')}"
    from skops.io import get_untrusted_types

    try:
        foreign = set(get_untrusted_types(file=path)) - TRUSTED_TYPES
    except Exception as error:
        summary = " ".join(str(error).split())
        raise ArtifactRefused(f"{name}: not readable as a skops model: {type(error).__name__}: {summary}") from error
    if foreign:
        return {}, f"{name} holds types outside our list ({', '.join(sorted(foreign)[:3])})"
    return {"loader": "skops", "path": name, "trusted": sorted(TRUSTED_TYPES)}, ""


def _booster(loader: str) -> Callable[[Path, Mapping[str, Any]], tuple[dict[str, Any], str]]:
    def native(folder: Path, flavour: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        name = flavour.get("data")
        path, why = _file(folder, name)
        # MLflow writes a booster's own format as it is, and wraps the library's scikit-learn classes.
        if not why and zipfile.is_zipfile(path):
            why = f"{name} holds types outside our list"
        kind, saved = str(flavour.get("model_type", "")), flavour.get("save_format", "cbm")
        return {"loader": loader, "path": name, "format": saved, "is_regressor": "Regressor" in kind}, why

    return native


_NATIVE: dict[str, Callable[[Path, Mapping[str, Any]], tuple[dict[str, Any], str]]] = {
    "sklearn": _sklearn,
    "xgboost": _booster("xgboost"),
    "lightgbm": _booster("lightgbm"),
    "catboost": _booster("catboost"),
    "onnx": _booster("onnx"),
}
"""Who can say how a flavour's own file is loaded without running code, and why not."""
