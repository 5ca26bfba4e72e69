"""Checkpoints: written after a move, signed, and judged by who signed them."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from tests.promotion.factories import a_journal, a_version, promote, read_only

from promotion.audit.checkpoints import (
    FORGED,
    IDENTITY,
    UNKNOWN,
    UNSIGNED,
    VALID,
    Checkpoint,
    checkpoint_folder,
    judge_checkpoints,
    leave_checkpoint,
    read_checkpoints,
)
from promotion.config.settings import Settings
from promotion.errors import DataError
from promotion.signing.keys import Keys, public_pem, ssh_public_key
from promotion.signing.sshsig import CHECKPOINT


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys" / "signing-key.pem")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def _left(folder: Path, keys: Keys) -> list[str]:
    """Promote once, leave a checkpoint; what was said."""
    said: list[str] = []
    journal = a_journal(folder.parent)
    promote(journal, "churn", a_version())
    leave_checkpoint(journal, folder, lambda: keys, said.append)
    return said


def test_a_checkpoint_holds_the_end_of_the_chain_and_is_signed(folder: Path, keys: Keys) -> None:
    """Named after sequence and hash, readable back, valid by the key that made it."""
    assert [] == _left(folder, keys)

    (checkpoint,), problems = read_checkpoints(folder)
    (event,) = a_journal(folder.parent).history()
    assert [] == problems
    assert (1, event.hash) == (checkpoint.sequence, checkpoint.hash)
    assert [f"1-{event.hash[:12]}.json"] == [path.name for path in folder.iterdir()]
    assert [(checkpoint, VALID)] == judge_checkpoints([checkpoint], keys.trusted())


@pytest.mark.needs("ssh-keygen")
def test_ssh_keygen_alone_can_check_one(folder: Path, keys: Keys, tmp_path: Path) -> None:
    """An auditor needs the file, the public key and OpenSSH, nothing of this project."""
    _left(folder, keys)
    document = json.loads(next(folder.iterdir()).read_text())
    (tmp_path / "signature").write_text(document["signature"])
    (tmp_path / "signers").write_text(f"{IDENTITY} {ssh_public_key(keys.private_key)}\n")
    statement = json.dumps(document["statement"], sort_keys=True, separators=(",", ":"))
    command = ["ssh-keygen", "-Y", "verify", "-f", "signers", "-I", IDENTITY, "-n", CHECKPOINT, "-s", "signature"]

    done = subprocess.run(command, input=statement.encode(), cwd=tmp_path, check=False, capture_output=True)

    assert 0 == done.returncode, done.stderr


@pytest.mark.system
def test_signatures_are_told_apart(folder: Path, keys: Keys, tmp_path: Path) -> None:
    """Signed, unsigned, by a stranger, changed afterwards, and no signature at all."""
    _left(folder, keys)
    (good,), _ = read_checkpoints(folder)
    other = Keys(tmp_path / "other" / "signing-key.pem").signing_key()
    bad = [replace(good, signature=None), replace(good, sequence=9), replace(good, signature="nonsense")]

    assert [VALID, UNSIGNED, FORGED, UNKNOWN] == [
        standing for _, standing in judge_checkpoints([good, *bad], keys.trusted())
    ]
    assert [UNKNOWN] == [standing for _, standing in judge_checkpoints([good], {"other": public_pem(other)})]
    assert [UNKNOWN] == [standing for _, standing in judge_checkpoints([good], {})]


def test_without_a_usable_key_the_checkpoint_is_unsigned_and_loud(folder: Path, keys: Keys) -> None:
    """The promotion stands; one line says that its checkpoint is worth little."""
    keys.signing_key().chmod(0o644)

    (line,) = _left(folder, keys)

    assert "UNSIGNED checkpoint 1-" in line
    assert "is open to others" in line
    assert [None] == [checkpoint.signature for checkpoint in read_checkpoints(folder)[0]]


def test_a_bad_key_does_not_stop_a_promotion(folder: Path, tmp_path: Path) -> None:
    """A signing key that others can read is not used."""
    key = tmp_path / "open.pem"
    key.write_text("secret")
    key.chmod(0o644)

    (line,) = _left(folder, Keys(key, given=True))

    assert "UNSIGNED" in line
    assert "open to others" in line


def test_a_folder_that_cannot_be_written_does_not_stop_a_promotion(folder: Path, keys: Keys) -> None:
    """One line, and no half file."""
    folder.mkdir()
    with read_only(folder):
        (line,) = _left(folder, keys)

    assert "NO CHECKPOINT" in line
    assert [] == list(folder.iterdir())


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"signature": null, "statement": {"sequence": 1}}',
        '{"signature": null, "statement": []}',
        "\xff",
    ],
)
def test_a_broken_file_is_a_problem_and_the_others_are_read(folder: Path, keys: Keys, content: str) -> None:
    """Each unreadable file is one line that names it."""
    _left(folder, keys)
    (folder / "9-broken.json").write_bytes(content.encode("latin-1"))

    found, problems = read_checkpoints(folder)

    assert 1 == len(found)
    assert ["9-broken.json"] == [problem.split(":")[0] for problem in problems]


def test_wrong_types_are_no_checkpoint() -> None:
    """A sequence is a number, a hash is text."""
    statement = {"journal": "j", "sequence": "1", "hash": "h", "at": "now"}

    with pytest.raises(DataError, match="expected a number"):
        Checkpoint.parse({"signature": None, "statement": statement}, "file")


def test_no_folder_is_no_checkpoint(folder: Path) -> None:
    """A journal that was never promoted in has none."""
    assert ([], []) == read_checkpoints(folder)


def test_the_folder_is_the_homes_unless_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PROMOTION_CHECKPOINTS puts it where the pipeline archives."""
    monkeypatch.setenv("PROMOTION_HOME", str(tmp_path))
    monkeypatch.delenv("PROMOTION_CHECKPOINTS", raising=False)
    assert tmp_path / "checkpoints" == checkpoint_folder(Settings.from_environment())

    monkeypatch.setenv("PROMOTION_CHECKPOINTS", os.fspath(tmp_path / "elsewhere"))
    assert tmp_path / "elsewhere" == checkpoint_folder(Settings.from_environment())
