"""The export folder an image was made from: which rows to ask the server, and what it must answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promotion.delivery.records import Image
from promotion.errors import GateRefused, UsageError
from promotion.export.folder import is_as_listed


@dataclass(frozen=True, slots=True)
class ExpectedAnswers:
    """Held-out rows with the registry model's answers.

    Attributes:
        rows: Feature name to value; None where it is missing.
        classes: The class of each row, as the model numbers them.
        probabilities: Of each row, one value a class.
        labels: Text of each class, in the same order.
        values: Of a regression the number of each row; the three before are empty then.
    """

    rows: Sequence[Mapping[str, Any]]
    classes: Sequence[int]
    probabilities: Sequence[Sequence[float]]
    labels: Sequence[str]
    values: Sequence[float] = ()


def read_expected(folder: Path, image: Image) -> ExpectedAnswers:
    """Read what an image must answer, from the export it was built from and no other.

    Args:
        folder: The export folder.
        image: Names the manifest it was built from.

    Raises:
        UsageError: The folder or a file in it is missing or malformed.
        GateRefused: The folder is not the one the image was built from, or was changed since.
    """
    again = f"python scripts/export-model.py --model {image.family}"
    manifest_bytes = _read(folder / "manifest.json", again)
    if hashlib.sha256(manifest_bytes).hexdigest() != image.manifest:
        raise GateRefused(
            f"{folder} is not the export {image.reference} was built from: its manifest is not the one on the label; "
            f"{again}, then build the image again"
        )
    files = _parse(manifest_bytes, folder / "manifest.json").get("files", {})
    documents = {}
    for name in ("expected.json", "schema.json"):
        content = _read(folder / name, again)
        if not is_as_listed(files, name, content):
            raise GateRefused(
                f"{folder / name} was changed since the export: its digest is not the manifest's; {again}"
            )
        documents[name] = _parse(content, folder / name)
    expected, schema = documents["expected.json"], documents["schema.json"]
    try:
        if not schema["labels"]:
            return ExpectedAnswers(expected["rows"], (), (), (), expected["values"])
        return ExpectedAnswers(
            rows=expected["rows"],
            classes=expected["labels"],
            probabilities=expected["probabilities"],
            labels=[str(label) for label in schema["labels"]],
        )
    except KeyError as error:
        raise UsageError(f"{folder} lacks {error} in expected.json or schema.json: {again}") from error


def _read(path: Path, again: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; {again} writes it, --export names another folder") from error


def _parse(content: bytes, path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(content)
    except ValueError as error:
        raise UsageError(f"{path} is no JSON: {error}") from error
    return document
