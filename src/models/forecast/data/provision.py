"""Both Rossmann files in place: the user's own, or invented ones that say so."""

from __future__ import annotations

import json
from pathlib import Path

from models.forecast.data.kaggle import credentials, fetch_competition
from models.forecast.data.sales import forecast_of, sales_files
from promotion.config.family import FamilyConfig
from promotion.data.files import file_sha256, whole_file
from promotion.errors import ConfigError, DataError

GENERATOR = "rossmann"
_MARK = "invented.json"
INVENTED = "rows invented by a seeded generator, no real stores: put Kaggle's train.csv and store.csv in their place"


def fetch_sales(config: FamilyConfig, home: Path) -> bool:
    """Fetch both files from Kaggle if neither is there, the configuration names a competition and there is an account.

    Returns:
        Whether files were fetched.

    Raises:
        DataError: Kaggle refuses, or does not answer.
    """
    plan, account = forecast_of(config), credentials()
    files = sales_files(config, home)
    if plan.kaggle is None or account is None or any(path.exists() for path in files):
        return False
    fetch_competition(plan.kaggle, [path.name for path in files], files[0].parent, account)
    return True


def provide_sales(config: FamilyConfig, home: Path) -> bool:
    """Invent both files if neither is there and the configuration names the generator; files that are there stay.

    Returns:
        Whether files were written.

    Raises:
        ConfigError: The configuration names another generator.
        DataError: Only one of the two files is there, or they cannot be written.
    """
    plan = forecast_of(config)
    sales, stores = sales_files(config, home)
    present = [path for path in (sales, stores) if path.exists()]
    if len(present) == 1:
        absent = stores if present == [sales] else sales
        raise DataError(
            f"{absent}: missing beside {present[0]}: both come from the same source; bring it, or remove both"
        )
    if present or config.data.generator is None:
        return False
    if config.data.generator != GENERATOR:
        key = config.at("data", "generator")
        raise ConfigError(f"{key}: {config.data.generator!r} makes no sales; expected {GENERATOR!r}")
    from models.forecast.data.generator import invent_sales

    invented = invent_sales(plan.invented_stores, seed=plan.seed)
    try:
        for path, table in ((stores, invented.store), (sales, invented.train)):
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as file:
                table.to_csv(file, index=False, lineterminator="\n")
        digests = {path.name: file_sha256(path) for path in (sales, stores)}
        (sales.parent / _MARK).write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"{sales.parent}: cannot be written: {error.strerror}; make room or give write access"
        ) from error
    return True


def describe_sales_invention(config: FamilyConfig, home: Path) -> str:
    """Say so if the family's files are the ones its generator wrote; empty for any others."""
    paths = sales_files(config, home)
    try:
        digests = json.loads((paths[0].parent / _MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    if any(digests.get(path.name) != file_sha256(path) for path in paths):
        return ""
    return f"{config.data.path}: {INVENTED}"
