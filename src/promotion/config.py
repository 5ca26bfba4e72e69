"""A family's configuration: `config/<family>.yaml`, read strictly, so that a typing mistake is one clear line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from promotion.errors import ConfigError, UnknownFamily

Fraction = Annotated[float, Field(ge=0, le=1)]
ParameterValue = bool | int | float | str | None


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Column(_Strict):
    """What one column may hold.

    Attributes:
        type: `number`, `integer`, or `code` (one of `codes`, an integer).
        minimum: Smallest allowed value, inclusive.
        maximum: Largest allowed value, inclusive.
        codes: The allowed values of a `code` column.
        max_missing: Largest allowed share of empty cells.
        unit: Physical unit, for documentation.
        description: What is measured, for documentation.
        hint: What to tell a person whose file breaks the rule.
    """

    type: Literal["number", "integer", "code"]
    minimum: float | None = None
    maximum: float | None = None
    codes: list[int] | None = None
    max_missing: Fraction = 0.0
    unit: str | None = None
    description: str = ""
    hint: str | None = None

    @model_validator(mode="after")
    def _codes_belong_to_code_columns(self) -> Column:
        if (self.type == "code") != (self.codes is not None):
            message = "a column of type code lists its codes, other columns have none"
            raise ValueError(message)
        return self


class Data(_Strict):
    """Where the rows come from and the contract they must keep.

    Attributes:
        path: CSV file, relative to the project's home.
        url: Where `download-data.py` fetches it.
        sha256: Digest the file must have.
        licence: Terms and attribution, shown with the data.
        allow_duplicates: Whether two identical rows may occur.
        columns: Every column of the file, the target included.
    """

    path: str
    url: str | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    licence: str = ""
    allow_duplicates: bool = False
    columns: dict[str, Column]


class Target(_Strict):
    """The column to predict; for a binary task every value above `positive_above` is the positive class."""

    column: str
    positive_above: float | None = None


class Split(_Strict):
    """The stratified test split, drawn once with a fixed seed."""

    test_size: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: int = 42


class CrossValidation(_Strict):
    """Repeated stratified k-fold on the training part."""

    folds: Annotated[int, Field(ge=2)] = 5
    repeats: Annotated[int, Field(ge=1)] = 5


class Candidate(_Strict):
    """One algorithm of `models.candidates.ALGORITHMS` with its hyper-parameters."""

    params: dict[str, ParameterValue] = {}


class Threshold(_Strict):
    """An inclusive bound on one metric."""

    minimum: float | None = None
    maximum: float | None = None

    @model_validator(mode="after")
    def _bounds_something(self) -> Threshold:
        if self.minimum is None and self.maximum is None:
            message = "a threshold needs minimum or maximum"
            raise ValueError(message)
        return self


class BetterThanProduction(_Strict):
    """How the candidate must compare with Production, both scored now on the same rows.

    Attributes:
        policy: `strictly_greater`: the candidate's metric is better. `not_worse`: the lower end of the paired
            bootstrap interval of the difference stays above `-margin`.
        margin: Tolerated loss for `not_worse`, in units of the metric.
    """

    policy: Literal["strictly_greater", "not_worse"] = "strictly_greater"
    margin: Annotated[float, Field(ge=0)] = 0.0


class Gates(_Strict):
    """The evidence a version needs before it may enter Production."""

    thresholds: dict[str, Threshold] = {}
    better_than_production: BetterThanProduction = BetterThanProduction()


class FamilyConfig(_Strict):
    """Everything a family needs; a new family is a CSV and one such file.

    Attributes:
        family: What consumers ask for; equals the file's name.
        task: Kind of learning problem.
        registered_model: Name of the registered models; `{algorithm}` stands for the candidate's name.
        promotion: Whether `--auto` may act on the family.
        not_better: What happens to a candidate that passes its thresholds but does not beat Production.
        selection_metric: Metric that picks the winner in cross-validation and is compared with Production.
        numeric: Feature columns that are measured; all others are categories and become one-hot columns.
    """

    family: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    task: Literal["binary-classification"]
    registered_model: str
    promotion: Literal["auto", "manual"] = "manual"
    not_better: Literal["stay", "staging"] = "stay"
    selection_metric: Literal["roc_auc", "accuracy", "precision", "recall", "f1"]
    data: Data
    target: Target
    numeric: list[str]
    split: Split = Split()
    cross_validation: CrossValidation = CrossValidation()
    candidates: Annotated[dict[str, Candidate], Field(min_length=1)]
    gates: Gates = Gates()

    @model_validator(mode="after")
    def _columns_exist(self) -> FamilyConfig:
        for name in [self.target.column, *self.numeric]:
            if name not in self.data.columns:
                message = f"column {name!r} is not described under data.columns"
                raise ValueError(message)
        return self

    @property
    def features(self) -> list[str]:
        """Names of the feature columns, in the file's order."""
        return [name for name in self.data.columns if name != self.target.column]

    @property
    def categorical(self) -> list[str]:
        """Names of the feature columns that hold categories."""
        return [name for name in self.features if name not in self.numeric]

    def model_name(self, algorithm: str) -> str:
        """The registered model of one candidate algorithm."""
        return self.registered_model.replace("{algorithm}", algorithm)

    def owns(self, model: str) -> bool:
        """Whether a registered model belongs to this family."""
        before, placeholder, after = self.registered_model.partition("{algorithm}")
        tail = r"[A-Za-z0-9_]+" if placeholder else ""
        return re.fullmatch(re.escape(before) + tail + re.escape(after), model) is not None


def load_config(folder: Path, family: str) -> FamilyConfig:
    """Read `<folder>/<family>.yaml`.

    Raises:
        UnknownFamily: There is no such file.
        ConfigError: The file is not YAML, or breaks the schema; the message names file, key and what was expected.
    """
    path = folder / f"{family}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml"))) or "none"
        message = f"unknown family {family!r}: {path} does not exist (families: {known})"
        raise UnknownFamily(message)
    return _read(path)


def load_configs(folder: Path) -> dict[str, FamilyConfig]:
    """Read every family under `folder`, by name.

    Raises:
        ConfigError: One of the files is wrong.
    """
    return {path.stem: _read(path) for path in sorted(folder.glob("*.yaml"))}


def family_of(model: str, configs: dict[str, FamilyConfig]) -> FamilyConfig | None:
    """The family that owns a registered model; None for a model without configuration, which is its own family."""
    return next((config for config in configs.values() if config.owns(model)), None)


def _read(path: Path) -> FamilyConfig:
    try:
        document: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        summary = " ".join(str(error).split())
        message = f"{path}: not readable as YAML: {summary}"
        raise ConfigError(message) from error
    try:
        config = FamilyConfig.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{path}: " + "; ".join(_explain(item) for item in error.errors())) from error
    if config.family != path.stem:
        message = f"{path}: family: expected {path.stem!r}, the file's name, found {config.family!r}"
        raise ConfigError(message)
    return config


def _explain(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"]) or "(top level)"
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key; remove it or check its spelling"
    if item["type"] == "missing":
        return f"{key}: missing; add it"
    return f"{key}: {item['msg']}, found {item['input']!r}"
