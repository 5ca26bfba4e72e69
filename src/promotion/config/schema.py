"""The one schema of a family's file: its models and their rules; where the file says it, rows and training."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, WithJsonSchema, model_validator

from promotion.config.document import read_yaml
from promotion.config.events import EventReceivers
from promotion.config.evidence import ExportRules, HoldoutRows, RunLimits
from promotion.config.explain import nearest
from promotion.config.forecasting import Forecast
from promotion.config.policy import (
    Access,
    Aliases,
    Approvals,
    Contacts,
    FeatureView,
    Gates,
    Monitoring,
    Retention,
    Review,
    Rollback,
)
from promotion.config.training import Candidate, CrossValidation, Data, Split, TargetColumn
from promotion.config.values import KeyDigest, Name, Strict, contradiction, listed
from promotion.errors import ConfigError

_MULTICLASS = 3
_EXACT = sys.maxsize
_WILD = {"*": ".*", "{algorithm}": "[A-Za-z0-9_]+"}
_METRICS = {
    "binary-classification": "roc_auc",
    "multiclass-classification": "accuracy",
    "regression": "rmse",
    "sales-forecast": "rmspe",
}
NUMBERED = "classes"
"""The section of a family's file whose keys are values of a column, which may be numbers."""
_CLASSIFICATIONS = ("binary-classification", "multiclass-classification")
_CLASS_METRICS = ("roc_auc", "accuracy", "precision", "recall", "f1")
_CONTRACT_METRICS = {
    "binary-classification": _CLASS_METRICS,
    "multiclass-classification": _CLASS_METRICS,
    "regression": ("rmse", "mae", "mape", "r2"),
    "sales-forecast": ("rmspe",),
}
"""What a model of a contract is selected by, by task."""
_NEEDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("task", "selection_metric", "classes", "export"), ("data", "holdout")),
    **dict.fromkeys(("target", "numeric", "split", "forecast", "feature_view", "candidates"), ("data",)),
    **dict.fromkeys(("cross_validation", "params_file", "metadata"), ("candidates",)),
    **dict.fromkeys(("artifacts", "environment"), ("holdout",)),
}
"""Keys that say something of another section, and the sections of which one must be there."""
_SCORED_GATES = frozenset(
    {
        "better_than_production",
        "latency_p95_ms",
        "peak_memory_mb",
        "cpu",
        "data_quality",
        "split",
        "rollback_plan",
        "slices",
    }
)
"""Gates that run the model on rows."""
_T = TypeVar("_T")


def claim_of(name: str, model: str) -> int:
    """How exactly a name or pattern means a registered model: by how much of it is no placeholder."""
    if not any(mark in name for mark in _WILD):
        return _EXACT if name == model else 0
    parts = re.split(r"(\*|\{algorithm\})", name)
    expression = "".join(_WILD.get(part) or re.escape(part) for part in parts)
    return 1 + sum(map(len, parts[::2])) if re.fullmatch(expression, model, re.DOTALL) else 0


_IN_FULL = {"binary": "binary-classification", "multiclass": "multiclass-classification"}
_Kind = Annotated[
    Literal["binary-classification", "multiclass-classification", "regression", "sales-forecast"],
    BeforeValidator(lambda said: _IN_FULL.get(said, said) if isinstance(said, str) else said),
    WithJsonSchema({"enum": [*_METRICS, *_IN_FULL]}),
]
Models = Annotated[
    list[Name],
    Field(min_length=1),
    BeforeValidator(listed("the name of a registered model")),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
    ),
]


ClassNames = Annotated[
    dict[str, Name],
    Field(min_length=1),
    BeforeValidator(lambda said: {str(key): name for key, name in said.items()} if isinstance(said, dict) else said),
]


