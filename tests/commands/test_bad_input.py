"""Bad input to `scripts/promote-model.py`: one clear line, the documented exit code, nothing changed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import Result
from tests.commands.conftest import FOREST, LOGISTIC, Promote
from tests.conftest import Arranged, Run
from tests.promotion.factories import Store, read_only, small_disk

from promotion.config.settings import REPOSITORY
from promotion.registry.stages import Stage
from promotion.service import Mover


def _refused(result: Result, exit_code: int, *parts: str) -> None:
    """The last line says what happened; it is one line, and no traceback is above it."""
    last = result.stderr.splitlines()[-1]
    assert exit_code == result.exit_code, result.stderr
    for part in parts:
        assert part in last
    assert "Traceback" not in result.stderr
    assert "unexpected" not in last
    assert "Successfully promoted" not in result.stdout


@pytest.fixture
def churn(arranged: Arranged) -> Store:
    """A model without configuration; version 1 is in Production."""
    return arranged(_churn)


def _churn(store: Store) -> None:
    store.register("churn")
    store.register("churn")
    store.service().promote(store.service().check(store.registry.version("churn", 1)), Mover("anna", "first"))


@pytest.mark.parametrize(
    ("arguments", "exit_code", "part"),
    [
        (["chrun"], 2, "no registered model 'chrun': the registry has churn"),
        (["chrun", "1"], 2, "no registered model 'chrun': the registry has churn"),
        (["churn", "9"], 2, "churn has no version 9: it has 2, 1"),
        (["churn", "1"], 5, "churn v1 is in Production already: nothing to do"),
        (
            ["--auto", "--model", "heart"],
            2,
            "unknown family 'heart': neither configured (families: alzheimer_classifier, heart-disease, ",
        ),
        (["--list", "--model", "heart"], 2, "unknown family 'heart': neither configured nor a registered model"),
        (["--history", "--model", "heart"], 2, "unknown family 'heart'"),
        (["--reconcile", "--model", "heart"], 2, "unknown family 'heart'"),
        (["--auto", "--model", "churn"], 5, "'churn' is promoted by hand"),
        (["--auto"], 5, "no version is registered: train first (python src/models/train.py --model heart-disease)"),
        ([], 2, "say either NAME [VERSION] or one of --list"),
        (["churn", "--auto"], 2, "say either NAME [VERSION] or one of --list"),
        (["churn", "0"], 2, "'0' is no version: expected MLflow's number (3) or a semantic version (1.2.0)"),
        (["churn", "latest"], 2, "'latest' is no version: expected MLflow's number (3) or a semantic"),
        (["--history", "--at", "yesterday"], 2, "'yesterday' does not match"),
    ],
)
@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]], ids=["really", "rehearsed"])
def test_names_that_do_not_exist(
    churn: Store, promote: Promote, arguments: list[str], exit_code: int, part: str, dry_run: list[str]
) -> None:
    """Unknown model, version or family, and command lines that mean nothing; rehearsed as in earnest."""
    before = churn.rows()

    _refused(promote(*arguments, *dry_run), exit_code, part)

    assert before == churn.rows()


@pytest.mark.usefixtures("no_journal")
@pytest.mark.parametrize(
    ("arguments", "exit_code", "part"),
    [
        (["churn"], 2, "no registered model 'churn': the registry is empty; register a version first"),
        (["--auto"], 5, "train first (python src/models/train.py --model heart-disease)"),
        (["--list"], 0, "no registered models"),
    ],
)
def test_no_models_at_all(store: Store, promote: Promote, arguments: list[str], exit_code: int, part: str) -> None:
    """An empty registry names the next step; so does one that was never created."""
    for _ in range(2):
        _refused(promote(*arguments), exit_code, part)
        assert not (store.home / "promotion.db").exists()
        (store.home / "mlflow.db").unlink(missing_ok=True)
    assert not (store.home / "mlflow.db").exists()


@pytest.mark.parametrize("status", ["PENDING_REGISTRATION", "FAILED_REGISTRATION"])
def test_a_version_that_is_not_ready(churn: Store, promote: Promote, status: str) -> None:
    """An unfinished registration is blocked by a gate."""
    churn.sql(f"UPDATE model_versions SET status = '{status}' WHERE version = 2")  # noqa: S608
    shown, serving = churn.shown(), churn.service().journal.productions()

    _refused(promote("churn", "2"), 3, f"churn v2 may not enter Production: version ready: {status}, required READY")

    assert (shown, serving) == (churn.shown(), churn.service().journal.productions())


@pytest.mark.parametrize(
    ("tag", "found"),
    [(None, "missing"), ("nan", "'nan', not a finite number"), ("-inf", "'-inf'"), ("very good", "'very good'")],
)
def test_a_winner_without_a_usable_metric_tag(store: Store, promote: Promote, tag: str | None, found: str) -> None:
    """Missing, NaN, infinite or garbage `roc_auc`: refused by name, nothing created."""
    store.train("heart-disease", LOGISTIC)
    store.client.delete_model_version_tag(LOGISTIC, "1", "roc_auc")
    if tag is not None:
        store.client.set_model_version_tag(LOGISTIC, "1", "roc_auc", tag)
    before = store.rows()

    _refused(promote("--auto"), 3, f"{LOGISTIC} v1: tag roc_auc is {found}")

    assert before == store.rows()


def test_two_best_models(store: Store, promote: Promote) -> None:
    """Two tags in one round: refused, naming both."""
    store.train("heart-disease", LOGISTIC, FOREST)
    store.client.set_model_version_tag(FOREST, "1", "best_model", "true")
    before = store.rows()

    _refused(promote("--auto"), 3, "2 versions of 'heart-disease'", f"{LOGISTIC} v1", f"{FOREST} v1", "remove one")

    assert before == store.rows()


# The tracking server

COMMANDS = [["--list"], ["--auto"], ["churn"], ["churn", "2"], ["--reconcile"]]


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """A real HTTP server that answers every request with the status in its `status`."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"error_code": "PERMISSION_DENIED", "message": "Permission denied"}'
            self.send_response(self.server.status)  # type: ignore[attr-defined]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815  # the names http.server looks for

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield listening
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("status", "parts"),
    [
        (401, ["answered 401: no credentials were sent; set MLFLOW_TRACKING_USERNAME"]),
        (403, ["answered 403 (Permission denied)", "ask for the permission"]),
    ],
)
def test_a_server_that_does_not_let_us_in(
    churn: Store,
    promote: Promote,
    server: ThreadingHTTPServer,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    status: int,
    parts: list[str],
) -> None:
    """401 and 403 are told apart, and neither reads as "there are no models"."""
    server.status = status  # type: ignore[attr-defined]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
    before = churn.rows()

    result = promote(*arguments)

    assert (1, before) == (result.exit_code, churn.rows())
    last = result.stderr.splitlines()[-1]
    assert f"answered {status}" in last
    assert ("credentials" in last) == (status == 401)
    assert ("permission" in last) == (status == 403)
    assert "train" not in last


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("arguments", COMMANDS[:3], ids=" ".join)
def test_a_server_that_is_not_there(
    churn: Store,
    promote: Promote,
    server: ThreadingHTTPServer,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
) -> None:
    """A closed port fails after bounded retries; it is never an empty registry."""
    port = server.server_port
    server.socket.close()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    before = churn.rows()

    _refused(promote(*arguments), 1, "no connection", "MLFLOW_TRACKING_URI right?")

    assert before == churn.rows()


