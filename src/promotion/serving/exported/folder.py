"""The exported folder, read back: every file is what the manifest's digest says before anything is made of it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from promotion.serving.errors import ExportRefused

BLOCK = 1024 * 1024
ENGINE_FILES = {"onnx": ("model.onnx",), "native": ("model/model.skops",), "catboost": ("model/model.cbm",)}
"""What each engine computes from."""

_WORDS = {"text": "a text", "boolean": "true or false", "date": "a date such as 2024-03-09"}
Parsed = TypeVar("Parsed", bound=BaseModel)


class StrictDocument(BaseModel):
    """Read from JSON of ours: an unknown key is a mistake, and nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Feature(StrictDocument):
    """One column of a row.

    Attributes:
        name: As in the training data.
        type: `number`, `integer`, `code` (one of a list of whole numbers), `boolean`, `date` or `text`.
        minimum: Smallest value, inclusive.
        maximum: Largest value, inclusive.
        codes: The values of a `code`.
        texts: The only values of a `text`; None where it may be any.
        unit: Of the value.
        description: What is measured.
        hint: What to say to a value that is not allowed.
        nullable: Whether the value may be missing.
    """

    name: str
    type: Literal["number", "integer", "code", "boolean", "date", "text"]
    minimum: float | None = None
    maximum: float | None = None
    codes: tuple[int, ...] | None = Field(default=None, strict=False)
    texts: tuple[str, ...] | None = Field(default=None, strict=False)
    unit: str | None = None
    description: str | None = None
    hint: str | None = None
    nullable: bool = False

    @model_validator(mode="after")
    def _codes_of_a_code(self) -> Feature:
        if (self.type == "code") != bool(self.codes):
            raise ValueError(f"{self.name}: codes belong to the type code, and to it alone")
        return self

    @property
    def allowed(self) -> str:
        """What the column takes, in words: `a whole number from 1 to 120 years`."""
        if self.type in _WORDS and not self.texts:
            text = _WORDS[self.type]
        elif allowed := self.codes or self.texts:
            values = ", ".join(map(str, allowed[:-1]))
            text = f"{values} or {allowed[-1]}" if values else str(allowed[0])
        else:
            bounds = (("from", self.minimum), ("to" if self.minimum is not None else "up to", self.maximum))
            limits = [f"{word} {bound:g}" for word, bound in bounds if bound is not None]
            kind = "a whole number" if self.type == "integer" else "a number"
            text = " ".join([kind, *limits, *([self.unit] if self.unit else [])])
        return f"{text}, or null" if self.nullable else text


class Schema(StrictDocument):
    """What a row holds and what is predicted.

    Attributes:
        features: Columns in the model's order.
        target: Name of what is predicted.
        labels: Text of each class, by position; none where a number is predicted.
        positive: Position of the positive class of two.
        answers: What MLflow's clients are told of each class; its position by default.
    """

    features: tuple[Feature, ...] = Field(min_length=1, strict=False)
    target: str
    labels: tuple[str, ...] = Field(strict=False)
    positive: int | None = Field(default=None, ge=0, le=1)
    answers: tuple[int | float | str, ...] | None = Field(default=None, strict=False)

    @field_validator("labels")
    @classmethod
    def _one_class_is_none(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(labels) == 1:
            raise ValueError("two or more, or none where a number is predicted")
        return labels

    @model_validator(mode="after")
    def _each_class_has_an_answer(self) -> Schema:
        if self.answers is not None and len(self.answers) != len(self.labels):
            raise ValueError("answers: one for each of the labels")
        return self

    @property
    def is_regression(self) -> bool:
        """Whether a number is predicted."""
        return not self.labels

    @property
    def meanings(self) -> str:
        """What MLflow's clients are told of each class and what people read for it; empty for a regression."""
        answers = self.answers or range(len(self.labels))
        both = zip(map(str, answers), self.labels, strict=True)
        return ", ".join(answer if answer == label else f"{answer} is {label}" for answer, label in both)

    @property
    def has_texts(self) -> bool:
        """Whether a feature holds texts."""
        return any(feature.type == "text" for feature in self.features)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns in the model's order."""
        return tuple(feature.name for feature in self.features)


class ServedManifest(BaseModel):
    """Which version this is, how it computes, and the SHA-256 of each file (hex, by path in the folder)."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, protected_namespaces=())

    format: Literal[1]
    family: str
    model: str
    version: int
    semver: str | None
    run_id: str
    stage: str
    artifact_digest: str
    gate_report: str | None
    git_sha: str | None
    task: Literal["binary-classification", "multiclass-classification", "regression"]
    engine: Literal["onnx", "native", "catboost"]
    files: dict[str, str]
    trusted: tuple[str, ...] = Field(default=(), strict=False)


class Expected(BaseModel):
    """Rows held out of training and what the registry's model says to them: classes, or numbers."""

    model_config = ConfigDict(frozen=True)

    rows: list[dict[str, bool | float | str | None]]
    labels: list[int] = []
    probabilities: list[list[float]] = []
    values: list[float] = []


class ExportFolder(BaseModel):
    """An exported folder whose files are unchanged."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    manifest: ServedManifest
    manifest_digest: str
    data_schema: Schema
    expected: Expected


def read_export(folder: Path, trusted: Path | None = None) -> ExportFolder:
    """Read and check an exported folder.

    Args:
        folder: Holds the export.
        trusted: Folder of the public keys of which one must have signed it; None believes the manifest.

    Raises:
        ExportRefused: No manifest, or none that a trusted key signed; a file missing, changed or malformed.
        ConfigurationError: The trusted keys cannot be read.
    """
    if not (folder / "manifest.json").is_file():
        raise ExportRefused(f"{folder}: no manifest.json; expected a folder written by scripts/export-model.py")
    content = _content(folder, "manifest.json")
    if trusted is not None:
        # Only a server that checks needs cryptography in memory.
        from promotion.serving.exported.signature import require_signed

        require_signed(folder, content, trusted)
    manifest = _parsed(folder, "manifest.json", ServedManifest, content)
    _check_digests(folder, manifest.files)
    needed = {"schema.json", "expected.json", *ENGINE_FILES[manifest.engine]}
    if absent := sorted(needed - manifest.files.keys()):
        raise ExportRefused(f"{folder}/manifest.json: files does not list {', '.join(absent)}; export the model again")
    return ExportFolder(
        folder=folder,
        manifest=manifest,
        manifest_digest=hashlib.sha256(content).hexdigest(),
        data_schema=_parsed(folder, "schema.json", Schema, _content(folder, "schema.json")),
        expected=_parsed(folder, "expected.json", Expected, _content(folder, "expected.json")),
    )


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _check_digests(folder: Path, files: dict[str, str]) -> None:
    root = folder.resolve()
    for name, digest in sorted(files.items()):
        path = folder / name
        if not path.resolve().is_relative_to(root):
            raise ExportRefused(f"{folder}/manifest.json: {name} lies outside the folder")
        if not path.is_file():
            raise ExportRefused(f"{folder}: {name} is missing; export the model again")
        if (found := sha256(path)) != digest:
            raise ExportRefused(
                f"{path} was changed after the export: sha256 {found}, the manifest says {digest}; export it again"
            )


def _content(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise ExportRefused(f"{folder / name}: {error}; export the model again") from error


def _parsed(folder: Path, name: str, kind: type[Parsed], content: bytes) -> Parsed:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        reason = f"{'.'.join(map(str, first['loc'])) or 'content'}: {first['msg']}"
        raise ExportRefused(f"{folder / name}: {reason}; export the model again") from error
