"""Where everything is."""

from __future__ import annotations

from pathlib import Path

import pytest

from promotion.config.settings import REPOSITORY, Settings


def test_without_variables_everything_lives_in_the_repository() -> None:
    """A bare `mlflow ui` started in the repository sees the same store."""
    settings = Settings.from_environment()

    assert REPOSITORY == settings.home
    assert f"sqlite:///{REPOSITORY}/mlflow.db" == settings.tracking_uri == settings.registry_uri
    assert f"sqlite:///{REPOSITORY}/promotion.db" == settings.database_url
    assert REPOSITORY / "config" == settings.config_folder
    assert REPOSITORY / "mlartifacts" == settings.artifact_folder


def test_the_home_moves_all_places_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PROMOTION_HOME names another folder for configuration, data and the default stores."""
    monkeypatch.setenv("PROMOTION_HOME", str(tmp_path))

    settings = Settings.from_environment()

    assert f"sqlite:///{tmp_path}/mlflow.db" == settings.tracking_uri
    assert tmp_path / "config" == settings.config_folder


@pytest.mark.parametrize(
    ("environment", "registry_uri", "remote"),
    [
        ({"MLFLOW_TRACKING_URI": "http://mlflow:5000"}, "http://mlflow:5000", True),
        ({"MLFLOW_TRACKING_URI": "http://a", "MLFLOW_REGISTRY_URI": "https://b"}, "https://b", True),
        ({"MLFLOW_TRACKING_URI": "http://a", "MLFLOW_REGISTRY_URI": "sqlite:////r.db"}, "sqlite:////r.db", False),
        ({"MLFLOW_TRACKING_URI": ""}, f"sqlite:///{REPOSITORY}/mlflow.db", False),
    ],
)
def test_the_registry_is_the_tracking_store_unless_named(
    environment: dict[str, str], registry_uri: str, remote: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLFLOW_REGISTRY_URI wins; an empty variable counts as unset."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    settings = Settings.from_environment()

    assert registry_uri == settings.registry_uri
    assert remote == settings.registry_is_remote
