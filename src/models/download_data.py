"""Bring a family's data into place: fetched, verified against its digest, held against its contract."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from models.data.download import Provided, provide
from models.data.transfer import DownloadProgress
from promotion.cli.console import command, echo, echo_json, talk
from promotion.config.family import FamilyConfig, load_config
from promotion.config.settings import Settings
from promotion.data.datasets import Dataset, load_dataset

DEFAULT_FAMILY = "heart-disease"
FORECAST = "rossmann-ensemble"


@command()
@click.option("--model", "family", default=DEFAULT_FAMILY, show_default=True, help="Family whose data is wanted.")
@click.option("--force", is_flag=True, help="Fetch again even when the verified file is there.")
@click.option("--offline", is_flag=True, help="Contact nobody; only check the file that is there.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON on standard output.")
def download_data_command(*, family: str, force: bool, offline: bool, as_json: bool) -> None:
    """Bring a family's data into place.

    A file that is there with the configured sha256 is used as it is. Otherwise the configured URL is fetched; without
    network the verified file that came with the repository is used. Where the config names a generator instead, it
    writes a missing file, and never replaces one. At the end the data contract is checked.
    """
    settings = Settings.from_environment()
    config = load_config(settings.config_folder, family)
    if config.is_forecast:
        _provide_sales(config, settings, offline=offline, as_json=as_json)
        return
    with _progress(config.data.path) as progress:
        provided = provide(config, settings.home, force=force, offline=offline, progress=progress)
    if provided.reason:
        talk(f"⚠️ {provided.reason}", colour="yellow")
    dataset = load_dataset(config, settings.home)
    if as_json:
        echo_json(_report(provided, dataset, config), indent=2)
        return
    for line in _lines(provided, dataset, config):
        echo(line)
    if config.data.licence:
        echo(f"   Source: {config.data.licence}")
    option = "" if family == DEFAULT_FAMILY else f" --model {family}"
    talk(f"Next: python src/models/train.py{option}")


def _provide_sales(config: FamilyConfig, settings: Settings, *, offline: bool, as_json: bool) -> None:
    """Bring both files of a forecasting family into place: Kaggle's, or invented ones."""
    from models.forecast.data.kaggle import credentials
    from models.forecast.data.provision import describe_sales_invention, fetch_sales, provide_sales
    from models.forecast.data.sales import load_sales, sales_files

    if not offline and credentials() is None and not sales_files(config, settings.home)[0].exists():
        talk(
            "No Kaggle account: set KAGGLE_USERNAME and KAGGLE_KEY (or ~/.kaggle/kaggle.json) to fetch the real files",
            colour="yellow",
        )
    if not offline and fetch_sales(config, settings.home):
        how = "downloaded from Kaggle"
    else:
        how = "written by the generator" if provide_sales(config, settings.home) else "cached"
    invented = describe_sales_invention(config, settings.home)
    if invented:
        talk(f"⚠️ {invented}", colour="yellow")
    data = load_sales(config, settings.home)
    first, last = (f"{day:%Y-%m-%d}" for day in (data.rows["Date"].min(), data.rows["Date"].max()))
    # The store table may name more than the ones that sold something.
    stores = int(data.rows["Store"].nunique())
    if as_json:
        report = {
            "family": config.family,
            "paths": [str(path) for path in sales_files(config, settings.home)],
            "origin": how,
            "invented": bool(invented),
            "sha256": data.sha256,
            "rows": len(data.rows),
            "stores": stores,
            "first_day": first,
            "last_day": last,
        }
        echo_json(report, indent=2)
        return
    echo(f"✅ {config.data.path} and its store table: {how} (sha256 of both {data.sha256})")
    echo(f"✅ Data contract kept: {len(data.rows):,} days of {stores:,} stores, {first} to {last}")
    talk(f"Next: python src/models/train_ensemble.py{'' if config.family == FORECAST else f' --model {config.family}'}")


def _lines(provided: Provided, dataset: Dataset, config: FamilyConfig) -> Iterator[str]:
    how = {
        "cached": "cached",
        "fetched": "downloaded",
        "kept": "not reachable, using the bundled file",
        "generated": f"written by the generator {config.data.generator}",
    }[provided.origin]
    checked = "verified" if provided.verified else "no data.sha256 in the config to verify it with"
    yield f"✅ {config.data.path}: {how}, {checked} (sha256 {provided.sha256})"
    classes = ", ".join(f"{count:,} {name}" for name, count in _by_class(dataset, config).items())
    yield f"✅ Data contract kept: {len(dataset.target):,} rows × {len(config.data.columns)} columns ({classes})"


def _by_class(dataset: Dataset, config: FamilyConfig) -> dict[str, int]:
    """How many rows there are of each class."""
    return {name: int((dataset.target == index).sum()) for index, name in enumerate(config.classes)}


def _report(provided: Provided, dataset: Dataset, config: FamilyConfig) -> dict[str, object]:
    return {
        "family": config.family,
        "path": str(provided.path),
        "origin": provided.origin,
        "reason": provided.reason,
        "verified": provided.verified,
        "sha256": provided.sha256,
        "rows": len(dataset.target),
        "columns": len(config.data.columns),
        "rows_by_class": _by_class(dataset, config),
        "licence": config.data.licence,
    }


@contextmanager
def _progress(name: str) -> Iterator[DownloadProgress]:
    if not sys.stderr.isatty():
        yield _plain_progress(name, talk)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn(name), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(name, total=None, visible=False)
        yield lambda done, total: bars.update(task, completed=done, total=total, visible=True)


def _plain_progress(name: str, say: Callable[[str], None]) -> DownloadProgress:
    """One line at the start of a transfer and one for each tenth of it, for logs."""
    told: set[int | None] = set()

    def tell(done: int, total: int | None) -> None:
        tenth = 10 * done // total if total else None
        if tenth not in told:
            told.add(tenth)
            say(f"{name}: {done:,} bytes" + (f" of {total:,}" if total else " so far"))

    return tell
