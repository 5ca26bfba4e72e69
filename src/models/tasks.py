"""Tell `promotion` how this repository's own kind of model is handled: sales forecasts by an ensemble of boosters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.forecast import ENSEMBLE
from promotion.config.family import FamilyConfig
from promotion.config.settings import Settings
from promotion.evaluation.tasks import DayRange, Task, register_invention, register_task
from promotion.gates.evidence import Evaluator

if TYPE_CHECKING:
    from promotion.prediction.inputs import AskedRows
    from promotion.review.findings import ReviewFindings


def _evaluator(config: FamilyConfig, home: Path) -> Evaluator:
    from models.forecast.evaluation.holdout import ForecastEvaluator

    return ForecastEvaluator(config, home)


def _load(folder: Path) -> Any:
    from models.forecast.ensemble import Ensemble

    return Ensemble.load(folder / ENSEMBLE)


def _review(
    config: FamilyConfig, settings: Settings, first: Any, second: Any, names: tuple[str, ...]
) -> ReviewFindings:
    from models.forecast.evaluation.review import review_forecasts

    return review_forecasts(config, settings, first, second, names)


def _rows(config: FamilyConfig, home: Path, source: Path | None, days: DayRange) -> AskedRows:
    from models.forecast.data.inputs import SalesDays, SalesFileRows, Span

    span = Span(*days)
    return SalesFileRows(source, span) if source else SalesDays(config, home, span)


def _describe_invention(config: FamilyConfig, home: Path) -> str:
    from models.data.sources import describe_invention
    from models.forecast.data.provision import describe_sales_invention
    from promotion.data.files import file_sha256

    if config.is_forecast:
        return describe_sales_invention(config, home)
    path = home / config.data.path
    return describe_invention(config, file_sha256(path)) if path.is_file() else ""


register_invention(_describe_invention)
register_task(Task("sales-forecast", _evaluator, ENSEMBLE, _load, _review, _rows))
