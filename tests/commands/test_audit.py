"""`scripts/audit.py`: verify, show and export, as a person and as Jenkins call it."""

from __future__ import annotations

import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.commands.conftest import Promote
from tests.conftest import Run
from tests.promotion.audit.tampering import ATTACKS, EVENTS, MODEL, fill, move, past_the_triggers
from tests.promotion.factories import Store, a_journal, a_version, promote

from promotion.config.settings import REPOSITORY
from promotion.journal.records import Authority
from promotion.signing.keys import Keys

Audit = Callable[..., Result]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a journal, its checkpoints and its key."""
    home = tmp_path_factory.mktemp("recorded")
    fill(a_journal(home), home / "checkpoints", Keys(home / "keys" / "signing-key.pem"))
    return home


@pytest.fixture
def at_home(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    shutil.copytree(recorded, home)
    monkeypatch.setenv("PROMOTION_HOME", str(home))
    monkeypatch.setenv("PROMOTION_KEYS", str(home / "keys"))
    for name in ("PROMOTION_CHECKPOINTS", "PROMOTION_SIGNING_KEY", "PROMOTION_TRUSTED_KEYS"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def audit() -> Audit:
    main = runpy.run_path(str(REPOSITORY / "scripts" / "audit.py"), run_name="audit")["main"]
    return lambda *arguments: CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_sound_journal_ends_with_0(at_home: Path, audit: Audit) -> None:
    """How much was read, how it ends, and what the checkpoints are worth."""
    result = audit("verify")

    assert 0 == result.exit_code, result.output
    assert f"events: {EVENTS}, the last one {EVENTS} with hash " in result.stdout
    assert "checkpoints: 4 signed" in result.stdout
    assert f"compared: {EVENTS} events with their own hashes" in result.stdout
    line = "✅ the journal is sound: all that was compared agrees, and a signed checkpoint vouches for events 1 to"
    assert f"{line} {EVENTS}" == result.stdout.splitlines()[-1]


def test_a_checkpoint_that_is_gone_ends_with_3(at_home: Path, audit: Audit) -> None:
    """The newest; the line names the event it was of."""
    next((at_home / "checkpoints").glob(f"{EVENTS}-*.json")).unlink()

    result = audit("verify")

    assert 3 == result.exit_code, result.output
    assert f"❌ checkpoint of event {EVENTS}: missing: the journal lists it" in result.stdout


@pytest.mark.parametrize("attack", ["edit", "delete", "truncate", "forge"])
def test_offline_an_archived_checkpoint_convicts(at_home: Path, audit: Audit, tmp_path: Path, attack: str) -> None:
    """Somebody changes the journal after Jenkins archived the checkpoints; the export shows it, exit 3."""
    archive, keys = tmp_path / "archive", tmp_path / "believed"
    shutil.copytree(at_home / "checkpoints", archive)
    keys.mkdir()
    (keys / "pipeline.pem").write_bytes(next(iter(Keys(at_home / "keys" / "signing-key.pem").trusted().values())))
    with past_the_triggers(f"sqlite:///{at_home / 'promotion.db'}") as connection:
        ATTACKS[attack][0](connection)
    shutil.rmtree(at_home / "checkpoints")
    assert 0 == audit("export", "--output", tmp_path / "journal.jsonl").exit_code
    (at_home / "promotion.db").unlink()
    shutil.rmtree(at_home / "keys")

    arguments = ("verify", "--export", tmp_path / "journal.jsonl", "--checkpoints", archive, "--keys", keys)
    result, as_json = audit(*arguments), audit(*arguments, "--json")

    assert 3 == result.exit_code, result.output
    assert [line for line in result.stdout.splitlines() if line.startswith("❌ ")]
    assert "the journal is NOT sound" in result.stderr
    document = json.loads(as_json.stdout)
    assert (3, False) == (document["exit_code"], document["sound"])
    assert document["count"] == len(document["findings"])


def test_a_checkpoint_by_an_unknown_key_is_wrong(at_home: Path, audit: Audit, tmp_path: Path) -> None:
    """Whoever rewrites the chain can sign it with a key of their own: it is not believed."""
    keys = Keys(tmp_path / "stranger" / "signing-key.pem")
    shutil.rmtree(at_home / "checkpoints")
    (at_home / "promotion.db").unlink()
    fill(a_journal(at_home), at_home / "checkpoints", keys)

    result = audit("verify")

    assert 3 == result.exit_code
    assert "checkpoints: 4 signed with a key that is not trusted" in result.stdout
    assert 4 == len([line for line in result.stdout.splitlines() if line.startswith("❌ checkpoint ")])


def test_what_cannot_be_read_ends_with_1(at_home: Path, audit: Audit) -> None:
    """A database that is none, and an export that is missing, are failures and no verdict."""
    (at_home / "promotion.db").write_text("not a database " * 100)

    assert 1 == audit("verify").exit_code
    missing = audit("verify", "--export", at_home / "missing")
    assert 1 == missing.exit_code
    assert "cannot be read" in missing.stderr


def test_show_says_who_did_what_why_and_on_what_evidence(at_home: Path, audit: Audit) -> None:
    """One line an event, newest first."""
    result = audit("show", "--model", MODEL)

    assert 0 == result.exit_code, result.output
    lines = result.stdout.splitlines()
    assert EVENTS == len(lines)
    assert lines[0].endswith("churn v2 (1.1.0)  incident closed by otto: rolled back")
    assert lines[1].endswith("churn v1 (1.0.0): Archived → Production  rollback by otto: wrong answers")
    assert lines[-3].endswith(
        "churn v1 (1.0.0): None → Production  promote by anna: better [gate report 1, evidence eeeeeeeeeeee]"
    )
    assert lines[-2].endswith("churn v1 (1.0.0)  approve by bea, answered for by bea: business: useful [gate report 1]")


def test_overrides_stand_out(at_home: Path, audit: Audit) -> None:
    """Break-glass is the first thing one sees in its line."""
    details = {"override": ["accuracy", "latency"]}
    move(a_journal(at_home), 2, Authority("promote", "anna", "must run today", None, "john", details))

    result = audit("show", "--limit", "1")

    assert "⚠️ OVERRIDE of accuracy, latency: promote by anna, answered for by john: must run today" in result.stdout
    assert "the newest 1; --limit shows more" in result.stderr


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (("--model", MODEL, "--version", "1"), 5),
        (("--model", MODEL, "--version", "1.1.0"), 6),
        (("--since", "2100-01-01"), 0),
        (("--until", "2000-01-01"), 0),
        (("--since", "2000-01-01", "--until", "2100-01-01T00:00:00"), EVENTS),
        (("--limit", "3"), 3),
    ],
)
def test_show_can_be_narrowed(at_home: Path, audit: Audit, options: tuple[str, ...], shown: int) -> None:
    """By version, by period, by number; the same events as JSON."""
    documents = json.loads(audit("show", *options, "--json").stdout)

    assert shown == len(documents)
    assert all(len(document["hash"]) == 64 for document in documents)
    assert shown == len(audit("show", *options).stdout.splitlines())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("show", "--version", "1"), "--version needs --model"),
        (("show", "--model", "nobody"), "unknown family 'nobody'"),
        (("show", "--model", MODEL, "--version", "9"), "no version 9"),
        (("export", "--model", "nobody", "--output", "x"), "unknown family 'nobody'"),
        (("export",), "--output"),
        (("verify", "--checkpoints", "nowhere"), "nowhere"),
        (("rewrite",), "rewrite"),
    ],
)
def test_wrong_usage_ends_with_2(at_home: Path, audit: Audit, arguments: tuple[str, ...], complaint: str) -> None:
    """What does not exist is named."""
    result = audit(*arguments)

    assert 2 == result.exit_code
    assert complaint in result.stderr


def test_export_takes_everything_along(at_home: Path, audit: Audit, tmp_path: Path) -> None:
    """Events verbatim, reports, approvals, checkpoints, versions, incidents; or one family of them."""
    promote(a_journal(at_home), "fraud", a_version("fraud"))

    result = audit("export", "--output", tmp_path / "all", "--json")
    audit("export", "--output", tmp_path / "one", "--model", MODEL)

    assert {"exit_code": 0, "file": str(tmp_path / "all"), "events": EVENTS + 1, "checkpoints": 4} == json.loads(
        result.stdout
    )
    counts = {}
    for name in ("all", "one"):
        kinds = [json.loads(line)["kind"] for line in (tmp_path / name).read_text().splitlines()]
        counts[name] = {kind: kinds.count(kind) for kind in kinds}
    one = {"journal": 1, "checkpoint": 4, "report": 2, "approval": 2, "event": EVENTS, "version": 2, "incident": 1}
    assert one == counts["one"]
    assert one | {"event": EVENTS + 1, "version": 3} == counts["all"]


@pytest.mark.system
def test_a_promotion_leaves_a_signed_checkpoint(
    store: Store, promote: Promote, audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command that promotes writes it, and an audit right after finds everything vouched for."""
    monkeypatch.setenv("PROMOTION_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("PROMOTION_CHECKPOINTS", str(tmp_path / "archive"))
    store.register("churn")
    assert 0 == promote("churn").exit_code

    result = audit("verify")

    assert ["1-*.intoto.jsonl", "1-*.json"] == [
        f"1-*.{path.name.partition('.')[2]}" for path in sorted((tmp_path / "archive").iterdir())
    ]
    assert 0 == result.exit_code, result.output
    assert "checkpoints: 1 signed" in result.stdout
    assert "⚠️" not in result.stdout


@pytest.mark.system
def test_a_process_of_its_own_on_an_ascii_console(at_home: Path, run: Run) -> None:
    """As Jenkins runs it; where nothing can be shown but ASCII, everything can still be read."""
    result = run("scripts/audit.py", "verify", LANG="C", LC_ALL="C")

    assert 0 == result.returncode, result.stderr
    assert "[ok] the journal is sound" in result.stdout
    assert result.stdout.isascii()


@pytest.mark.system
def test_an_attestation_is_printed_written_and_refused_when_it_is_gone(
    store: Store, promote: Promote, audit: Audit, tmp_path: Path
) -> None:
    """Standard output is the envelope alone; without --version it is that of what is in Production."""
    store.register("churn")
    assert 5 == audit("attestation", "--model", "churn").exit_code
    assert 0 == promote("churn").exit_code

    shown = audit("attestation", "--model", "churn")
    written = audit("attestation", "--model", "churn", "--version", "1", "--output", tmp_path / "it.jsonl", "--json")

    assert (0, 0) == (shown.exit_code, written.exit_code), shown.output + written.output
    envelope = json.loads(shown.stdout)
    assert {"payload", "payloadType", "signatures"} == set(envelope)
    assert envelope == json.loads(written.stdout)["envelope"] == json.loads((tmp_path / "it.jsonl").read_text())
    assert 2 == audit("attestation").exit_code
    assert 2 == audit("attestation", "--model", "churn", "--version", "7").exit_code
    (file,) = (store.home / "checkpoints").glob("*.intoto.jsonl")
    file.unlink()
    gone = audit("attestation", "--model", "churn")
    assert 3 == gone.exit_code
    assert "--reconcile --model churn writes it from the record" in gone.stderr
    found = audit("verify")
    assert 3 == found.exit_code
    assert f"attestation {file.name}: missing" in found.stdout
    assert 0 == promote("--reconcile", "--model", "churn").exit_code
    assert 0 == audit("verify").exit_code
    assert "attestations: 1 valid" in audit("verify").stdout