def test_a_store_that_is_no_database(churn: Store, promote: Promote) -> None:
    """Some other file under mlflow.db's name is a failure, not an empty registry."""
    (churn.home / "mlflow.db").write_text("not a database, but long enough to be taken for one" * 10)

    _refused(promote("churn", "2"), 1, "mlflow.db")


# The journal


@pytest.fixture
def apart(churn: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The journal in a folder of its own."""
    folder = tmp_path / "journal"
    folder.mkdir()
    for file in churn.home.glob("promotion.db*"):
        file.rename(folder / file.name)
    monkeypatch.setenv("PROMOTION_DATABASE_URL", f"sqlite:///{folder / 'promotion.db'}")
    return folder


def test_a_read_only_journal(churn: Store, apart: Path, promote: Promote) -> None:
    """Looking works; promoting fails before anything moves."""
    before = churn.shown()

    with read_only(apart):
        assert 0 == promote("--list").exit_code
        assert "first" in promote("--history").stdout
        _refused(promote("churn", "2"), 1, "nothing moved")

    assert before == churn.shown()


def test_a_full_disk(churn: Store, apart: Path, promote: Promote) -> None:
    """No room for the journal: exit 1, and MLflow shows what it showed."""
    before = churn.shown()

    with small_disk(apart, "16k"):
        _refused(promote("churn", "2"), 1, "nothing moved")

    assert before == churn.shown()


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("journal.db", "PROMOTION_DATABASE_URL has no scheme: did you mean sqlite:///journal.db?"),
        ("mysql://db/journal", "SQLite or PostgreSQL"),
    ],
)
def test_a_wrong_journal_url(
    churn: Store, promote: Promote, monkeypatch: pytest.MonkeyPatch, url: str, part: str
) -> None:
    """A malformed URL, or another kind of database, is a usage error."""
    monkeypatch.setenv("PROMOTION_DATABASE_URL", url)
    before = churn.rows()

    _refused(promote("churn", "2"), 2, part)

    assert before == churn.rows()


# The configuration


MISTAKES = pytest.mark.parametrize(
    ("text", "part"),
    [
        ("\nthresholds: {}\n", "heart-disease.yaml:60: thresholds: unknown key; remove it, known here are"),
        (
            "\nnumeric: age\n",
            "heart-disease.yaml:60: numeric: this key stands here and in line 45; keep one of the two",
        ),
        ("\n{{{\n", "heart-disease.yaml:61: not readable as YAML"),
    ],
    ids=["unknown key", "a key twice", "no YAML"],
)


def _break(home: Path, text: str) -> None:
    text = (REPOSITORY / "config" / "heart-disease.yaml").read_text(encoding="utf-8") + text
    (home / "config" / "heart-disease.yaml").write_text(text, encoding="utf-8")


@MISTAKES
@pytest.mark.parametrize("action", ["--list", "--auto", "--reconcile", "--history", "--cleanup"])
def test_a_broken_file_is_refused_where_its_family_is_asked_for(
    churn: Store, promote: Promote, action: str, text: str, part: str
) -> None:
    """A misspelt key, a key twice or broken YAML is named with file, line and key; exit 2, nothing moves."""
    _break(churn.home, text)
    before = churn.rows()

    _refused(promote(action, "--model", "heart-disease", "--yes"), 2, part)

    assert before == churn.rows()


@MISTAKES
@pytest.mark.parametrize(
    ("action", "exit_code"), [("--list", 0), ("--history", 0), ("--cleanup", 5), ("--auto", 2), ("--reconcile", 2)]
)
def test_a_broken_file_is_a_line_where_all_families_are_asked_for(
    churn: Store, promote: Promote, action: str, exit_code: int, text: str, part: str
) -> None:
    """The others are looked at; what would have acted on the broken one ends with 2."""
    _break(churn.home, text)

    result = promote(action, "--yes")

    assert exit_code == result.exit_code, result.stderr
    told = [line for line in result.stderr.splitlines() if line.startswith("❌ left out: ")]
    assert (0 if action == "--history" else 1) == len(told)
    assert all(part in line for line in told)


@MISTAKES
def test_a_broken_file_stops_no_other_family(churn: Store, promote: Promote, text: str, part: str) -> None:
    """A model that the broken file does not name moves as before."""
    _break(churn.home, text)

    result = promote("churn", "2")

    assert 0 == result.exit_code, result.stderr
    assert part not in result.stderr


@MISTAKES
def test_breaking_a_file_frees_no_model(trained: Store, promote: Promote, text: str, part: str) -> None:
    """Without its rules the family's model would move unchecked: it does not move."""
    _break(trained.home, text)
    before = trained.rows()

    _refused(promote(LOGISTIC, "2"), 2, f"'{LOGISTIC}' belongs to family 'heart-disease', whose file is broken: ", part)

    assert before == trained.rows()


def test_data_that_breaks_its_contract_is_no_verdict_on_the_model(trained: Store, promote: Promote) -> None:
    """Test rows that cannot be read are a failure (1), not a gate's refusal (3)."""
    (trained.home / "data" / "heart-disease.csv").write_text("age\n1\n")
    before = trained.shown()

    result = promote(LOGISTIC, "2")

    assert 1 == result.exit_code
    assert "heart-disease.csv" in result.stderr
    assert before == trained.shown()


def test_as_json_a_failure_is_data_too(churn: Store, promote: Promote) -> None:
    """Standard output carries message and exit code, standard error the same line."""
    result = promote("chrun", "--json")

    document = json.loads(result.stdout)
    assert 2 == document["exit_code"] == result.exit_code
    assert document["message"] == result.stderr.splitlines()[-1]


@pytest.mark.system
def test_as_a_process_it_answers_the_same(churn: Store, run: Run) -> None:
    """The exit code and the one line reach a shell, from any folder."""
    done = run("scripts/promote-model.py", "chrun")

    assert (2, "") == (done.returncode, done.stdout)
    assert ["no registered model 'chrun': the registry has churn"] == done.stderr.splitlines()
    assert Stage.PRODUCTION == churn.shown()["churn v1"]
