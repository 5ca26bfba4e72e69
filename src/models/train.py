"""Train a family's candidates, register them in MLflow, and tag the best one."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[1])
    import promotion.cli.environment

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import click

from promotion.cli.console import Steps, command, echo, echo_json, talk, task_bars, with_verbs
from promotion.config.family import FamilyConfig, load_config
from promotion.config.settings import Settings
from promotion.errors import NothingToDo, PromotionError, UsageError

if TYPE_CHECKING:
    from models.training.challenge import ChallengeOutcome
    from models.training.training import TrainingResult

NEXT_COMMAND = "python scripts/promote-model.py --auto"


@command()
@click.option("--model", "family", default="heart-disease", show_default=True, help="Family: config/<family>.yaml.")
@click.option("--semver", help="Semantic version of what is registered, such as 1.2.0; the next minor one by default.")
@click.option("--json", "as_json", is_flag=True, help="Data on standard output, as JSON.")
@click.option("--promote", is_flag=True, help="Attempt to promote the best version; a failure does not fail training.")
@click.option(
    "--strict", is_flag=True, help="With --promote: a promotion that breaks or is refused ends with its code."
)
def main(family: str, semver: str | None, as_json: bool, promote: bool, strict: bool) -> None:  # noqa: FBT001  # click passes flags by name
    """Train every candidate of a family, choose the best by cross-validation, register it, and tag it.

    Exit codes: 0 done, 1 failed (bad data, MLflow unreachable), 2 usage or configuration. With --promote --strict also
    those of scripts/promote-model.py; a version that is merely not better than Production is no failure.
    """
    if strict and not promote:
        raise UsageError("--strict says what --promote does when it fails: give both")
    settings = Settings.from_environment()
    config = load_config(settings.config_folder, family)
    config.require_training()
    if config.is_forecast:
        _train_ensemble(family, semver, promote=promote, as_json=as_json)
        return
    with task_bars(partial(_talk_each_task, family), starting="loading libraries", transient=False) as progress:
        from models.training.workers import start_workers, why_alone

        if hindrance := why_alone():
            talk(f"training in one process: {hindrance}")
        starting = start_workers()
        from models.training.report import describe_training
        from models.training.training import train

        for _ in starting:
            pass
        result = train(config, settings, progress, semver=semver)
    _say_trained(result, settings, describe_training(result) if not as_json else ())
    outcome = _promote(config, settings, talk if as_json else echo) if promote else None
    _finish(config, settings, result, outcome, as_json=as_json)
    if strict and outcome and outcome.problem and not isinstance(outcome.problem, NothingToDo):
        raise outcome.problem


def _train_ensemble(family: str, semver: str | None, *, promote: bool, as_json: bool) -> None:
    """Hand over to the forecast's own command, so that a pipeline need not know what a family foretells."""
    from models.train_ensemble import main as ensemble

    if promote:
        raise UsageError(f"--promote: {family} is promoted by hand, after python src/models/validate_model.py")
    click.get_current_context().invoke(ensemble, family=family, semver=semver, as_json=as_json)


def _say_trained(result: TrainingResult, settings: Settings, lines: Iterable[str]) -> None:
    from promotion.registry.upload import old_server_notice

    if notice := old_server_notice(settings.tracking_uri):
        talk(notice)
    if result.invented:
        talk(f"⚠️ {result.invented}", colour="yellow")
    for warning in result.warnings:
        talk(f"⚠️ {warning}", colour="yellow")
    for line in lines:
        echo(line)


def _finish(
    config: FamilyConfig, settings: Settings, result: TrainingResult, outcome: ChallengeOutcome | None, *, as_json: bool
) -> None:
    """Leave the record of the training, and say what comes next."""
    from models.training.metadata import metadata_of, write_metadata

    record = metadata_of(result, outcome)
    if config.metadata is not None:
        write_metadata(record, settings.home / config.metadata)
    if as_json:
        from models.training.report import as_json as plain

        echo_json(plain(result) | {"metadata": record}, indent=2)
        return
    if config.metadata is not None:
        echo("", f"{config.metadata}: written")
    if outcome is None:
        by_hand = f"python src/models/validate_model.py --model-name {result.candidates[0].model}"
        echo("", with_verbs(f"Next: {NEXT_COMMAND if config.promotion == 'auto' else by_hand}"))


def _promote(config: FamilyConfig, settings: Settings, tell: Callable[[str], None]) -> ChallengeOutcome:
    """Make the attempt of `promote-model.py --auto`; whatever comes of it, training has succeeded."""
    from models.training.challenge import ChallengeOutcome, challenge, changed_rows_note, describe
    from promotion.approvals.people import actor
    from promotion.bootstrap import open_promotions
    from promotion.service import Mover

    try:
        service = open_promotions(settings, talk)
        outcome = challenge(service, config, Mover(actor(), "train.py --promote"))
        for line in describe(outcome, config):
            tell(line)
        if note := changed_rows_note(outcome, service, config):
            talk(f"⚠️ {note}", colour="yellow")
    except PromotionError as error:
        outcome = ChallengeOutcome(None, None, None, error)
    except Exception as error:  # noqa: BLE001  # the trained versions are registered; nothing here may say otherwise
        outcome = ChallengeOutcome(None, None, None, PromotionError(f"unexpected {type(error).__name__}: {error}"))
    if outcome.promoted and outcome.plan:
        talk(f"promoted {outcome.plan.candidate} to {outcome.stage}", colour="green")
    if outcome.problem:
        talk(f"{'promotion' if outcome.promoted else 'not promoted'}: {outcome.problem}", colour="yellow")
    return outcome


def _talk_each_task(family: str) -> Steps:
    seen: set[str] = set()
    talk(f"training {family}")

    def show(task: str, done: int, total: int) -> None:
        if task not in seen:
            seen.add(task)
            talk(f"{task} ({total} steps) …")
        if done == total:
            talk(f"{task}: done")

    return show


if __name__ == "__main__":
    main()
