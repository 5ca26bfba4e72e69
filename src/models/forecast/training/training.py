"""Train the sales ensemble, examine it once on the holdout, and register it: one call behind `train_ensemble.py`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

from models.forecast.boosters import BOOSTERS
from models.forecast.data.provision import describe_sales_invention, provide_sales
from models.forecast.data.sales import forecast_of, load_sales
from models.forecast.evaluation.holdout import rmspe_interval, score_ensemble
from models.forecast.rows import INPUT_COLUMNS
from models.forecast.training.learning import Learner, LearningPlan
from models.forecast.training.recording import EnsembleResult, ExaminedEnsemble, record_ensemble
from promotion.bootstrap import open_journal
from promotion.config.family import FamilyConfig
from promotion.config.settings import Settings
from promotion.errors import ConfigError
from promotion.registry.semver import require_semantic

Tellings = Callable[[str], None]
"""Told each stage of the work the moment it is done: a booster's title, "ensemble", "registered"."""
TrainingProgress = Callable[[str, int, int], None]
_SAMPLE_SHARE = 4
"""A sample learns for a fourth of the rounds, and waits a fourth as long for the next gain."""


def free_processors() -> int:
    """How many processors this process may use that nobody else is busy on, at least one.

    On a shared machine threads that wait for each other's turns make training many times slower, not faster.
    """
    return max(1, len(os.sched_getaffinity(0)) - int(os.getloadavg()[0]))


def plan_of(config: FamilyConfig, *, sample: bool = False, threads: int | None = None) -> LearningPlan:
    """How the family's file says the ensemble is learned.

    Args:
        config: A forecasting family.
        sample: Learn from few rows in few rounds, for people in a hurry.
        threads: A booster may use; by default as many as the family's file says, or as processors are free.

    Raises:
        ConfigError: The family foretells nothing, or a candidate is none of our boosters.
    """
    section = forecast_of(config)
    if unknown := [name for name in config.candidates if name not in BOOSTERS]:
        known = ", ".join(BOOSTERS)
        raise ConfigError(f"{config.at('candidates', unknown[0])}: unknown booster; expected one of {known}")
    plan = LearningPlan(
        horizon=section.horizon_days,
        folds=section.folds,
        half_life=section.half_life_days,
        warm_up=section.warm_up_days,
        fold_rows=section.fold_rows,
        final_rows=section.final_rows,
        rounds=section.rounds,
        patience=section.patience,
        seed=section.seed,
        threads=threads or section.threads or free_processors(),
        params={name: config.candidates[name].params for name in BOOSTERS if name in config.candidates},
        views=section.views,
    )
    if not sample:
        return plan
    rows, rounds = section.sample_rows, max(1, section.rounds // _SAMPLE_SHARE)
    patience = max(1, section.patience // _SAMPLE_SHARE)
    return replace(plan, fold_rows=rows, final_rows=rows, rounds=rounds, patience=patience)


def train_ensemble(
    config: FamilyConfig,
    settings: Settings,
    *,
    sample: bool = False,
    threads: int | None = None,
    semver: str | None = None,
    progress: TrainingProgress = lambda _name, _done, _total: None,
    report: Tellings = lambda _stage: None,
) -> EnsembleResult:
    """Learn, examine and register the family's ensemble.

    Args:
        config: A forecasting family.
        settings: Where data and stores are; missing data that the configuration can invent is written first.
        sample: Learn from few rows in few rounds.
        threads: A booster may use; see `plan_of`.
        semver: Semantic version of what is registered; the next minor one by default.
        progress: Told about every round of boosting.
        report: Told each finished stage.

    Raises:
        ConfigError: The family foretells nothing, or a booster refuses a parameter.
        DataError: The data is missing or breaks its contract; training does not start.
        RegistryError: MLflow does not take what was trained.
    """
    plan = plan_of(config, sample=sample, threads=threads)
    journal = open_journal(settings, {config.family: config})
    journal.prepare()
    if semver is not None:
        journal.require_free(config.family, require_semantic(semver))
    provide_sales(config, settings.home)
    data = load_sales(config, settings.home)
    learner = Learner(data, plan, progress, report)
    learned = learner.learn()
    report("ensemble")
    rows = learner.sold_in(learned.window)
    sales = rows["Sales"].to_numpy(dtype=float)
    forecast = learned.ensemble.predict(rows[list(INPUT_COLUMNS)])
    holdout = score_ensemble(sales, forecast)
    interval = rmspe_interval(rows, forecast, None, plan.seed)
    invented = describe_sales_invention(config, settings.home)
    examined = ExaminedEnsemble(data, plan, learned, rows.assign(forecast=forecast), holdout, interval, invented)
    return record_ensemble(config, settings, journal, examined, semver=semver)
