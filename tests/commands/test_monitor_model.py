"""`scripts/monitor-model.py`: what it says, keeps, writes, and how it ends."""

from __future__ import annotations

import json
import os
import runpy
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from sqlalchemy import select
from tests.promotion.factories import a_journal, a_version, promote
from tests.promotion.monitoring.logs import DAY, MODEL, NOON, Traffic, churn, write_export, write_labels, write_log
from tests.promotion.monitoring.receivers import receiving

from promotion.cli.monitoring import looks
from promotion.config.settings import REPOSITORY
from promotion.errors import RegistryError
from promotion.journal.journal import Journal
from promotion.journal.schema import monitoring_run
from promotion.registry.contract import RegisteredModel
from promotion.registry.sqlite import SqliteRegistry

pytestmark = pytest.mark.system

Monitor = Callable[..., Result]


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a family whose version 2 is in Production and exported; it is noon."""
    home = tmp_path / "home"
    (home / "config").mkdir(parents=True)
    config = churn(
        contacts={"runbooks": {"rollback": "docs/runbooks/rollback.md"}},
        monitoring={"channels": {}, "routing": _NOBODY},
    )
    document = config.model_dump(mode="json", exclude_unset=True)
    (home / "config" / "churn.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    promote(a_journal(home), "churn", a_version(MODEL, 2))
    write_export(home / "build" / "export" / "churn")
    monkeypatch.setenv("PROMOTION_HOME", str(home))
    monkeypatch.setenv("PROMOTION_CLOCK", NOON.isoformat())
    for name in ("PROMETHEUS_URL", "PREDICTION_LOG_SOURCE"):
        monkeypatch.delenv(name, raising=False)
    return home


_NOBODY: dict[str, list[str]] = {"critical": [], "warning": [], "info": []}


@pytest.fixture
def command() -> Monitor:
    """The command, without paying for a new process."""
    main = runpy.run_path(str(REPOSITORY / "scripts" / "monitor-model.py"), run_name="monitor_model")["main"]
    return lambda *arguments: CliRunner().invoke(main, [*map(str, arguments)])


@pytest.fixture
def monitor(command: Monitor) -> Monitor:
    """The same about the family."""
    return lambda *arguments: command("--model", "churn", *arguments)


def files(home: Path, *traffic: Traffic) -> list[str]:
    log, labels = write_log(home / "log.jsonl", traffic), write_labels(home / "labels.csv", traffic)
    return ["--log", str(log), "--labels", str(labels)]


def kept(home: Path) -> list[Any]:
    return list(Journal(a_journal(home).database).rows(select(monitoring_run)))


def test_healthy_traffic_ends_zero_with_a_page_and_a_record(watched: Path, monitor: Monitor) -> None:
    """What was seen is on the console, in the journal, and on the page."""
    result = monitor("--once", *files(watched, Traffic(1000)))
    (run,) = kept(watched)
    page = (watched / "reports" / "monitoring" / "churn.html").read_text(encoding="utf-8")

    assert 0 == result.exit_code, result.output
    assert f"📊 {MODEL} v2 (1.2.0), champion, in Production, answers now" in result.stdout
    assert "accuracy 0.900 (0.880 – 0.917), 0.900 at promotion" in result.stdout
    assert ("churn", MODEL, 2, 1000, None) == (run.family, run.model, run.mlflow_version, run.rows, run.level)
    assert 0.9 == run.observation["metrics"]["accuracy"]["value"]
    assert "Nothing was found" in page
    assert "1,000" in page


def test_something_critical_ends_three(watched: Path, monitor: Monitor) -> None:
    """Documented in the help: Jenkins and cron can tell."""
    result = monitor(*files(watched, Traffic(2000, accuracy=0.8)))

    assert 3 == result.exit_code
    assert "⚠️ critical: accuracy 0.800 on 2,000 labelled rows, 0.100 below 0.900 at promotion" in result.stdout
    assert "critical" == kept(watched)[0].level
    assert "3 something is critical" in " ".join(monitor("--help").stdout.split())


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
def test_the_page_shows_what_people_were_told_of(
    watched: Path, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An alert that was sent is on the next run's page, as lasting."""
    config = watched / "config" / "churn.yaml"
    document = yaml.safe_load(config.read_text(encoding="utf-8"))
    document["monitoring"] = {"channels": {"slack": "SLACK_URL"}, "routing": {**_NOBODY, "critical": ["slack"]}}
    config.write_text(yaml.safe_dump(document), encoding="utf-8")
    with receiving() as team:
        monkeypatch.setenv("SLACK_URL", team.url)
        for _ in range(2):
            monitor(*files(watched, Traffic(2000, accuracy=0.8)))
    page = (watched / "reports" / "monitoring" / "churn.html").read_text(encoding="utf-8")
    shown = page.partition('<section id="alerts">')[2].partition("</section>")[0]

    assert 1 == len(team.got)
    assert 1 == shown.count("accuracy 0.800 on 2,000 labelled rows")
    assert "lasts" in shown


