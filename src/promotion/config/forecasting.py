"""What a forecasting family's file says beyond what every family's does: how far, from which past, by how much work."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from promotion.config.values import Strict


class View(Strict):
    """How one booster of a forecast looks at the past; members that look differently err differently.

    Attributes:
        origin_offset: Shift in days of the origins it learns from.
        learns: `deviation`: how far sales lie from the store's own weekday and promotion means. `level`: sales
            themselves.
    """

    origin_offset: Annotated[int, Field(ge=0)] = 0
    learns: Literal["deviation", "level"] = "deviation"


class Forecast(Strict):
    """How daily sales are foretold; see `models.forecast`.

    Attributes:
        stores: CSV file with one line a store, relative to the project's home, beside the sales.
        kaggle: Competition that holds both files, which `download-data.py` fetches with the user's account.
        horizon_days: Days a forecast reaches; the last so many days of the data are the holdout.
        folds: Windows of that length before the holdout, on which rounds and weights are chosen.
        views: By candidate, how it looks at the past; those that are not named look in the plain way.
        half_life_days: Age at which a day counts half.
        warm_up_days: History a store's past must have before it is learned from.
        fold_rows: Rows a fold learns from, at most.
        final_rows: Rows the final fit learns from, at most.
        sample_rows: Both of them with `--sample`, which learns for a fourth of the rounds, too.
        threads: A booster may use; by default as many as processors are free when training begins.
        rounds: Rounds of boosting, at most.
        patience: Rounds without gain after which a fold stops.
        seed: Of everything random.
        invented_stores: How many stores the generator makes up where there are no files.
    """

    stores: str
    kaggle: str | None = None
    horizon_days: Annotated[int, Field(ge=1)] = 42
    folds: Annotated[int, Field(ge=1)] = 3
    views: dict[str, View] = Field(default_factory=dict)
    half_life_days: Annotated[float, Field(gt=0)] = 1000.0
    warm_up_days: Annotated[int, Field(ge=1)] = 56
    fold_rows: Annotated[int, Field(ge=1000)] = 250_000
    final_rows: Annotated[int, Field(ge=1000)] = 800_000
    sample_rows: Annotated[int, Field(ge=1000)] = 10_000
    threads: Annotated[int, Field(ge=1)] | None = None
    rounds: Annotated[int, Field(ge=1)] = 800
    patience: Annotated[int, Field(ge=1)] = 60
    seed: int = 42
    invented_stores: Annotated[int, Field(ge=1)] = 60
