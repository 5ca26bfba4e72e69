"""An unexpected error says what happened, and no secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from promotion.cli.console import AS_JSON, command
from promotion.config.secrets import without_secrets
from promotion.errors import UsageError

SECRET = "S3CR-ET/42%"  # noqa: S105  # of nothing


@pytest.mark.parametrize(
    "variables",
    [
        {"MLFLOW_TRACKING_TOKEN": SECRET},
        {"MLFLOW_TRACKING_TOKEN": f"{SECRET}\n"},
        {"MLFLOW_TRACKING_PASSWORD": SECRET},
        {"AWS_SECRET_ACCESS_KEY": SECRET},
        {"API_KEY": SECRET},
        {"SLACK_URL": f"slack://{SECRET}"},
        {"PROMOTION_DATABASE_URL": "postgresql+psycopg://anna:S3CR-ET%2F42%25@db/journal"},
    ],
    ids=lambda variables: next(iter(variables)),
)
def test_values_of_secret_variables_are_masked(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    """Tokens, passwords, keys, channels, and the password inside an address; as written and as decoded."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    quoted = next(iter(variables.values()))

    for text in (f"bad header {quoted!r}", f"cannot reach {quoted}", f"line 1: {quoted.strip()}"):
        assert SECRET not in without_secrets(text)
        assert "S3CR-ET%2F42%25" not in without_secrets(text)


def test_mlflows_file_is_known_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also one that nobody could parse."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").write_text(f"mlflow_tracking_password = {SECRET}\n")

    assert "line 1: mlflow_tracking_password = ***" == without_secrets(f"line 1: mlflow_tracking_password = {SECRET}")


def test_an_expected_error_of_a_command_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries quote addresses; so do the messages that quote libraries, as text and as data."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"odd://anna:{SECRET}@host")

    @command()
    @AS_JSON
    def fail(*, as_json: bool) -> None:  # read where it fails
        raise UsageError(f"unsupported URI 'odd://anna:{SECRET}@host'")

    result = CliRunner().invoke(fail, ["--json"])

    assert 2 == result.exit_code
    assert SECRET not in result.output
    assert "unsupported URI 'odd://anna:***@host'" in result.stderr


def test_what_is_no_secret_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short values are words that stand anywhere."""
    monkeypatch.setenv("SOME_TOKEN", "a")
    assert "a plain message" == without_secrets("a plain message")


def test_an_unexpected_error_of_a_command_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line of defence knows them."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", SECRET)

    @command()
    def fail() -> None:
        raise ValueError(f"Invalid header value b'Bearer {SECRET}'")

    result = CliRunner().invoke(fail, [])

    assert 1 == result.exit_code
    assert "unexpected ValueError: Invalid header value b'Bearer ***'" in result.stderr


@pytest.mark.parametrize(
    ("variable", "value", "secret"),
    [
        ("TEAM_HOOK", "https://hooks.example.org/services/T0/hook-secret-1", "hook-secret-1"),
        ("SLACK_URL", "slack://T1/B2/slack-secret-2/#general", "slack-secret-2"),
        ("EMAIL_URL", "mailtos://anna:mail-secret-3@example.org", "mail-secret-3"),
        ("AZURE_STORAGE_CONNECTION_STRING", "AccountName=x;AccountKey=azure-secret-4==;Suffix=y", "azure-secret-4=="),
        ("ANY", "https://host/path?token=query-secret-5", "query-secret-5"),
        ("ANY", "https://ghp_secret6@host/repository", "ghp_secret6"),
        ("HTTPS_PROXY", "http://anna:proxy-secret-7@proxy:3128", "proxy-secret-7"),
        ("PGPASSWORD", "pg-secret-8", "pg-secret-8"),
        ("DB_PASS", "pass-secret-9", "pass-secret-9"),
        ("MLFLOW_TRACKING_URI", "mysql://anna:p@host-secret-11#x@db/y", "host-secret-11"),
        ("PROMOTION_DATABASE_URL", "postgresql://h/x?user=u&password=query-secret-12", "query-secret-12"),
        ("MLFLOW_TRACKING_PASSWORD", "p@ss/secret 13", "p%40ss%2Fsecret%2013"),
        ("MLFLOW_TRACKING_PASSWORD", 'quoted"secret-14', 'quoted\\"secret-14'),
        ("JOURNAL_DSN", "host=h user=anna password=dsn-secret-10", "dsn-secret-10"),
    ],
)
def test_a_part_of_a_secret_is_one(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, secret: str) -> None:
    """A library quotes the token out of an address, a connection string, a query."""
    monkeypatch.setenv(variable, value)

    assert "refused: ***" == without_secrets(f"refused: {secret}")


@pytest.mark.parametrize(
    ("name", "text", "secret"),
    [
        (".netrc", "machine host login anna password netrc-secret-1\n", "netrc-secret-1"),
        (".pgpass", "db:5432:journal:anna:pgpass-secret-2\n", "pgpass-secret-2"),
        (".aws/credentials", "[default]\naws_secret_access_key = aws-secret-3\n", "aws-secret-3"),
        (".mlflow/credentials", "mlflow_tracking_password = mlflow-secret-4\n", "mlflow-secret-4"),
        (".kube/config", "users:\n- name: jenkins\n  user:\n    token: kube-secret-5\n", "kube-secret-5"),
        (".docker/config.json", '{"auths": {"registry": {"auth": "docker-secret-6"}}}', "docker-secret-6"),
        (".kaggle/kaggle.json", '{"username":"anna","key":"kaggle-secret-7"}', "kaggle-secret-7"),
        (".config/gcloud/application_default_credentials.json", '{"refresh_token": "gcloud-8"}', "gcloud-8"),
        (".databrickscfg", "[DEFAULT]\ntoken = databricks-secret-9\n", "databricks-secret-9"),
        (".git-credentials", "https://anna:git-secret-10@example.org\n", "git-secret-10"),
        (".config/pip/pip.conf", "index-url = https://anna:pip-secret-11@example.org/simple\n", "pip-secret-11"),
    ],
)
def test_files_of_other_programs_are_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, text: str, secret: str
) -> None:
    """Requests reads .netrc, the database's driver .pgpass, boto3 its own; with or without their sections."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("NETRC", "PGPASSFILE", "AWS_SHARED_CREDENTIALS_FILE", "KUBECONFIG", "PIP_CONFIG_FILE"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text)

    assert "refused: ***" == without_secrets(f"refused: {secret}")
