"""`scripts/keys.py` and `promotion keys`: what a person sees who makes or lists approvers' keys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from promotion.cli.main import main

PEOPLE = ("dana@company.com", "olaf@company.com")


def keys(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["keys", *arguments], prog_name="promotion")


def test_keys_are_made_and_listed(home: Path, tmp_path: Path) -> None:
    """One line a person with the private key's file, and what to commit; the list shows who may approve what."""
    made = keys("new-approver", *PEOPLE)
    listed = json.loads(keys("list", "--json").stdout)

    assert 0 == made.exit_code, made.output
    assert [str(tmp_path / "keys" / "approvers" / name) for name in PEOPLE] == [
        line.split()[-1] for line in made.stdout.splitlines()
    ]
    assert f"commit {home / 'config' / 'allowed_signers'}" in made.stderr
    assert list(PEOPLE) == [item["principals"] for item in listed["keys"]]
    assert all("alzheimer_classifier" in item["roles"] for item in listed["keys"])
    shown = keys("list")
    assert all(item["fingerprint"] in shown.stdout for item in listed["keys"])


def test_the_list_of_signers_may_be_elsewhere(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the pipeline's account may not write: PROMOTION_ALLOWED_SIGNERS."""
    elsewhere = tmp_path / "etc" / "signers"
    monkeypatch.setenv("PROMOTION_ALLOWED_SIGNERS", str(elsewhere))
    answer = json.loads(keys("new-approver", PEOPLE[0], "--json").stdout)

    assert str(elsewhere) == answer["signers"]
    assert PEOPLE[0] in elsewhere.read_text()
    assert not (home / "config" / "allowed_signers").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["new-approver"], "needs the approvers' addresses"),
        (["new-approver", *PEOPLE, "--key", "k"], "needs the approvers' addresses"),
        (["new-approver", "dana @company.com"], "a blank in the name"),
        (["list", *PEOPLE], "list takes no names"),
        (["new-approver", PEOPLE[0], "--public-key", "nowhere"], "not a public key"),
    ],
)
def test_usage_is_said_in_one_line(home: Path, arguments: list[str], said: str) -> None:
    """Exit 2, and nothing is written."""
    answer = keys(*arguments)

    assert 2 == answer.exit_code
    assert said in answer.stderr
    assert 1 == len(answer.stderr.splitlines())
    assert not (home / "config" / "allowed_signers").exists()


def test_a_broken_family_is_said_and_the_others_are_listed(home: Path) -> None:
    """Its approvers cannot be told."""
    (home / "config" / "broken.yaml").write_text("family: [")
    keys("new-approver", PEOPLE[0])
    answer = keys("list")

    assert 0 == answer.exit_code
    assert "its approvers are left out" in answer.stderr
    assert PEOPLE[0] in answer.stdout