def test_a_warning_ends_zero(watched: Path, monitor: Monitor) -> None:
    """It is said, and kept."""
    result = monitor(*files(watched, Traffic(2000, shift=1.0)))

    assert 0 == result.exit_code
    assert "warning: x drifted" in result.stdout
    assert "warning" == kept(watched)[0].level


def test_too_few_rows_are_not_enough_data(watched: Path, monitor: Monitor) -> None:
    """Ten terrible rows: no alarm, no all-clear, one line for all checks that lack rows."""
    result = monitor(*files(watched, Traffic(10, accuracy=0.0, shift=50.0)))

    assert 0 == result.exit_code
    assert "… not enough data, 10 labelled rows, 100 needed: accuracy, precision, recall, f1, roc_auc" in result.stdout
    assert "as at promotion" not in result.stdout
    assert kept(watched)[0].level is None


def test_a_rehearsal_says_what_would_have_been_told_and_keeps_nothing(watched: Path, monitor: Monitor) -> None:
    """Two good days and two bad ones, looked at twice a day; the same as data."""
    good = Traffic(1000, since=NOON - 4 * DAY, until=NOON - 2 * DAY)
    bad = Traffic(1000, since=NOON - 2 * DAY, accuracy=0.6, seed=2)
    log, labels = write_log(watched / "log.jsonl", [good, bad]), write_labels(watched / "labels.csv", [good, bad])
    arguments = ["--replay", str(log), "--labels", str(labels), "--interval", "43200"]
    result, document = monitor(*arguments), json.loads(monitor(*arguments, "--json").stdout)

    assert 0 == result.exit_code, result.output
    assert f"told      critical  {MODEL} v2: accuracy" in result.stdout
    assert "critical" in {act["level"] for act in document["acts"]}
    assert [] == kept(watched)
    assert not (watched / "reports").exists()


def test_a_dry_run_leaves_nothing_behind(watched: Path, monitor: Monitor) -> None:
    """No record, no page; what it says and how it ends are the same."""
    result = monitor("--dry-run", *files(watched, Traffic(2000, accuracy=0.8)))

    assert 3 == result.exit_code
    assert "critical: accuracy" in result.stdout
    assert [] == kept(watched)
    assert not (watched / "reports").exists()


def test_json_has_every_version_and_every_finding(watched: Path, monitor: Monitor) -> None:
    """Plain data for whoever comes next."""
    arguments = files(watched, Traffic(2000, accuracy=0.8), Traffic(300, version=3, role="shadow"))
    document = json.loads(monitor("--json", *arguments).stdout)

    assert (3, "critical") == (document["exit_code"], document["level"])
    assert [(2, "champion"), (3, "shadow")] == [(it["version"], it["role"]) for it in document["versions"]]
    assert "accuracy" == document["versions"][0]["findings"][0]["key"]


def test_the_window_is_the_familys_or_the_callers(watched: Path, monitor: Monitor) -> None:
    """24 hours by default; an hour holds a twenty-fourth of an even day."""
    arguments = files(watched, Traffic(2400))

    assert "2,400 rows from 2026-11-20 12:00 to 2026-11-21 12:00 UTC" in monitor("--dry-run", *arguments).stdout
    assert "100 rows from 2026-11-21 11:00" in monitor("--dry-run", "--window", "1h", *arguments).stdout


