"""A family's configuration: `config/<family>.yaml`, read strictly, so that a typing mistake is one clear line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from promotion.config.forecasting import Forecast
from promotion.config.policy import (
    Access,
    Approvals,
    Contacts,
    FeatureView,
    Gates,
    Monitoring,
    Retention,
    Review,
    Rollback,
    Strict,
)
from promotion.errors import ConfigError, UnknownFamily

_MULTICLASS = 3
Fraction = Annotated[float, Field(ge=0, le=1)]
# Every command reads every family's file; libyaml does it six times faster, where PyYAML was built with it.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
LOWER_IS_BETTER = frozenset({"rmspe"})
"""Metrics that measure an error."""
ParameterValue = bool | int | float | str | None


class Column(Strict):
    """What one column may hold.

    Attributes:
        type: `number`, `integer`, `code` (one of `codes`, an integer), or `label` (one of `labels`, a text): of the
            target, or in a forecast. A `date`, only in a forecast. An `identifier` names a row, uniquely; `ignored`
            only has to be there: no features both.
        minimum: Smallest allowed value, inclusive.
        maximum: Largest allowed value, inclusive.
        codes: The allowed values of a `code` column.
        labels: The allowed values of a `label` column; each stands for its position.
        max_missing: Largest allowed share of empty cells.
        unit: Physical unit, for documentation.
        description: What is measured, for documentation.
        hint: What to tell a person whose file breaks the rule.
    """

    type: Literal["number", "integer", "code", "label", "date", "identifier", "ignored"]
    minimum: float | None = None
    maximum: float | None = None
    codes: list[int] | None = None
    labels: list[str] | None = None
    max_missing: Fraction = 0.0
    unit: str | None = None
    description: str = ""
    hint: str | None = None

    @model_validator(mode="after")
    def _values_belong_to_their_type(self) -> Column:
        for kind, values in (("code", self.codes), ("label", self.labels)):
            if (self.type == kind) != (values is not None):
                message = f"a column of type {kind} lists its {kind}s, other columns have none"
                raise ValueError(message)
        return self


class Data(Strict):
    """Where the rows come from and the contract they must keep.

    Attributes:
        path: CSV file, relative to the project's home.
        url: Where `download-data.py` fetches it.
        generator: What makes the file where it is missing, one of those in `models.data.sources`; never with a URL.
        sha256: Digest the file must have.
        licence: Terms and attribution, shown with the data.
        allow_duplicates: Whether two identical rows may occur.
        columns: Every column of the file, the target included.
    """

    path: str
    url: str | None = None
    generator: str | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    licence: str = ""
    allow_duplicates: bool = False
    columns: dict[str, Column]

    @model_validator(mode="after")
    def _has_one_source(self) -> Data:
        if self.url is not None and self.generator is not None:
            message = "url and generator exclude each other; keep one"
            raise ValueError(message)
        return self


class TargetColumn(Strict):
    """The column to predict.

    Attributes:
        column: Its name. In a multiclass task its labels or codes are the classes, in the file's order.
        positive_above: In a binary task every value above this is the positive class; a label counts by its position.
    """

    column: str
    positive_above: float | None = None


class Split(Strict):
    """The stratified test split, drawn once with a fixed seed."""

    test_size: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: int = 42


class CrossValidation(Strict):
    """Repeated stratified k-fold on the training part."""

    folds: Annotated[int, Field(ge=2)] = 5
    repeats: Annotated[int, Field(ge=1)] = 5


class Candidate(Strict):
    """One algorithm of `models.training.candidates.ALGORITHMS` with its hyper-parameters."""

    params: dict[str, ParameterValue] = Field(default_factory=dict)


class FamilyConfig(Strict):
    """Everything a family needs; a new family is a CSV and one such file.

    Attributes:
        family: What consumers ask for; equals the file's name.
        task: Kind of learning problem.
        registered_model: Name of the registered models. With `{algorithm}`, which stands for the candidate's name,
            every candidate is registered; a plain name takes the winner of the cross-validation alone.
        promotion: Whether `--auto` may act on the family.
        not_better: What happens to a candidate that passes its thresholds but does not beat Production.
        selection_metric: Metric that picks the winner in cross-validation and is compared with Production.
        feature_view: The approved feature schema; without one, schemas are only compared with Production's.
        approvals: Who must agree; without it nobody, and changes made outside are adopted instead of quarantined.
        access: Who may move versions.
        rollback: Guard against going back and forth.
        retention: How long versions that served are kept.
        monitoring: What is watched in Production.
        review: When the rules are looked at again.
        contacts: Whom it concerns.
        numeric: Feature columns that are measured; all others are categories and become one-hot columns.
        forecast: How sales are foretold, of a forecast; no other family has it.
        params_file: YAML file relative to the project's home that overlays the single candidate's hyper-parameters.
        metadata: JSON file relative to the project's home that describes the version each training registered.
    """

    family: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    task: Literal["binary-classification", "multiclass-classification", "sales-forecast"]
    registered_model: str
    promotion: Literal["auto", "manual"] = "manual"
    not_better: Literal["stay", "staging"] = "stay"
    selection_metric: Literal["roc_auc", "accuracy", "precision", "recall", "f1", "rmspe"]
    data: Data
    target: TargetColumn
    numeric: list[str] = Field(default_factory=list)
    forecast: Forecast | None = None
    split: Split = Split()
    cross_validation: CrossValidation = CrossValidation()
    candidates: Annotated[dict[str, Candidate], Field(min_length=1)]
    params_file: str | None = None
    metadata: str | None = None
    gates: Gates = Gates()
    feature_view: FeatureView | None = None
    approvals: Approvals | None = None
    access: Access = Access()
    rollback: Rollback = Rollback()
    retention: Retention = Retention()
    monitoring: Monitoring | None = None
    review: Review = Review()
    contacts: Contacts = Contacts()

    @model_validator(mode="after")
    def _columns_exist(self) -> FamilyConfig:
        for name in [self.target.column, *self.numeric]:
            if name not in self.data.columns:
                message = f"column {name!r} is not described under data.columns"
                raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _columns_have_their_role(self) -> FamilyConfig:
        unfit = [name for name in self.features if self.data.columns[name].type in {"label", "date"}]
        if unfit and not self.is_forecast:
            message = f"column {unfit[0]!r}: only the target may be of type label; give features codes"
            raise ValueError(message)
        if strange := [name for name in self.numeric if name not in self.features]:
            message = f"numeric: column {strange[0]!r} is no feature; remove it"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _target_suits_the_task(self) -> FamilyConfig:
        if self.is_forecast:
            if self.target.positive_above is not None or self.numeric:
                message = "a forecast has neither target.positive_above nor numeric; remove them"
                raise ValueError(message)
        elif self.task == "binary-classification":
            if self.target.positive_above is None:
                message = "target.positive_above: missing; say above which value a row is positive"
                raise ValueError(message)
        elif self.target.positive_above is not None or len(self.classes) < _MULTICLASS:
            message = (
                f"target: a multiclass task needs a column of type label or code with {_MULTICLASS} or more values, "
                "and no positive_above"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _sections_suit_the_task(self) -> FamilyConfig:
        if self.is_forecast != (self.forecast is not None):
            message = "forecast: a family of task sales-forecast has this section, no other one has"
            raise ValueError(message)
        if self.is_forecast != (self.selection_metric in LOWER_IS_BETTER):
            message = f"selection_metric: {self.selection_metric!r} does not measure task {self.task}"
            raise ValueError(message)
        unknown = sorted(set(self.forecast.views) - set(self.candidates)) if self.forecast else []
        if unknown:
            message = f"forecast.views: {unknown[0]!r} is no candidate"
            raise ValueError(message)
        if self.is_forecast and self.registers_every_candidate:
            message = "registered_model: a forecast registers one ensemble of its candidates, so without {algorithm}"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _one_file_overlays_one_candidate(self) -> FamilyConfig:
        if self.params_file is not None and len(self.candidates) != 1:
            message = f"params_file: overlays a single candidate, found {len(self.candidates)}; keep one of both"
            raise ValueError(message)
        return self

    @property
    def is_forecast(self) -> bool:
        """Whether the family foretells sales; otherwise it tells classes apart."""
        return self.task == "sales-forecast"

    @property
    def features(self) -> list[str]:
        """Names of the feature columns, in the file's order."""
        return [
            name
            for name, column in self.data.columns.items()
            if name != self.target.column and column.type not in {"identifier", "ignored"}
        ]

    @property
    def classes(self) -> list[str]:
        """What the classes 0, 1, ... of the target mean."""
        column = self.data.columns[self.target.column]
        if self.task == "binary-classification":
            positive = f"{self.target.column} > {self.target.positive_above:g}"
            return [f"not {positive}", positive]
        return column.labels or [str(code) for code in column.codes or []]

    @property
    def categorical(self) -> list[str]:
        """Names of the feature columns that hold categories."""
        return [name for name in self.features if name not in self.numeric]

    @property
    def registers_every_candidate(self) -> bool:
        """Whether each candidate has a registered model of its own, or only the winner is registered."""
        return "{algorithm}" in self.registered_model

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
        document: Any = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506  # a safe loader
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
    if "channels" in item["loc"]:
        # Whoever writes a channel's URL here writes a secret, which the console must not repeat.
        return f"{key}: {item['msg']}; name the environment variable that holds the channel's URL"
    return f"{key}: {item['msg']}, found {item['input']!r}"
