"""Use a registered model: predictions for a table's rows or for the family's own, or two versions held together."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from promotion.cli.console import COUNT, command, echo, echo_json, fit, talk
from promotion.config.family import FamilyConfig, load_configs
from promotion.config.settings import Settings
from promotion.errors import UnknownFamily, UsageError

if TYPE_CHECKING:
    from datetime import date

    from promotion.prediction.batch import Done, RowProgress
    from promotion.prediction.inputs import AskedRows
    from promotion.registry.contract import ModelVersion

    Days = tuple[date | None, date | None]

SHOWN = 20
_SAMPLE = 5
_TENTHS = 10
_PATH = click.Path(path_type=Path)
_DAY = click.DateTime(["%Y-%m-%d"])


@command()
@click.option(
    "--model-name",
    "--model",
    default="rossmann-ensemble",
    show_default=True,
    help="A family, or a registered model.",
)
@click.option("--stage", default="Production", show_default=True, help="A stage, or a version: 3 or 1.2.0.")
@click.option("--input", "source", type=_PATH, help="CSV or Parquet with the family's feature columns.")
@click.option("--output", type=_PATH, help="CSV or Parquet to write, and beside it .json: which version made it.")
@click.option("--start-date", "start", type=_DAY, help="First day, of a sales forecast.")
@click.option("--end-date", "end", type=_DAY, help="Last day, of a sales forecast.")
@click.option("--rows", type=COUNT, help=f"Sample rows without --input and --output.  [default: {_SAMPLE}]")
@click.option(
    "--engine", type=click.Choice(["pandas", "spark"]), default="pandas", show_default=True, help="Who computes."
)
@click.option(
    "--compare", nargs=2, metavar="A B", help="Review A, which would replace B: stages, versions, or MODEL/VERSION."
)
@click.option("--json", "as_json", is_flag=True, help="What --output's .json or the review says, on standard output.")
def predict_command(
    *,
    model_name: str,
    stage: str,
    source: Path | None,
    output: Path | None,
    start: datetime | None,
    end: datetime | None,
    rows: int | None,
    engine: str,
    compare: tuple[str, str] | None,
    as_json: bool,
) -> None:
    """Predict with the version in Production, or in another stage.

    Without --input the rows are the family's own: of a classification the test split, of a sales forecast the last 42
    days of the data; no model has learned from either, and the actual value is shown beside. --start-date and
    --end-date choose other days, also behind the data, where the plan of the same weekday 52 weeks before is assumed.
    A forecast without --output goes to reports/predictions/. Rows are numbered as in the file, from 0.

    Exit codes: 0 done, 1 failed and nothing written, 2 usage or configuration.
    """
    # Whoever stops a job in Jenkins sends this; half-written files go away as with Ctrl-C.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    click.get_current_context().call_on_close(lambda: signal.signal(signal.SIGTERM, before))
    settings = Settings.from_environment()
    days = start.date() if start else None, end.date() if end else None
    if compare is None:
        _predict(settings, model_name, stage, source, output, days, rows, engine, as_json=as_json)
        return
    if source or any(days) or rows or engine != "pandas":
        raise UsageError("--compare takes the family's own rows: leave --input, dates, --rows and --engine out")
    _review(settings, model_name, compare, output, as_json=as_json)


def _predict(  # what the options say
    settings: Settings,
    model_name: str,
    stage: str,
    source: Path | None,
    output: Path | None,
    days: Days,
    rows: int | None,
    engine: str,
    *,
    as_json: bool,
) -> None:
    """Predict, and say what came out."""
    from promotion.evaluation.tasks import invented_rows
    from promotion.lookup import find_version
    from promotion.prediction.batch import default_output, predict_table
    from promotion.registry.open import open_registry

    registry = open_registry(settings)
    version = find_version(registry, model_name, stage)
    config = _config(settings, version)
    asked = _asked(config, settings, source, days, rows or (None if output else _SAMPLE))
    if source is None and (invention := invented_rows(config, settings.home)):
        asked.notes.append(invention)
    is_shown = output is None
    if output is None and config.is_forecast:
        output = default_output(settings, version)
    with _progress() as progress:
        done = predict_table(
            registry, settings, config, version, asked, output=output, engine=engine, progress=progress
        )
    if as_json:
        echo_json(done.document, indent=2, ensure_ascii=False)
    elif is_shown:
        _show(done, f"{done.rows} rows of {asked.place}, predicted by {version} ({version.stage})")
    for note in asked.notes:
        talk(f"⚠️ {note}", colour="yellow")
    if output is not None:
        talk(f"{output}: {done.rows} predictions of {version} ({version.stage}) written, and {output.name}.json")
    if done.unlogged:
        talk(f"⚠️ The predictions are valid, but MLflow has no record of them: {done.unlogged}", colour="yellow")


def _place(model_name: str, place: str) -> tuple[str, str]:
    """A model and its stage or version: `Staging`, or `heart-disease-random_forest/1` where families have several."""
    model, _, stage = place.rpartition("/")
    return model or model_name, stage


def _config(settings: Settings, version: ModelVersion) -> FamilyConfig:
    config = load_configs(settings.config_folder).owner(version.model)
    if config is None:
        raise UnknownFamily(
            f"{version.model} belongs to no family in {settings.config_folder}, so its columns are unknown: "
            "add a configuration, or use models.model_registry.load_model"
        )
    return config


def _asked(config: FamilyConfig, settings: Settings, source: Path | None, days: Days, count: int | None) -> AskedRows:
    """The rows the options mean."""
    if config.is_forecast:
        from promotion.evaluation.tasks import task_of

        asked: AskedRows = task_of(config).rows(config, settings.home, source, days)
        return asked
    if any(days):
        raise UsageError(f"--start-date and --end-date choose days, the rows of family {config.family!r} have none")
    if not config.has_contract:
        from promotion.prediction.received import ReceivedRows, holdout_rows

        if source is None and not config.has_holdout:
            raise config.lacks("holdout", "it has no rows of its own; name some with --input")
        return ReceivedRows(config, source) if source else holdout_rows(config, settings.home, count)
    from promotion.prediction.inputs import FileRows, SampleRows

    return FileRows(config, source) if source else SampleRows(config, settings.home, count)


def _show(done: Done, title: str) -> None:
    if done.head is None:
        return
    echo(title)
    shown = done.head.head(SHOWN)
    echo(*shown.round({"probability": 4, "prediction": 2}).to_string(index=False).splitlines())
    if done.rows > len(shown):
        echo(f"... and {done.rows - len(shown)} more")


def _review(
    settings: Settings, model_name: str, places: tuple[str, str], output: Path | None, *, as_json: bool
) -> None:
    """Write the review of two versions of one family, and say what it found."""
    from promotion.lookup import find_version
    from promotion.registry.open import open_registry
    from promotion.review.compare import write_review

    registry = open_registry(settings)
    first, second = (find_version(registry, *_place(model_name, each)) for each in places)
    page, document, lines = write_review(registry, settings, _config(settings, first), first, second, output=output)
    if as_json:
        echo_json(document, indent=2, ensure_ascii=False)
    else:
        echo(*lines)
    talk(f"{page} written, and {page.with_suffix('.json').name}")


@contextmanager
def _progress() -> Iterator[RowProgress]:
    """A bar on a terminal; elsewhere a line at each tenth of what takes several chunks."""
    fit(sys.stderr)
    if not sys.stderr.isatty():
        yield _talk_each_tenth()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("predicting", total=1.0)
        yield lambda share, rows: bars.update(task, completed=share, description=f"{rows:,} rows predicted")


def _talk_each_tenth() -> RowProgress:
    told = 0

    def show(share: float, rows: int) -> None:
        nonlocal told
        tenth = int(_TENTHS * share)
        if told < tenth < _TENTHS:
            talk(f"{rows:,} rows predicted, {share:.0%}")
        told = max(told, tenth)

    return show
