"""LightGBM, XGBoost and CatBoost behind one small interface, each kept in its library's own file format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.forecast.booster import Booster, Fit, OnRound, Sample, Vector
from promotion.errors import ArtifactRefused, ConfigError
from promotion.evaluation.received.openmp import load_lightgbm


class LightGBM(Booster):
    """Ke et al. (2017), LightGBM: A Highly Efficient Gradient Boosting Decision Tree."""

    name = "lightgbm"
    title = "LightGBM"
    filename = "lightgbm.txt"

    @classmethod
    def train(cls, learn: Sample, stop: Sample | None, fit: Fit, on_round: OnRound) -> Booster:
        """Fit; see `Booster.train`."""
        lightgbm = load_lightgbm()

        curves: dict[str, dict[str, list[float]]] = {}
        given = {
            "objective": "regression",
            "metric": "rmse",
            "verbosity": -1,
            "seed": fit.seed,
            "num_threads": fit.threads,
        }
        data = lightgbm.Dataset(learn.table, learn.target, weight=learn.weight)
        callbacks: list[Callable[..., Any]] = [lambda env: on_round(env.iteration + 1)]
        valid = []
        if stop is not None:
            valid = [lightgbm.Dataset(stop.table, stop.target, weight=stop.weight, reference=data)]
            callbacks += [lightgbm.record_evaluation(curves), lightgbm.early_stopping(fit.patience, verbose=False)]
        try:
            model = lightgbm.train(
                given | dict(fit.params),
                data,
                num_boost_round=fit.rounds,
                valid_sets=valid,
                valid_names=["stop"][: len(valid)],
                callbacks=callbacks,
            )
        except lightgbm.basic.LightGBMError as error:
            raise _refused(cls.name, error) from error
        curve = curves["stop"]["rmse"] if curves else []
        return cls(model, model.best_iteration if curve else fit.rounds, curve)

    @classmethod
    def load(cls, folder: Path) -> Booster:
        """Read the text file."""
        lightgbm = load_lightgbm()

        path = _existing(folder / cls.filename)
        try:
            model = lightgbm.Booster(model_file=path)
        except lightgbm.basic.LightGBMError as error:
            raise _unreadable(path, error) from error
        return cls(model, model.num_trees(), [])

    def predict(self, table: pd.DataFrame) -> Vector:
        """Answer every row."""
        answer: Vector = self._model.predict(table.to_numpy(), num_iteration=self.rounds)
        return answer

    def save(self, folder: Path) -> None:
        """Write the text file."""
        self._model.save_model(folder / self.filename, num_iteration=self.rounds)


class XGBoost(Booster):
    """Chen & Guestrin (2016), XGBoost: A Scalable Tree Boosting System."""

    name = "xgboost"
    title = "XGBoost"
    filename = "xgboost.ubj"

    @classmethod
    def train(cls, learn: Sample, stop: Sample | None, fit: Fit, on_round: OnRound) -> Booster:
        """Fit; see `Booster.train`."""
        import xgboost

        class _Report(xgboost.callback.TrainingCallback):
            def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ARG002  # its interface
                on_round(epoch + 1)
                return False

        given = {
            "objective": "reg:squarederror",
            "tree_method": "hist",
            "eval_metric": "rmse",
            "verbosity": 0,
            "seed": fit.seed,
            "nthread": fit.threads,
        }
        curves: dict[str, dict[str, list[float]]] = {}
        data = xgboost.QuantileDMatrix(learn.table.to_numpy(), learn.target, weight=learn.weight, nthread=fit.threads)
        watched = []
        if stop is not None:
            held = xgboost.QuantileDMatrix(stop.table.to_numpy(), stop.target, weight=stop.weight, ref=data)
            watched = [(held, "stop")]
        try:
            model = xgboost.train(
                given | dict(fit.params),
                data,
                num_boost_round=fit.rounds,
                evals=watched,
                evals_result=curves,
                early_stopping_rounds=fit.patience if watched else None,
                verbose_eval=False,
                callbacks=[_Report()],
            )
        except xgboost.core.XGBoostError as error:
            raise _refused(cls.name, error) from error
        curve = [float(value) for value in curves["stop"]["rmse"]] if watched else []
        return cls(model, model.best_iteration + 1 if watched else fit.rounds, curve)

    @classmethod
    def load(cls, folder: Path) -> Booster:
        """Read the UBJSON file."""
        import xgboost

        path = _existing(folder / cls.filename)
        model = xgboost.Booster()
        try:
            model.load_model(path)
        except xgboost.core.XGBoostError as error:
            raise _unreadable(path, error) from error
        return cls(model, model.num_boosted_rounds(), [])

    def predict(self, table: pd.DataFrame) -> Vector:
        """Answer every row."""
        answer = self._model.inplace_predict(table.to_numpy(), iteration_range=(0, self.rounds))
        return np.asarray(answer, dtype=np.float64)

    def save(self, folder: Path) -> None:
        """Write the UBJSON file."""
        self._model[: self.rounds].save_model(folder / self.filename)


class CatBoost(Booster):
    """Prokhorenkova et al. (2018), CatBoost: Unbiased Boosting with Categorical Features."""

    name = "catboost"
    title = "CatBoost"
    filename = "catboost.cbm"

    @classmethod
    def train(cls, learn: Sample, stop: Sample | None, fit: Fit, on_round: OnRound) -> Booster:
        """Fit; see `Booster.train`."""
        import catboost

        class _Report:
            def after_iteration(self, info: Any) -> bool:
                on_round(info.iteration)
                return True

        given = {
            "loss_function": "RMSE",
            "iterations": fit.rounds,
            "random_seed": fit.seed,
            "thread_count": fit.threads,
            "allow_writing_files": False,
            "logging_level": "Silent",
        }
        try:
            model = catboost.CatBoostRegressor(**(given | dict(fit.params)))
            held = None if stop is None else catboost.Pool(stop.table, stop.target, weight=stop.weight)
            model.fit(
                catboost.Pool(learn.table, learn.target, weight=learn.weight),
                eval_set=held,
                early_stopping_rounds=None if stop is None else fit.patience,
                use_best_model=stop is not None,
                callbacks=[_Report()],
            )
        except (catboost.CatBoostError, TypeError) as error:
            raise _refused(cls.name, error) from error
        curve = [] if stop is None else [float(value) for value in model.get_evals_result()["validation"]["RMSE"]]
        return cls(model, int(model.tree_count_), curve)

    @classmethod
    def load(cls, folder: Path) -> Booster:
        """Read the binary file."""
        import catboost

        path = _existing(folder / cls.filename)
        model = catboost.CatBoostRegressor()
        try:
            model.load_model(str(path))
        except catboost.CatBoostError as error:
            raise _unreadable(path, error) from error
        return cls(model, int(model.tree_count_), [])

    def predict(self, table: pd.DataFrame) -> Vector:
        """Answer every row."""
        return np.asarray(self._model.predict(table.to_numpy()), dtype=np.float64)

    def save(self, folder: Path) -> None:
        """Write the binary file."""
        self._model.save_model(str(folder / self.filename))


BOOSTERS: dict[str, type[Booster]] = {kind.name: kind for kind in (LightGBM, XGBoost, CatBoost)}


def _refused(name: str, error: Exception) -> ConfigError:
    summary = " ".join(str(error).split())
    return ConfigError(f"candidates.{name}.params: {name} refuses them: {summary}")


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ArtifactRefused(f"{path}: missing; the model is incomplete, register it again")
    return path


def _unreadable(path: Path, error: Exception) -> ArtifactRefused:
    return ArtifactRefused(f"{path}: not readable by its library: {' '.join(str(error).split())}")
