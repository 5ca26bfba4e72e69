"""Train LightGBM, XGBoost and CatBoost on daily sales, weigh them, and register the ensemble."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[1])
    import promotion.cli.environment

import json
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from promotion.cli.console import COUNT, Steps, command, echo, echo_json, talk, task_bars
from promotion.config.family import FamilyConfig, load_config
from promotion.config.settings import Settings
from promotion.errors import ConfigError

if TYPE_CHECKING:
    from models.forecast.training.recording import EnsembleResult

DEFAULT_FAMILY = "rossmann-ensemble"
_TENTHS = 10


@command()
@click.option("--model", "family", default=DEFAULT_FAMILY, show_default=True, help="Family: config/<family>.yaml.")
@click.option("--sample", is_flag=True, help="Learn from few rows: minutes become seconds, the model is worse.")
@click.option("--threads", type=COUNT, help="A booster may use; by default as many as processors are free.")
@click.option("--semver", help="Semantic version of what is registered; the next minor one by default.")
@click.option("--json", "as_json", is_flag=True, help="Data on standard output, as JSON.")
def main(*, family: str, sample: bool, threads: int | None, semver: str | None, as_json: bool) -> None:
    """Train the boosters on past sales, choose rounds and weights on earlier windows, register the ensemble.

    The last 42 days are the holdout: nothing is learned from them.

    Exit codes: 0 done, 1 failed (bad data, MLflow unreachable), 2 usage or configuration.
    """
    settings = Settings.from_environment()
    config = load_config(settings.config_folder, family)
    config.require_training()
    if not config.is_forecast:
        raise ConfigError(
            f"{config.at('task')}: {config.task} has no ensemble: python src/models/train.py --model {family}"
        )
    from models.forecast.training.training import train_ensemble

    say = talk if as_json else echo
    with task_bars(_talk_each_tenth) as progress:
        result = train_ensemble(
            config,
            settings,
            sample=sample,
            threads=threads,
            semver=semver,
            progress=progress,
            report=lambda stage: _say(stage, say),
        )
    say("Registering model to MLflow Model Registry...")
    say(f"✓ Model registered: {result.version.model} version {result.version.number}")
    if as_json:
        echo_json(_as_json(result), indent=2)
        return
    talk(*_verdict(config, result))


def _say(stage: str, say: Callable[[str], None]) -> None:
    say("Creating ensemble... ✓" if stage == "ensemble" else f"Training {stage}... ✓")


def _verdict(config: FamilyConfig, result: EnsembleResult) -> Iterator[str]:
    """What the figures say, for the person who trained."""
    from models.forecast.boosters import BOOSTERS

    examined, interval = result.examined, result.examined.interval
    if examined.invented:
        yield f"⚠️ {examined.invented}"
    weights = examined.learned.ensemble.weights
    yield "Weights: " + ", ".join(f"{BOOSTERS[name].title} {weight:.3f}" for name, weight in weights.items())
    scores = examined.learned.cross_validation()
    folds = ", ".join(f"{value:.4f}" for value in scores["ensemble"])
    yield f"RMSPE on the {len(scores['ensemble'])} windows that chose rounds and weights, newest first: {folds}"
    yield (
        f"RMSPE on the holdout, {examined.learned.window.label}, never learned from: {interval.value:.4f} "
        f"(95 % {interval.low:.4f} – {interval.high:.4f}, {len(examined.rows)} days with sales)"
    )
    bound = config.gates.thresholds.get("rmspe")
    if bound is not None and bound.below is not None and interval.value >= bound.below:
        yield f"The gate asks for less than {bound.below:g}: validation will refuse this version"
    option = "" if config.family == DEFAULT_FAMILY else f" --model-name {config.registered_model}"
    yield f"Next: python src/models/validate_model.py{option}"


def _as_json(result: EnsembleResult) -> dict[str, Any]:
    examined, learned = result.examined, result.examined.learned
    ensemble = learned.ensemble
    return {
        "model": result.version.model,
        "version": result.version.number,
        "semantic_version": result.semver,
        "run_id": result.version.run_id,
        "round": result.timestamp,
        "weights": dict(ensemble.weights),
        "rounds": {member.name: member.booster.rounds for member in ensemble.members},
        "cross_validation": learned.cross_validation(),
        "folds": [fold.window.label for fold in next(iter(learned.folds.values()))],
        "holdout": {
            "window": learned.window.label,
            "rows": len(examined.rows),
            **examined.holdout,
            "rmspe_low": examined.interval.low,
            "rmspe_high": examined.interval.high,
        },
        "invented": bool(examined.invented),
    }


def _talk_each_tenth() -> Steps:
    told: dict[str, int] = {}

    def show(title: str, done: int, total: int) -> None:
        tenth = _TENTHS * done // total
        if done == 1 or tenth > told.get(title, 0):
            told[title] = tenth
            talk(f"{title}: round {done} of at most {total}")

    return show


if __name__ == "__main__":
    main()
