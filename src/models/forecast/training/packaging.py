"""How the ensemble becomes one MLflow model: native booster files, and code instead of a pickle."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

import promotion
from models import forecast
from models.forecast import ENSEMBLE
from models.forecast.ensemble import Ensemble
from models.training.packaging import pinned
from promotion.config.family import FamilyConfig
from promotion.evaluation.signature import signature_types

# What loading and predicting imports; exact, so that a served model computes what was evaluated.
REQUIREMENTS = ("mlflow", "lightgbm", "xgboost-cpu", "catboost", "pandas", "numpy", "scipy", "python-dateutil")
_PANDAS = {"long": "int64", "double": "float64", "string": "object"}
_MODEL = "ensemble_model.py"
_HERE = Path(forecast.__file__).resolve().parent
# Modules the model itself is made of; how it learns stays at home.
_MODULES = ("__init__", "booster", "boosters", "calendar", "ensemble", "features", "history", "rows", "windows")
_PROMOTION = ("__init__", "errors", "evaluation/__init__", "evaluation/received/__init__", "evaluation/received/openmp")


def save_ensemble(
    ensemble: Ensemble, config: FamilyConfig, example: pd.DataFrame, folder: Path, description: Any
) -> None:
    """Write the ensemble as MLflow model "from code".

    `artifacts/ensemble/` holds native files, `code/` the modules that read them, so that `mlflow.pyfunc.load_model`
    works where this project is not installed. Whoever has the project loads with `load_artifact`, which runs none of
    the code in the folder.

    Args:
        ensemble: Fitted.
        config: The family; its data contract is the signature.
        example: Rows to predict; becomes the input example.
        folder: Does not exist yet.
        description: MLflow's `Model`.
    """
    import mlflow.pyfunc

    with TemporaryDirectory(prefix="ensemble-") as scratch:
        files = Path(scratch) / ENSEMBLE.name
        ensemble.save(files)
        mlflow.pyfunc.save_model(
            folder,
            python_model=str(_HERE / _MODEL),
            artifacts={ENSEMBLE.name: str(files)},
            code_paths=_code(Path(scratch)),
            mlflow_model=description,
            pip_requirements=pinned(REQUIREMENTS),
            signature=_signature(config),
            input_example=_as_signature(example, config),
        )
    # Where the files were on this machine is nobody's business, and leads out of the folder.
    flavour = description.flavors["python_function"]
    flavour["artifacts"][ENSEMBLE.name]["uri"] = ENSEMBLE.as_posix()
    flavour["model_code_path"] = _MODEL
    description.save(str(folder / "MLmodel"))
    _keep_bytecode_out(folder)


def _keep_bytecode_out(folder: Path) -> None:
    """Put an empty file where Python would leave bytecode: who loads the model must not change what was signed."""
    for place in {path.parent for path in folder.rglob("*.py")}:
        (place / "__pycache__").touch()


def _code(scratch: Path) -> list[str]:
    """The modules the model needs, in packages of the same names."""
    ours = Path(promotion.__file__).parent
    copies = {f"models/forecast/{name}.py": _HERE / f"{name}.py" for name in _MODULES}
    copies |= {"models/__init__.py": _HERE.parent / "__init__.py"}
    copies |= {f"promotion/{name}.py": ours / f"{name}.py" for name in _PROMOTION}
    for name, source in copies.items():
        target = scratch / "code" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return [str(scratch / "code" / name) for name in ("models", "promotion")]


def _signature(config: FamilyConfig) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    inputs = [ColSpec(DataType[kind], name) for name, kind in signature_types(config).items()]
    return ModelSignature(Schema(inputs), Schema([ColSpec(DataType.double)]))


def _as_signature(rows: pd.DataFrame, config: FamilyConfig) -> pd.DataFrame:
    kinds = signature_types(config)
    dates = pd.to_datetime(rows["Date"]).dt.strftime("%Y-%m-%d")
    typed: pd.DataFrame = rows[list(kinds)].assign(Date=dates)
    return typed.astype({name: _PANDAS[kind] for name, kind in kinds.items()})
