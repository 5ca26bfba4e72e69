"""A version that was trained elsewhere, as an export needs it: its contract, its rows, its answers, its graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from promotion.config.family import FamilyConfig
from promotion.data.arrays import FloatArray, IntArray, with_cells
from promotion.errors import DataError, PromotionError, UsageError
from promotion.evaluation.received import predictions as read
from promotion.evaluation.received.columns import missing_columns, typed_rows
from promotion.evaluation.received.flavours import ReceivedModel, describe_model
from promotion.evaluation.received.predictor import open_worker
from promotion.evaluation.received.process import ModelFailed, ModelWorker
from promotion.evaluation.received.rows import HoldoutFile, class_name, class_order, told_classes
from promotion.evaluation.received.worker import rows_in
from promotion.evaluation.scorers import interval, measurable
from promotion.export.catboost_file import is_catboost_file
from promotion.export.contract import CellType, Contract, FeatureRules
from promotion.export.onnx import NotTranslatable, served_graph, untranslatable
from promotion.export.servable import ServableVersion
from promotion.gates.evidence import Interval
from promotion.registry.contract import ModelVersion

_MOST_ROWS = 100_000
_TYPES: dict[str, CellType] = {
    **dict.fromkeys(("float", "double"), "number"),
    **dict.fromkeys(("integer", "long"), "integer"),
    "boolean": "boolean",
    "string": "text",
}
_METRICS = {False: ("accuracy", "precision", "recall", "f1", "roc_auc"), True: ("rmse", "mae")}
_SEED = 42


@contextmanager
def received_version(config: FamilyConfig, version: ModelVersion, files: Path, home: Path) -> Iterator[ServableVersion]:
    """Open a received version for an export.

    Args:
        config: Its family.
        version: Which.
        files: Its files; a private copy.
        home: Folder the holdout's path is relative to.

    Raises:
        NotTranslatable: It runs as code only, or on columns that no server takes.
        ArtifactRefused: It runs code, and the family's file does not allow that.
        DataError: The holdout cannot be read.
    """
    is_regression = config.task == "regression"
    model = describe_model(files, classes=not is_regression)
    where = (
        f"serve it with MLflow's own server: mlflow models serve --model-uri models:/{version.model}/{version.number}"
    )
    if model.order["loader"] == "mlflow" and not model.library:
        raise NotTranslatable(f"{version} runs as code only, so it is not exported: {where} (docs/SERVING.md)")
    holdout = HoldoutFile(config.holdout, home, config.task)
    if holdout.problems:
        raise DataError(holdout.problems[0])
    with open_worker(config, files, model) as worker:
        asked = _Asked(config, model, holdout, worker)
        yield asked.source(where)


class _Asked:
    """One version and the holdout's rows as it takes them."""

    def __init__(self, config: FamilyConfig, model: ReceivedModel, holdout: HoldoutFile, worker: ModelWorker) -> None:
        self._config, self._model, self._holdout, self._worker = config, model, holdout, worker

    def source(self, instead: str) -> ServableVersion:
        """What the export is made from."""
        contract = self._contract(instead)
        return ServableVersion(
            contract=contract,
            model=_Answering(self, contract),
            rows=self.rows,
            learned=self.rows,
            metrics=self._metrics(contract),
            data_sha256=self._holdout.sha256,
            graph=lambda: self._graph(contract),
            segments=[name for name in self._config.monitoring_policy.segments if name in self.features],
        )

    @cached_property
    def features(self) -> list[str]:
        """Names of the columns that the model is fed, in its order."""
        inputs = self._model.inputs
        places = self._holdout.features if self._model.names_columns else self._holdout.plain_features
        if inputs is None:
            return places
        if problems := missing_columns(inputs, places):
            raise DataError(f"{self._holdout.name}: {problems[0]}")
        names = [item.name if item.name is not None else places[at] for at, item in enumerate(inputs)]
        return [name for name in names if name in places]

    @cached_property
    def _sampled(self) -> tuple[pd.DataFrame, IntArray]:
        """Rows from all over the holdout as the model takes them, and which they are."""
        step, first, parts, places = -(-self._holdout.rows // _MOST_ROWS), 0, [], []
        for chunk in self._holdout.chunks() if self._model.takes_text else self._holdout.untyped_chunks():
            chosen = np.arange(-first % step, len(chunk), step)
            parts.append(rows_in(self.stream(chunk.iloc[chosen]), {}))
            places.append(first + chosen)
            first += len(chunk)
        return pd.concat(parts, ignore_index=True), np.concatenate(places)

    @property
    def rows(self) -> pd.DataFrame:
        """Rows of the holdout × the model's columns."""
        return self._sampled[0]

    def stream(self, frame: pd.DataFrame) -> bytes:
        """Rows as the worker takes them."""
        features = [str(name) for name in frame.columns] if self._model.names_columns else self.features
        return typed_rows(frame, self._model.inputs, features, self._holdout.name)

    def raw(self, frame: pd.DataFrame) -> Any:
        """What the model says of rows."""
        return self._worker.predict(self.stream(frame), len(frame))

    @cached_property
    def names(self) -> list[str]:
        """The classes, in the contract's order."""
        own = self.raw(self.rows.head(1)).classes
        return told_classes(own, self._holdout.classes, self._config.holdout.positive)

    def _contract(self, instead: str) -> Contract:
        rules = {name: self._rules(place, name, instead) for place, name in enumerate(self.features)}
        names = [] if self._config.task == "regression" else self.names
        return Contract(
            family=self._config.family,
            columns=rules,
            target=self._config.holdout.target,
            classes=names,
            numeric=frozenset(name for name, rule in rules.items() if rule.type in {"number", "integer"}),
            instead=instead,
            answers=_values(names),
            labels=self._config.labels_of(names),
        )

    def _rules(self, place: int, name: str, instead: str) -> FeatureRules:
        cells = self.rows[name]
        if self._model.inputs is None:
            kind: CellType | None = _kind_of(cells)
            required = True
        else:
            item = next((each for each in self._model.inputs if each.name == name), self._model.inputs[place])
            kind, required = _TYPES.get(item.type), item.required
        if kind is None:
            raise NotTranslatable(f"column {name!r} is of a type that no server of ours takes: {instead}")
        is_empty = bool(cells.isna().any())
        return FeatureRules(type=kind, nullable=is_empty or (not required and self._takes_empty(name)))

    def _takes_empty(self, name: str) -> bool:
        """Whether the model answers a row whose cell of a column is empty: CatBoost takes no empty category."""
        row = with_cells(self.rows.head(1), {name: np.nan})
        try:
            self.raw(row)
        except PromotionError:
            return False
        return True

    def _metrics(self, contract: Contract) -> dict[str, Interval]:
        answers, places = _Answering(self, contract).answers(self.rows), self._sampled[1]
        target: Any
        if not contract.classes:
            target, count = self._holdout.target_numbers[places], 0
        else:
            known = self._holdout.classes
            order = np.array([contract.classes.index(name) if name in contract.classes else -1 for name in known])
            target, count = order[self._holdout.target_classes[places]], len(contract.classes)
        scores = measurable(_METRICS[not contract.classes], self._config.task, count, answers)
        return {score.name: interval(score, target, answers, seed=_SEED, groups=None) for score in scores}

    def _graph(self, contract: Contract) -> bytes:
        columns = [(name, name in contract.texts) for name in contract.features]
        try:
            converted = self._worker.translate(columns, contract.family)
        except ModelFailed as error:
            if "ModuleNotFoundError" in str(error):
                raise UsageError(
                    f"{error}: the converters are missing where the model runs: pip install 'promotion-layer[export]', "
                    f"and environment: {self._config.environment} must be current"
                ) from error
            raise untranslatable(contract, str(error)) from error
        if is_catboost_file(converted):
            import_module("catboost")  # which the proof needs; the model may have had its own
            return converted
        return served_graph(converted, contract, self._order(contract.classes) if contract.classes else None)

    def _order(self, names: Sequence[str]) -> list[int]:
        """Where the model has the probability of each class."""
        own = [class_name(name) for name in self.raw(self.rows.head(1)).classes or ()]
        answered = own if set(own) >= set(names) else sorted(names, key=class_order)
        return [answered.index(name) for name in names]


class _Answering:
    """The registered model itself, with the methods of a scikit-learn pipeline."""

    def __init__(self, asked: _Asked, contract: Contract) -> None:
        self._asked, self._contract = asked, contract

    def answers(self, rows: pd.DataFrame) -> read.Answers:
        """Its answers in the contract's terms."""
        if not len(rows):
            return read.Answers(np.empty(0), np.empty(0))
        raw = self._asked.raw(rows)
        if not self._contract.classes:
            return read.Answers(read.numbers(raw))
        found = read.classes(raw, self._contract.classes)
        if found.probability is None:
            raise untranslatable(self._contract, "it answers classes without probabilities")
        return found

    def predict(self, rows: pd.DataFrame) -> IntArray | FloatArray:
        """Position of a class, or a number."""
        return self.answers(rows).predicted

    def predict_proba(self, rows: pd.DataFrame) -> FloatArray:
        """One probability for each class."""
        found = self.answers(rows).probability
        assert found is not None  # noqa: S101  # see above
        return np.stack([1 - found, found], axis=1) if found.ndim == 1 else found


def _values(names: Sequence[str]) -> list[int | float | str] | None:
    """Classes as the model itself answers them: numbers where they are some."""
    try:
        return [int(name) if name.lstrip("-").isdecimal() else float(name) for name in names] or None
    except ValueError:
        return list(names)


def _kind_of(cells: pd.Series) -> CellType | None:
    if pd.api.types.is_bool_dtype(cells):
        return "boolean"
    if pd.api.types.is_integer_dtype(cells):
        return "integer"
    if pd.api.types.is_numeric_dtype(cells):
        return "number"
    return "text" if cells.dtype == object else None