def test_the_log_may_come_from_the_environment(
    watched: Path, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a cluster, where the command line is fixed."""
    log = write_log(watched / "log.jsonl", [Traffic(500)])
    monkeypatch.setenv("PREDICTION_LOG_SOURCE", str(log))

    assert "500 rows" in monitor("--dry-run").stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "PREDICTION_LOG_SOURCE"),
        (["--log", "nowhere.jsonl"], "nowhere.jsonl: no prediction log here"),
        (["--log", "nowhere.jsonl", "--window", "soon"], "expected a time span such as 90s, 5m, 24h or 7d"),
        (["--log", "nowhere.jsonl", "--once", "--interval", "5"], "exclude each other"),
        (["--log", "nowhere.jsonl", "--labels", "no.csv"], "no.csv"),
        (["--log", "nowhere.jsonl", "--export", "."], "no export here"),
        (["--log", "nowhere.jsonl", "--engine", "abacus"], "abacus"),
    ],
)
def test_usage_ends_two(watched: Path, monitor: Monitor, arguments: list[str], says: str) -> None:
    """One line that says what was wrong."""
    result = monitor(*arguments)

    assert (2, True) == (result.exit_code, says in result.output), result.output


def test_an_unknown_family_ends_two(watched: Path) -> None:
    """With the families there are."""
    main = runpy.run_path(str(REPOSITORY / "scripts" / "monitor-model.py"), run_name="monitor_model")["main"]
    result = CliRunner().invoke(main, ["--model", "nobody", "--log", "x"])

    assert 2 == result.exit_code
    assert "families: churn" in result.output


def test_prometheus_that_is_away_is_a_warning_and_no_figure(
    watched: Path, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody watches the service: somebody must know; its password is nobody's business."""
    monkeypatch.setenv("PROMETHEUS_URL", "http://watcher:s3cret@127.0.0.1:9")
    result = monitor(*files(watched, Traffic(1000)))

    assert 0 == result.exit_code
    assert "warning: the service cannot be watched: Prometheus at http://127.0.0.1:9 does not answer" in result.stdout
    assert "s3cret" not in result.output + json.dumps([dict(run._mapping) for run in kept(watched)], default=str)


@pytest.mark.system
def test_a_run_imports_nothing_slow_that_it_does_not_need(watched: Path) -> None:
    """A job that looks every few minutes pays for each import each time; the tests of distributions need none."""
    script = [sys.executable, "-X", "importtime", str(REPOSITORY / "scripts" / "monitor-model.py"), "--model", "churn"]
    done = subprocess.run([*script, *files(watched, Traffic(300))], capture_output=True, text=True, check=False)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}

    assert (0, True) == (done.returncode, "promotion.monitoring.run" in imported), done.stderr[-2000:]
    assert set() == {"mlflow", "sklearn", "scipy.stats", "scipy.optimize", "matplotlib"} & imported


