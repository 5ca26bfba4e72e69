"""Train a family's candidates, register them in MLflow, and tag the best one."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[1])
    import project_environment

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from promotion.config import FamilyConfig, load_config
from promotion.console import command, echo, fit, talk
from promotion.errors import PromotionError
from promotion.settings import Settings

if TYPE_CHECKING:
    from models.selection import Progress
    from models.training import TrainingResult
    from promotion.evidence import Interval

NEXT_COMMAND = "python scripts/promote-model.py --auto"


@command()
@click.option("--model", "family", default="heart-disease", show_default=True, help="Family: config/<family>.yaml.")
@click.option("--json", "as_json", is_flag=True, help="Data on standard output, as JSON.")
@click.option("--promote", is_flag=True, help="Attempt to promote the best version; a failure does not fail training.")
def main(family: str, as_json: bool, promote: bool) -> None:  # noqa: FBT001  # click passes flags by name
    """Train every candidate of a family, choose the best by cross-validation, register all, tag the best.

    Exit codes: 0 done, 1 failed (bad data, MLflow unreachable), 2 usage or configuration.
    """
    settings = Settings.from_environment()
    config = load_config(settings.config_folder, family)
    with _progress(family) as progress:
        from models.workers import start_workers

        starting = start_workers()
        from models.training import train

        for _ in starting:
            pass
        result = train(config, settings, progress)
    if as_json:
        echo(json.dumps(_as_json(result), indent=2))
    else:
        _print_table(result)
        _print_verdict(result)
    if promote:
        _promote(config, settings)
    elif not as_json:
        echo(f"\nNext: {NEXT_COMMAND}")


def _promote(config: FamilyConfig, settings: Settings) -> None:
    """Make the attempt of `promote-model.py --auto`; whatever comes of it, training has succeeded."""
    from models.promotions import open_promotions
    from promotion.auto import promote_best
    from promotion.people import actor

    try:
        service = open_promotions(settings, talk)
        promotion = promote_best(service, config, actor=actor(), reason="train.py --promote")
    except PromotionError as error:
        talk(f"not promoted: {error}", colour="yellow")
    except Exception as error:  # noqa: BLE001  # the trained versions are registered; nothing here may say otherwise
        talk(f"not promoted: unexpected {type(error).__name__}: {error}", colour="yellow")
    else:
        pending = f"; MLflow does not show it yet: {promotion.unprojected}" if promotion.unprojected else ""
        talk(f"promoted {promotion.plan.candidate} to {promotion.to}{pending}", colour="green")


@contextmanager
def _progress(family: str) -> Iterator[Progress]:
    """A bar on a terminal; elsewhere one line a task."""
    fit(sys.stderr)
    if not sys.stderr.isatty():
        yield _talk_each_task(family)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        bars_by_task = {"starting": bars.add_task("loading libraries", total=None)}

        def show(task: str, done: int, total: int) -> None:
            if "starting" in bars_by_task:
                bars.remove_task(bars_by_task.pop("starting"))
            if task not in bars_by_task:
                bars_by_task[task] = bars.add_task(task, total=total)
            bars.update(bars_by_task[task], completed=done)

        yield show


def _talk_each_task(family: str) -> Progress:
    seen: set[str] = set()
    talk(f"training {family}")

    def show(task: str, done: int, total: int) -> None:
        if task not in seen:
            seen.add(task)
            talk(f"{task} ({total} steps) …")
        if done == total:
            talk(f"{task}: done")

    return show


def _print_table(result: TrainingResult) -> None:
    rows = [["", "candidate", f"CV {result.metric}", "test roc_auc (95 % interval)", "accuracy", "f1", "registered as"]]
    for rank, candidate in enumerate(result.candidates):
        folds = candidate.cross_validation[result.metric]
        rows.append(
            [
                "🏆" if rank == 0 else "",
                candidate.algorithm,
                f"{folds.mean():.4f} ± {folds.std(ddof=1):.4f}",
                _bounded(candidate.test["roc_auc"]),
                f"{candidate.test['accuracy'].value:.4f}",
                f"{candidate.test['f1'].value:.4f}",
                f"{candidate.model} v{candidate.version}",
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(1, len(rows[0]))]
    for marker, *cells in rows:
        # The trophy is one character and two columns wide.
        padding = marker + " " * (3 - 2 * len(marker))
        echo(padding + "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())


def _print_verdict(result: TrainingResult) -> None:
    best = result.candidates[0]
    folds = best.cross_validation[result.metric].size
    learned, examined = result.rows
    echo(f"\nChosen by the mean {result.metric} of {folds} cross-validation folds on {learned} training rows;")
    echo(f"the {examined} test rows were used once, after the choice, for the test columns.")
    if sentence := describe_comparison(result):
        echo(sentence)
    echo(f"\n✅ Registered {len(result.candidates)} versions; {best.model} v{best.version} is tagged best_model=true.")


def describe_comparison(result: TrainingResult) -> str | None:
    """Say in one sentence whether first and second differ; None with a single candidate."""
    if result.comparison is None:
        return None
    first, second = (candidate.algorithm for candidate in result.candidates[:2])
    difference = result.comparison.difference
    test = (
        f"difference {difference.value:+.4f}, 95 % interval {difference.low:+.4f} to {difference.high:+.4f}, "
        f"p = {result.comparison.p_value:.2f}, corrected resampled t-test (Nadeau & Bengio 2003)"
    )
    if result.comparison.is_significant:
        return f"{first} is better than {second}: {test}."
    return f"{first} and {second} do not differ measurably: {test}; the order of the two may be chance."


def _bounded(interval: Interval) -> str:
    return f"{interval.value:.4f} ({interval.low:.3f} – {interval.high:.3f})"


def _as_json(result: TrainingResult) -> dict[str, Any]:
    return {
        "family": result.family,
        "round": result.round,
        "selection_metric": result.metric,
        "train_rows": result.rows[0],
        "test_rows": result.rows[1],
        "data_sha256": result.data_sha256,
        "git_commit": result.commit.sha if result.commit else None,
        "git_dirty": result.commit.dirty if result.commit else None,
        "comparison": describe_comparison(result),
        "candidates": [
            {
                "algorithm": candidate.algorithm,
                "model": candidate.model,
                "version": candidate.version,
                "run_id": candidate.run_id,
                "best_model": rank == 0,
                "cross_validation": {
                    metric: {"mean": float(folds.mean()), "std": float(folds.std(ddof=1))}
                    for metric, folds in candidate.cross_validation.items()
                },
                "test": {
                    metric: {"value": interval.value, "low": interval.low, "high": interval.high}
                    for metric, interval in candidate.test.items()
                },
            }
            for rank, candidate in enumerate(result.candidates)
        ],
    }


if __name__ == "__main__":
    main()