class FamilyConfig(Strict):
    """Everything a family needs: the more its file says, the more is checked.

    With `family` and `registered_model` alone, versions move by the rules of the file; with `task` and `holdout` they
    are scored here as well, wherever they come from; with `data` and `target` they are held against a contract of the
    columns, too; with `candidates` they are trained here.

    Attributes:
        family: What consumers ask for; equals the file's name.
        stated_models: Name of the registered model, or a list of names. `*` in a name stands for any text. With
            `{algorithm}`, which stands for the candidate's name, every candidate trained here is registered; a plain
            name takes the winner of the cross-validation alone.
        stated_task: Kind of learning problem; `binary` and `multiclass` for short.
        promotion: Whether `--auto` may act on the family: on what is trained here, and without candidates on what
            somebody registered with `promotion register`.
        rules: `committed`: no version moves on while this file differs from the git commit that is checked out; the way
            back stays open.
        not_better: What happens to a candidate that passes its thresholds but does not beat Production.
        stated_metric: Metric that picks the winner in cross-validation and is compared with Production; without it
            `roc_auc` for two classes, `accuracy` for more, `rmse` for a number, `rmspe` for sales. With `holdout` any
            scorer of scikit-learn by its name.
        stated_holdout: Rows to score models on that were trained elsewhere; instead of `data`.
        artifacts: What is done with models that run code of their own, and how much they may use.
        environment: `current`: models run with the libraries that are installed here. `model`: with those that the
            model's own requirements name, installed beside them by uv; those of a safe format, too.
        stated_data: The rows that models are trained on and scored on.
        stated_target: The column to predict.
        class_names: What people read for each class, by its value in the target; in a binary task with `positive_above`
            0 is what lies below and 1 what lies above. The server answers with these names.
        stated_numeric: Feature columns that are measured, beside those of type `number` and `integer`; all others are
            categories and become one-hot columns.
        forecast: How sales are foretold, of a forecast; no other family has it.
        split: How the test rows are drawn.
        cross_validation: How the candidates are compared.
        stated_candidates: The algorithms that are trained, by name; without them models are trained elsewhere.
        params_file: YAML file relative to the project's home that overlays the single candidate's hyper-parameters.
        metadata: JSON file relative to the project's home that describes the version each training registered.
        gates: The evidence a version needs.
        export: What an export may hold of the data.
        feature_view: The approved feature schema; without one, schemas are only compared with Production's.
        approvals: Who must agree; without it nobody, and changes made outside are adopted instead of quarantined.
        trusted_origins: Keys of other installations, each by the sha256 of its PEM file: a version that was transferred
            from there and trained there counts as trained; without its key it is received.
        access: Who may move versions.
        aliases: What the aliases are called that follow the journal.
        rollback: Guard against going back and forth.
        retention: How long versions that served are kept.
        monitoring: What is watched in Production.
        review: When the rules are looked at again.
        contacts: Whom it concerns.
        events: By name, the systems that are told by HTTP what happens to the family's versions, beside those that
            `config/events.yaml` names for all families.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    family: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    stated_models: Annotated[Models, Field(alias="registered_model")]
    stated_task: _Kind | None = Field(None, alias="task")
    promotion: Literal["auto", "manual"] = "manual"
    rules: Literal["committed"] | None = None
    not_better: Literal["stay", "staging"] = "stay"
    stated_metric: Name | None = Field(None, alias="selection_metric")
    stated_holdout: HoldoutRows | None = Field(None, alias="holdout")
    artifacts: RunLimits = RunLimits()
    environment: Literal["current", "model"] = "current"
    stated_data: Data | None = Field(None, alias="data")
    stated_target: TargetColumn | None = Field(None, alias="target")
    class_names: Annotated[ClassNames | None, Field(alias="classes")] = None
    stated_numeric: list[str] = Field(default_factory=list, alias="numeric")
    forecast: Forecast | None = None
    split: Split = Split()
    cross_validation: CrossValidation = CrossValidation()
    stated_candidates: Annotated[dict[str, Candidate], Field(min_length=1)] | None = Field(None, alias="candidates")
    params_file: str | None = None
    metadata: str | None = None
    gates: Gates = Gates()
    export: ExportRules = ExportRules()
    feature_view: FeatureView | None = None
    approvals: Approvals | None = None
    trusted_origins: list[KeyDigest] = []
    access: Access = Access()
    aliases: Aliases = Aliases()
    rollback: Rollback = Rollback()
    retention: Retention = Retention()
    monitoring: Monitoring | None = None
    review: Review = Review()
    contacts: Contacts = Contacts()
    events: EventReceivers = {}

    _file: Path | None = PrivateAttr(None)
    _sha256: str | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _sections_have_what_they_need(self) -> Self:
        present = {
            field.alias or name
            for name, field in type(self).model_fields.items()
            if getattr(self, name) is not None and name in self.model_fields_set
        }
        for key, sections in _NEEDS.items():
            if key in present and present.isdisjoint(sections):
                needed = " or ".join(sections)
                raise contradiction(
                    f"needs the section {needed}, which the file does not have; add that, or remove this", key
                )
        if {"data", "holdout"} <= present:
            raise contradiction("the rows to score on are in data already; keep one of both", "holdout")
        for section, keys in (("data", ("task", "target")), ("holdout", ("task",))):
            if section in present and (missing := [key for key in keys if key not in present]):
                raise contradiction(f"missing; add it: it says what is learned from the section {section}", missing[0])
        return self

    @model_validator(mode="after")
    def _gates_have_rows(self) -> Self:
        if not self.has_holdout and (rowless := sorted(self.gates.model_fields_set & _SCORED_GATES)):
            raise contradiction(
                "runs the model on rows, and the file has no section data or holdout; add one, or remove this",
                "gates",
                rowless[0],
            )
        return self

    @model_validator(mode="after")
    def _models_suit_the_training(self) -> Self:
        if self.trains_here and (len(self.stated_models) > 1 or "*" in self.stated_models[0]):
            raise contradiction(
                "a family with candidates registers under one name, or one with {algorithm} in it; write that",
                "registered_model",
            )
        return self

    @model_validator(mode="after")
    def _columns_exist(self) -> Self:
        if self.has_contract:
            named: list[tuple[tuple[str, ...], str]] = [(("target", "column"), self.target.column)]
            named += [(("numeric", str(place)), name) for place, name in enumerate(self.stated_numeric)]
            named += [(("split", key), name) for key in ("groups", "time") if (name := getattr(self.split, key))]
            named += [(("split", "stratify"), name) for name in self.split.stratify]
            for key, name in named:
                if key[0] == "split" and (self.is_forecast or name == self.target.column):
                    what = "a forecast is split by its horizon" if self.is_forecast else "the target decides already"
                    raise contradiction(f"{what}; remove it", *key)
                if name not in self.data.columns:
                    known = nearest(name, self.data.columns) or "; add it there, or correct the name"
                    raise contradiction(f"column {name!r} is not described under data.columns{known}", *key)
        return self

    @model_validator(mode="after")
    def _columns_have_their_role(self) -> Self:
        if not self.has_contract:
            return self
        if odd := [rule.column for rule in self.gates.slices if rule.column not in self.features or self.is_forecast]:
            raise contradiction(f"column {odd[0]!r} is no feature of a table; remove it", "gates", "slices")
        watched = self.monitoring.segments if self.monitoring else []
        if odd := [name for name in watched if name not in self.features or name in self.numeric or self.is_forecast]:
            raise contradiction(f"column {odd[0]!r} is no feature of codes; remove it", "monitoring", "segments")
        if strange := [name for name in self.stated_numeric if name not in self.features or name in self.texts]:
            what = "holds texts" if strange[0] in self.texts else "is no feature"
            raise contradiction(f"column {strange[0]!r} {what}; remove it", "numeric")
        if self.data.columns[self.target.column].unknown == "other":
            raise contradiction("every class is known; remove it", "data", "columns", self.target.column, "unknown")
        return self

    @model_validator(mode="after")
    def _target_suits_the_task(self) -> Self:
        if not self.has_contract or self.task == "regression":
            return self
        if self.is_forecast:
            if self.target.positive_above is not None or self.stated_numeric:
                key = ("numeric",) if self.stated_numeric else ("target", "positive_above")
                raise contradiction("a forecast has neither target.positive_above nor numeric; remove it", *key)
        elif self.task == "binary-classification":
            if self.target.positive_above is None:
                raise contradiction("missing; say above which value a row is positive", "target", "positive_above")
            if (kind := self.data.columns[self.target.column].type) in {"date", "identifier", "ignored"}:
                why = f"column {self.target.column!r} is of type {kind}, which has no classes; correct the column"
                raise contradiction(why, "target", "column")
        elif self.target.positive_above is not None or len(self.classes) < _MULTICLASS:
            raise contradiction(
                f"a multiclass task needs a column of type label or code with {_MULTICLASS} or more values, and no "
                "positive_above; correct the column, or the task",
                "target",
            )
        return self

    @model_validator(mode="after")
    def _target_of_a_regression_is_a_number(self) -> Self:
        if not self.has_contract or self.task != "regression":
            return self
        if self.target.positive_above is not None:
            raise contradiction("a regression predicts the number itself; remove it", "target", "positive_above")
        if (kind := self.data.columns[self.target.column].type) not in {"number", "integer"}:
            raise contradiction(
                f"a regression needs a column of type number or integer, {self.target.column!r} is of type {kind}; "
                "correct the column, or the task",
                "target",
                "column",
            )
        return self

    @model_validator(mode="after")
    def _each_class_has_one_name(self) -> Self:
        names = list((self.class_names or {}).values())
        if names and self.task not in _CLASSIFICATIONS:
            raise contradiction("names classes, and the task has none; remove it", "classes")
        if twice := [name for place, name in enumerate(names) if name in names[:place]]:
            raise contradiction(f"{twice[0]!r} names two classes; name each of its own", "classes")
        if self.has_contract and (wrong := self._misnamed(self._target_values)):
            raise contradiction(wrong, "classes")
        return self

    @model_validator(mode="after")
    def _sections_suit_the_task(self) -> Self:
        if not self.has_contract:
            return self
        if self.selection_metric not in (measuring := _CONTRACT_METRICS[self.task]):
            raise contradiction(
                f"expected one of {', '.join(measuring)}, which measure task {self.task}, found "
                f"{self.selection_metric!r}{nearest(self.selection_metric, measuring) or '; correct it'}",
                "selection_metric",
            )
        if self.is_forecast != (self.forecast is not None):
            raise contradiction(
                "a family of task sales-forecast has this section, no other one has; correct task or section",
                "forecast",
            )
        unknown = sorted(set(self.forecast.views) - set(self.stated_candidates or {})) if self.forecast else []
        if unknown:
            raise contradiction(f"{unknown[0]!r} is no candidate; remove it", "forecast", "views", unknown[0])
        if self.is_forecast and self.registers_every_candidate:
            raise contradiction(
                "a forecast registers one ensemble of its candidates, so without {algorithm}", "registered_model"
            )
        return self

    @model_validator(mode="after")
    def _one_file_overlays_one_candidate(self) -> Self:
        if self.params_file is not None and len(self.candidates) != 1:
            raise contradiction(
                f"overlays a single candidate, found {len(self.candidates)}; keep one of both", "params_file"
            )
        return self

    def from_file(self, file: Path, sha256: str) -> Self:
        """The same family, which knows where it was read, and which bytes."""
        self._file, self._sha256 = file, sha256
        return self

    @property
    def file(self) -> Path | None:
        """Where it was read; None for a family that somebody put together."""
        return self._file

    @property
    def sha256(self) -> str | None:
        """Digest of the bytes it was read from."""
        return self._sha256

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other sections, which go by their names in the file; nothing is validated."""
        fields = {field.alias or name: name for name, field in type(self).model_fields.items()}
        return super().model_copy(update={fields[key]: value for key, value in (update or {}).items()}, deep=deep)

    @property
    def trains_here(self) -> bool:
        """Whether this project trains the family's models; otherwise they come from elsewhere."""
        return self.stated_candidates is not None

    @property
    def has_holdout(self) -> bool:
        """Whether the file describes rows to score models on; otherwise they are only ruled on."""
        return self.has_contract or self.stated_holdout is not None

    @property
    def exports_generated_rows(self) -> bool:
        """Whether no row of the data may lie in an export."""
        return (self.export.rows or ("generated" if self.approvals else "held-out")) == "generated"

    @property
    def trainer_metrics(self) -> list[str]:
        """Metrics of which the trainer's figure is bounded, in the file's order."""
        return [name for name, threshold in self.gates.thresholds.items() if threshold.source == "run"]

    @property
    def has_contract(self) -> bool:
        """Whether the rows to score on are a test split of what models are trained on, with a contract."""
        return self.stated_data is not None

    @property
    def holdout(self) -> HoldoutRows:
        """Rows to score models on that were trained elsewhere."""
        return self._section("holdout", self.stated_holdout)

    @property
    def task(self) -> str:
        """Kind of learning problem; a `ConfigError` where the file does not say, as for each section below."""
        return self._section("task", self.stated_task)

    @property
    def data(self) -> Data:
        """Where the rows come from and the contract they keep."""
        return self._section("data", self.stated_data)

    @property
    def target(self) -> TargetColumn:
        """The column to predict."""
        return self._section("target", self.stated_target)

    @property
    def candidates(self) -> dict[str, Candidate]:
        """The algorithms that are trained, by name."""
        return self._section("candidates", self.stated_candidates)

    @property
    def selection_metric(self) -> str:
        """Metric that is compared with Production."""
        return self.stated_metric or _METRICS[self.task]

    @property
    def monitoring_policy(self) -> Monitoring:
        """What is watched, also where the file has no such section; the metrics it is judged by have bounds."""
        chosen = self.stated_metric or _METRICS.get(self.stated_task or "")
        return (self.monitoring or Monitoring()).with_metrics([*self.gates.thresholds, *([chosen] if chosen else [])])

    @property
    def registered_model(self) -> str:
        """The one name its models are registered under; with `{algorithm}` for the candidate's."""
        if len(self.stated_models) > 1:
            raise ConfigError(
                f"family {self.family!r} has several registered models: name one of {', '.join(self.stated_models)}"
            )
        return self.stated_models[0]

    @property
    def is_forecast(self) -> bool:
        """Whether the family foretells sales; otherwise it answers row by row."""
        return self.stated_task == "sales-forecast"

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
        """What the classes 0, 1, ... of the target mean; none of a regression."""
        if self.task == "regression":
            return []
        column = self.data.columns[self.target.column]
        if self.task == "binary-classification":
            positive = f"{self.target.column} > {self.target.positive_above:g}"
            return [f"not {positive}", positive]
        return column.labels or [str(code) for code in column.codes or []]

    @property
    def labels(self) -> list[str]:
        """What people read for the classes 0, 1, ... of the target."""
        return self.labels_of(self._target_values) if self.class_names else self.classes

    def labels_of(self, values: list[str]) -> list[str]:
        """The names people read for classes of these values; the values where the file names none.

        Raises:
            ConfigError: It names others than these.
        """
        if not self.class_names:
            return values
        if wrong := self._misnamed(values):
            raise ConfigError(f"{self.at('classes')}: {wrong}")
        return [self.class_names[value] for value in values]

    @property
    def _target_values(self) -> list[str]:
        return ["0", "1"] if self.task == "binary-classification" else self.classes

    def _misnamed(self, values: list[str]) -> str | None:
        if not self.class_names or self.class_names.keys() == set(values):
            return None
        return f"names {', '.join(self.class_names)}; expected one name for each of {', '.join(values)}"

    @property
    def numeric(self) -> list[str]:
        """Names of the feature columns that are measured: those the file lists, then those whose type says so."""
        kinds = {"number", "integer", "boolean", "date"}
        measured = [name for name in self.features if self.data.columns[name].type in kinds]
        return list(dict.fromkeys([*self.stated_numeric, *measured]))

    @property
    def categorical(self) -> list[str]:
        """Names of the feature columns that hold categories as numbers."""
        return [name for name in self.features if name not in {*self.numeric, *self.texts}]

    @property
    def texts(self) -> list[str]:
        """Names of the feature columns that hold categories as texts."""
        return [name for name in self.features if self.data.columns[name].type == "label"]

    @property
    def dates(self) -> list[str]:
        """Names of the feature columns that hold days, as texts."""
        return [name for name in self.features if self.data.columns[name].type == "date"]

    @property
    def registers_every_candidate(self) -> bool:
        """Whether each candidate has a registered model of its own, or only the winner is registered."""
        return self.trains_here and self.has_patterns

    @property
    def has_patterns(self) -> bool:
        """Whether only the registry knows what its models are called."""
        return any(mark in name for name in self.stated_models for mark in _WILD)

    def model_name(self, algorithm: str) -> str:
        """The registered model of one candidate algorithm."""
        return self.registered_model.replace("{algorithm}", algorithm)

    def owns(self, model: str) -> bool:
        """Whether a registered model belongs to this family, as far as its own file says."""
        return self.claim(model) > 0

    def claim(self, model: str) -> int:
        """How exactly the file names a registered model; 0 when it does not."""
        return max(claim_of(name, model) for name in self.stated_models)

    def at(self, *keys: str) -> str:
        """How a message about a key of the file begins: with file, line and key."""
        place = f"config/{self.family}.yaml"
        if self._file is not None:
            place = f"config/{self._file.name}:{read_yaml(self._file, numbered=NUMBERED).place(keys).line}"
        return f"{place}: {'.'.join(keys)}"

    def lacks(self, section: str, so: str = "add it, docs/FAMILY-FILE.md describes it") -> ConfigError:
        """The error that names a section which the file does not have.

        Args:
            section: Its key.
            so: What follows, or what to do.
        """
        return ConfigError(f"{self.at(section)}: this needs a section that the file does not have: {so}")

    def require_training(self) -> None:
        """Refuse to train what is trained elsewhere.

        Raises:
            ConfigError: The file has no candidates.
        """
        if not self.trains_here:
            raise self.lacks("candidates", "its models are trained elsewhere; nothing was trained or registered")

    def _section(self, key: str, value: _T | None) -> _T:
        if value is None:
            raise self.lacks(key)
        return value
