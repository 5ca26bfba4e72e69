"""Choose the registry behind a URI: REST for http(s), direct reads of a SQLite store, else MLflow's client."""

from __future__ import annotations

import re
from pathlib import Path

from promotion.config.settings import Settings
from promotion.registry.contract import Registry


def open_registry(settings: Settings) -> Registry:
    """The registry behind `settings.registry_uri`; nothing is contacted yet."""
    uri = settings.registry_uri
    if uri.startswith(("http://", "https://")):
        from promotion.registry.rest import RestRegistry

        return RestRegistry(uri, settings.tracking_uri)
    if path := sqlite_path(uri):
        from promotion.registry.sqlite import SqliteRegistry

        return SqliteRegistry(uri, path, settings.tracking_uri)
    from promotion.registry.client import ClientRegistry

    return ClientRegistry(uri, settings.tracking_uri)


def sqlite_path(uri: str) -> Path | None:
    """The file behind an SQLAlchemy SQLite URL; None for other stores and for databases in memory."""
    found = re.fullmatch(r"sqlite(?:\+pysqlite)?:///(?!:memory:|file:)([^?]+)(?:\?.*)?", uri)
    return Path(found[1]) if found else None
