"""Where everything is."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from promotion.config import settings as places
from promotion.config.settings import REPOSITORY, Settings, checkout_path, default_home
from promotion.errors import UsageError


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


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package as it lies in an environment, seen from a folder without config/."""
    monkeypatch.setattr(places, "PACKAGES", tmp_path / "lib" / "site-packages")
    monkeypatch.setattr(places, "REPOSITORY", tmp_path / "lib")
    (tmp_path / "lib").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


@pytest.mark.parametrize(
    ("named", "expected"), [("/d", "/d"), ("", "H/.local/share"), ("not/absolute", "H/.local/share")]
)
def test_an_installed_package_lives_in_the_users_data_folder(
    named: str, expected: str, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XDG_DATA_HOME counts where it is absolute, as its specification asks."""
    monkeypatch.setenv("HOME", str(installed / "H"))
    monkeypatch.setenv("XDG_DATA_HOME", named)

    assert installed / expected / "promotion-layer" == default_home()


def test_a_project_of_somebody_else_is_no_checkout(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of the package in their src/, beside their pyproject.toml, does not make their folder ours."""
    monkeypatch.setattr(places, "PACKAGES", installed / "lib" / "src")
    (installed / "lib" / "pyproject.toml").write_text('[project]\nname = "theirs"\n')
    (installed / "work" / "config").mkdir()

    assert installed / "work" == default_home()


def test_a_user_without_a_home_folder_is_told_what_to_set(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An arbitrary uid in a container: one line, no traceback."""

    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)

    with pytest.raises(UsageError, match="set PROMOTION_HOME"):
        Settings.from_environment()
    (installed / "work").rmdir()
    with pytest.raises(UsageError, match="set PROMOTION_HOME"):
        Settings.from_environment()


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"])
def test_an_address_that_is_none_is_named_by_its_variable(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in it may be a password, and is not shown."""
    monkeypatch.setenv(variable, "https://anna:secret@[::1/x")

    with pytest.raises(UsageError, match=f"{variable} is no address") as refused:
        Settings.from_environment()

    assert "secret" not in str(refused.value)


@pytest.mark.usefixtures("installed")
def test_what_only_a_checkout_has_is_named() -> None:
    """Which file, what for, and what to do."""
    with pytest.raises(
        UsageError, match="lib/k8s is missing, whose manifests are applied: run the command in a checkout"
    ):
        checkout_path("k8s", "whose manifests are applied")


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("MLFLOW_TRACKING_URI", "127.0.0.1:5000", "did you mean http://127.0.0.1:5000?"),
        ("MLFLOW_TRACKING_URI", "localhost:5000/prefix", "did you mean http://localhost:5000/prefix?"),
        ("MLFLOW_REGISTRY_URI", "mlflow.example.com", "did you mean http://mlflow.example.com?"),
        ("MLFLOW_TRACKING_URI", "anna:secret@mlflow:5000", "did you mean http://user:password@host:5000?"),
        ("MLFLOW_TRACKING_URI", "mlflow.db", "did you mean sqlite:///mlflow.db?"),
        ("MLFLOW_TRACKING_URI", "dbfs:/models", "names a place for files (dbfs:), where nothing is registered"),
        ("MLFLOW_REGISTRY_URI", "s3://secret/x", "names a place for files (s3:), where nothing is registered"),
        ("MLFLOW_TRACKING_URI", "“http://mlflow:5000”", "stands in quotes or blanks: remove them"),
        ("MLFLOW_TRACKING_URI", "http:/mlflow:5000", "begins with http://"),
        ("MLFLOW_TRACKING_URI", "https//mlflow", "begins with https://"),
        ("MLFLOW_TRACKING_URI", "sqlite://mlflow.db", "begins with sqlite:///"),
        ("MLFLOW_TRACKING_URI", "sqlite:/x/mlflow.db", "begins with sqlite:///"),
        ("PROMOTION_DATABASE_URL", "postgresql:/host/promotion", "begins with postgresql://"),
        ("MLFLOW_TRACKING_URI", "postgres://anna:secret@host/mlflow", "did you mean postgresql://?"),
        ("MLFLOW_TRACKING_URI", "htp://mlflow:5000", "did you mean http://?"),
        ("MLFLOW_TRACKING_URI", '"http://mlflow:5000"', "stands in quotes or blanks: remove them"),
        ("MLFLOW_TRACKING_URI", "http://mlflow:5000\n", "stands in quotes or blanks: remove them"),
        ("PROMOTION_DATABASE_URL", "'sqlite:///x.db'", "stands in quotes or blanks: remove them"),
        ("MLFLOW_TRACKING_URI", "ws://mlflow:5000", "names no store there is (ws:): expected such as http://host:5000"),
        ("MLFLOW_TRACKING_URI", "oracle://anna:secret@host/x", "names no store there is (oracle:): expected such as"),
        ("MLFLOW_TRACKING_URI", r"C:\mlruns", "is a folder of Windows, no store: expected such as http://host:5000"),
        ("MLFLOW_REGISTRY_URI", r"\\srv\mlruns", "is a folder of Windows, no store: expected such as http://host:5000"),
        ("PROMOTION_DATABASE_URL", "c:/promotion.db", "no store: expected such as postgresql://host/promotion"),
        ("PROMOTION_DATABASE_URL", "db:5432/promotion", "did you mean postgresql://db:5432/promotion?"),
    ],
)
def test_an_address_without_a_scheme_or_in_quotes_says_what_was_meant(
    variable: str, value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody's server is taken for a folder of this machine, and no password is shown."""
    monkeypatch.setenv(variable, value)

    with pytest.raises(UsageError) as refused:
        Settings.from_environment()

    assert f"{variable} " in str(refused.value)
    assert expected in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "value",
    [
        "./mlruns",
        "/srv/mlruns",
        "mlruns",
        "databricks",
        "databricks://work",
        "file:///srv/m",
        "sqlite:////m.db",
        "mssql+pyodbc://h/m",
    ],
)
def test_other_addresses_stay_as_they_are(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders, databases and names of services need no host."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", value)

    assert value == Settings.from_environment().tracking_uri


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("MLFLOW_TRACKING_URI", "HTTP://MLflow:5000/X", "http://MLflow:5000/X"),
        ("MLFLOW_TRACKING_URI", "SQLite:////M.db", "sqlite:////M.db"),
        ("PROMOTION_DATABASE_URL", "PostgreSQL+psycopg://H/P", "postgresql+psycopg://H/P"),
    ],
)
def test_a_scheme_may_be_written_in_capitals(
    variable: str, value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What follows it stays as it is written."""
    monkeypatch.setenv(variable, value)

    settings = Settings.from_environment()

    assert expected in {settings.tracking_uri, settings.database_url}


def test_a_store_that_an_installed_package_brings_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow asks packages for the schemes it does not know itself."""
    brought = EntryPoint("dagshub", "dagshub.store:Store", "mlflow.tracking_store")
    monkeypatch.setattr(
        "promotion.config.settings.entry_points",
        lambda group, name: [brought] if (group, name) == (brought.group, brought.name) else [],
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "dagshub://anna/wines")

    assert Settings.from_environment().tracking_uri == "dagshub://anna/wines"