@pytest.mark.system
def test_an_interval_looks_again_until_it_is_stopped(watched: Path) -> None:
    """A run that fails is said and does not end the watch; a signal does, with exit code 0."""
    log = write_log(watched / "log.jsonl", [Traffic(300)])
    command = [sys.executable, str(REPOSITORY / "scripts" / "monitor-model.py"), "--model", "churn", "--json"]
    with subprocess.Popen(
        [*command, "--log", str(log), "--interval", "1"],
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        seen = [json.loads(process.stdout.readline())["level"] for _ in range(2)]
        broken = watched / "log.jsonl.1.gz"
        broken.write_bytes(b"not gzip")
        time.sleep(3)
        broken.unlink()
        seen += [json.loads(process.stdout.readline())["level"] for _ in range(2)]
        process.send_signal(signal.SIGTERM)
        _rest, talk = process.communicate(timeout=30)

    assert [None] * 4 == seen
    assert "log.jsonl.1.gz: the prediction log cannot be read" in talk
    assert 0 == process.returncode


def test_the_family_file_may_name_log_and_labels(watched: Path, monitor: Monitor) -> None:
    """From the home on; what the command line names comes first."""
    files(watched, Traffic())
    path = watched / "config" / "churn.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document["monitoring"] |= {"log": "log.jsonl", "labels": "labels.csv"}
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    other = write_log(watched / "other.jsonl", [Traffic(300)])

    assert "1,000 labelled" in monitor("--dry-run").stdout
    assert "300 rows" in monitor("--dry-run", "--log", other).stdout


def test_the_command_of_a_message_works_as_it_is_pasted(
    watched: Path, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the log and the labels that were looked at, wherever it is pasted."""
    path = watched / "config" / "churn.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document["monitoring"] = {
        "channels": {"team": "TEAM_URL"},
        "routing": {"critical": [], "warning": ["team"], "info": []},
    }
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    monkeypatch.chdir(watched)
    write_log(watched / "a log.jsonl", [Traffic(2000, latency=900.0)])
    with receiving() as team:
        monkeypatch.setenv("TEAM_URL", team.url)
        monitor("--log", "a log.jsonl")
    (command,) = (line for line in team.got[0]["message"].splitlines() if line.startswith("Run: "))
    arguments = shlex.split(command.removeprefix("Run: "))
    monkeypatch.chdir("/")
    again = monitor(*arguments[4:], "--dry-run")

    assert ["python", "scripts/monitor-model.py", "--model", "churn"] == arguments[:4]
    assert "2,000 rows" in again.stdout, again.output


def test_all_families_are_watched_in_one_run(command: Monitor, watched: Path) -> None:
    """One whose log is away does not keep the others from being looked at; one without a log is passed over."""
    folder, document = watched / "config", yaml.safe_load((watched / "config" / "churn.yaml").read_text())
    for name in ("away", "silent"):
        changed = document | {"family": name, "registered_model": f"{name}-*"}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(changed), encoding="utf-8")
    (watched / "logs").mkdir()
    write_log(watched / "logs" / "churn.jsonl", [Traffic()])
    (watched / "logs" / "silent.jsonl").write_text("")

    found = command("--all", "--log", str(watched / "logs" / "{family}.jsonl"))
    assert (1, True) == (found.exit_code, "away: no log" in found.output or "away.jsonl" in found.output), found.output
    assert {"churn.html", "silent.html"} == {path.name for path in (watched / "reports" / "monitoring").iterdir()}

    document["monitoring"]["log"] = "logs/churn.jsonl"
    (folder / "churn.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    found = command("--all")
    assert 0 == found.exit_code, found.output
    assert "silent is not watched: its file names no log (monitoring.log)" in found.output


@pytest.mark.parametrize("is_away", [False, True])
def test_the_registry_is_listed_once_for_all_families(
    command: Monitor, watched: Path, monkeypatch: pytest.MonkeyPatch, *, is_away: bool
) -> None:
    """Also where it is away, which each family's lines say."""
    document = yaml.safe_load((watched / "config" / "churn.yaml").read_text())
    (watched / "config" / "other.yaml").write_text(
        yaml.safe_dump(document | {"family": "other", "registered_model": "other-*"}), encoding="utf-8"
    )
    listed: list[None] = []

    def models(self: SqliteRegistry) -> list[RegisteredModel]:
        listed.append(None)
        if is_away:
            raise RegistryError("nobody answers")
        return found(self)

    found = SqliteRegistry.models
    monkeypatch.setattr(SqliteRegistry, "models", models)
    said = command("--all", "--log", str(write_log(watched / "log.jsonl", [Traffic()])))

    assert (0, 1) == (said.exit_code, len(listed)), said.output
    assert (2 if is_away else 0) == said.output.count("is not known: nobody answers")


def test_one_command_line_names_the_files_of_every_family(command: Monitor, watched: Path) -> None:
    """By its name, or by that in the cluster; * finds what there is, and passes over an export that is not whole."""
    (watched / "config" / "churn.yaml").rename(watched / "config" / "Churn_EU.yaml")
    document = yaml.safe_load((watched / "config" / "Churn_EU.yaml").read_text()) | {"family": "Churn_EU"}
    (watched / "config" / "Churn_EU.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    volume = watched / "volume" / "churn-eu"
    (volume / "broken").mkdir(parents=True)
    (watched / "build" / "export" / "churn").rename(volume / "v2")
    text = files(volume, Traffic(1000))[1]
    Path(text).write_text(Path(text).read_text().replace('"family": "churn"', '"family": "Churn_EU"'))
    place = str(watched / "volume" / "{instance}")

    arguments = ["--all", "--log", f"{place}/log.jsonl", "--labels", f"{place}/labels.*", "--export", f"{place}/*"]
    found = command(*arguments, "--json")
    (volume / "labels.csv").unlink()
    without = command(*arguments)

    (version,) = json.loads(found.stdout)["versions"]
    assert (1000, 1000) == (version["rows"], version["labelled"])
    assert version["drift"][0]["psi"] is not None
    assert (0, True) == (without.exit_code, "1,000 rows" in without.stdout), without.output


def test_whatever_is_wrong_with_one_family_the_others_are_looked_at(
    command: Monitor, watched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what nobody foresaw; what libraries say of it names no password."""
    document = yaml.safe_load((watched / "config" / "churn.yaml").read_text())
    (watched / "config" / "aaa.yaml").write_text(
        yaml.safe_dump(document | {"family": "aaa", "registered_model": "aaa-*"}), encoding="utf-8"
    )
    known = looks._look

    def look(*arguments: Any) -> Any:
        if arguments[2].family == "aaa":
            message = "no way to https://hooks.example.org/secret"
            raise ZeroDivisionError(message)
        return known(*arguments)

    monkeypatch.setattr(looks, "_look", look)
    monkeypatch.setenv("SLACK_URL", "https://hooks.example.org/secret")
    found = command("--all", *files(watched, Traffic(1000)))

    assert 1 == found.exit_code
    assert "aaa: unexpected ZeroDivisionError: no way to" in found.stderr
    assert "secret" not in found.output
    assert "1,000 rows" in found.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--all", "--model", "churn"),
        ("--all", "--test-alert"),
        ("--all", "--export", "build/export/churn"),
        ("--model", "churn", "--deployed"),
    ],
)
def test_it_is_one_family_or_all(command: Monitor, watched: Path, arguments: tuple[str, ...]) -> None:
    """Neither none, nor both."""
    assert watched.is_dir()
    assert 2 == command(*arguments).exit_code
