"""What the rules of a family are now: its file, the files that decide beside it, whose keys count, and the commit."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.promotion.factories import a_family, make_key

from promotion.config.commit import COMMITTED, MODIFIED, NO_GIT, NO_REPOSITORY, UNCOMMITTED, file_state
from promotion.config.family import FamilyConfig, load_config
from promotion.journal.records import RuleSet
from promotion.rules.changes import changes_between
from promotion.rules.rulebook import Rulebook

GOVERNED: dict[str, Any] = {"approvals": {"roles": ["devops"], "signed": True}}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder with the file of one family, `churn`."""
    for name in ("config", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "config" / "churn.yaml").write_text("family: churn\nregistered_model: churn\n", encoding="utf-8")
    return tmp_path


def read(home: Path, config: FamilyConfig | None = None) -> RuleSet:
    """The rules as they are now."""
    config = config or load_config(home / "config", "churn")
    return Rulebook(home, home / "config" / "allowed_signers").of(config.family, config)


def git(folder: Path, *arguments: str) -> None:
    """Run git as somebody."""
    who = ["-c", "user.name=anna", "-c", "user.email=anna@example.com"]
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


def test_the_rows_are_a_rule(home: Path) -> None:
    """Other rows in the same file make other rules, and rows that are not here are said to be not here."""
    family = a_family()
    away = read(home, family)
    (home / "data" / "tiny.csv").write_text("x,y\n1,0\n")
    before = read(home, family)
    (home / "data" / "tiny.csv").write_text("x,y\n1,1\n")
    after = read(home, family)

    assert 3 == len({rules.digest for rules in (away, before, after)})
    assert {"data/tiny.csv": None} == away.sections["files"]
    assert ["files.data/tiny.csv"] == [change.key for change in changes_between(before.sections, after.sections)]


@pytest.mark.parametrize(
    ("command", "file"),
    [
        (["./checks/fair"], "checks/fair"),
        (["checks/fair"], "checks/fair"),
        (["sh", "checks/fair.sh"], "checks/fair.sh"),
        (["python3", "-m", "checks.fair"], "checks/fair.py"),
        (["python3", "-m", "checks"], "checks/__main__.py"),
        (["fair", "--bounds=checks/bounds"], "checks/bounds"),
    ],
)
def test_the_files_of_a_gate_of_ones_own_are_rules(home: Path, command: list[str], file: str) -> None:
    """However the command names them; one that another answer is put into for a minute makes other rules."""
    family = a_family(gates={"custom": [{"name": "fair", "command": command}]})
    path = home / file
    path.parent.mkdir()
    path.write_text("strict")
    before = read(home, family)
    path.write_text("says yes")

    (change,) = changes_between(before.sections, read(home, family).sections)
    assert change.key.endswith(file)


def test_the_keys_that_count_are_a_rule_where_approvals_must_be_signed(home: Path) -> None:
    """A key that was added loosens them, whatever is written behind it; one that was revoked tightens them."""
    signers = home / "config" / "allowed_signers"
    keys = {name: make_key(home, name).with_suffix(".pub").read_text().split() for name in ("anna", "mallory")}
    lines = {name: f"{name} {' '.join(key[:2])}" for name, key in keys.items()}
    signers.write_text(lines["anna"] + " of the red notebook\n")
    before = read(home, a_family(**GOVERNED))
    signers.write_text(lines["anna"] + "\n")
    assert before.digest == read(home, a_family(**GOVERNED)).digest
    assert "signers" not in read(home, a_family()).sections

    signers.write_text("\n".join(lines.values()))
    (added,) = changes_between(before.sections, read(home, a_family(**GOVERNED)).sections)
    assert ("signers + mallory SHA256:", True) == (str(added)[:25], added.is_looser)

    signers.with_name("allowed_signers.revoked").write_text(" ".join(keys["anna"][:2]))
    revoked = changes_between(before.sections, read(home, a_family(**GOVERNED)).sections)
    assert [("revoked", "tighter"), ("signers", "looser")] == [(it.key, it.direction) for it in revoked]


def test_without_a_file_only_the_name_is_left(home: Path) -> None:
    """Nothing decides then."""
    rules = Rulebook(home, home / "config" / "allowed_signers").of("churn", None)

    assert ({"family": "churn"}, "") == (rules.sections, rules.source["file"])


def test_neither_commit_nor_software_makes_other_rules(home: Path) -> None:
    """They stand beside the digest."""
    before = read(home)
    git(home, "init")
    git(home, "add", ".")
    git(home, "commit", "--message", "rules")
    after = read(home)

    assert before.digest == after.digest
    assert (NO_REPOSITORY, None) == (before.source["state"], before.as_json()["commit"])
    assert (COMMITTED, "config/churn.yaml", False) == (
        after.source["state"],
        after.source["file"],
        after.source["dirty"],
    )
    assert 40 == len(after.as_json()["commit"])


def test_a_file_is_compared_with_the_commit_itself(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told to git as unchanged, put back before anybody looks, or looked for in another repository: it is modified."""
    git(home, "init")
    assert UNCOMMITTED == read(home).source["state"]
    git(home, "add", "config")
    git(home, "commit", "--message", "rules")
    path = home / "config" / "churn.yaml"
    strict = path.read_text()
    path.write_text(strict + "promotion: manual\n")
    git(home, "update-index", "--assume-unchanged", "config/churn.yaml")
    assert (MODIFIED, True) == (read(home).source["state"], read(home).source["dirty"])

    loaded = load_config(home / "config", "churn")
    path.write_text(strict)
    assert (COMMITTED, MODIFIED) == (read(home).source["state"], read(home, loaded).source["state"])

    shutil.copytree(home / ".git", home / "other.git")
    git(home, "rm", "--cached", "config/churn.yaml")
    git(home, "commit", "--message", "no rules")
    monkeypatch.setenv("GIT_DIR", str(home / "other.git"))
    assert UNCOMMITTED == read(home).source["state"]


def test_where_git_cannot_answer_that_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the program, or where it refuses."""
    git(home, "init")
    (home / ".git" / "config").write_text("[core\n")
    assert "unknown: fatal: bad config line 1" in read(home).source["state"]

    monkeypatch.setenv("PATH", str(home))
    assert (NO_GIT, None, None) == tuple(read(home).as_json()[name] for name in ("state", "commit", "dirty"))


def test_a_link_stands_for_what_it_leads_to(home: Path, tmp_path: Path) -> None:
    """The file that was read decides, not the repository its name lies in."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = home / "config" / "churn.yaml"
    git(home, "init")
    path.rename(elsewhere / "churn.yaml")
    path.symlink_to(elsewhere / "churn.yaml")
    git(home, "add", "config")
    git(home, "commit", "--message", "a link")

    assert UNCOMMITTED == file_state(path, "a" * 64).state


def test_the_example_families_decide_by_what_they_say() -> None:
    """Nothing of their words is a rule, and what they ask for is."""
    stated = yaml.safe_dump(read_example("alzheimer_classifier"))

    assert not [word for word in ("description", "PAGERDUTY_URL", "runbooks", "n_estimators") if word in stated]
    assert [] == [word for word in ("roc_auc", "security", "de68e7d09a95") if word not in stated]


def read_example(family: str) -> dict[str, object]:
    """The deciding sections of a family in this repository."""
    from promotion.config.settings import REPOSITORY
    from promotion.rules.rulebook import deciding_sections

    return deciding_sections(load_config(REPOSITORY / "config", family))


def test_a_holdout_and_the_owners_commands_are_rules(tmp_path: Path) -> None:
    """Their files have digests, and who takes a group or a command away asks for less."""
    (tmp_path / "config").mkdir()
    (tmp_path / "holdout.csv").write_text("x,y\n1,1\n")
    (tmp_path / "profit.py").write_text("print()")
    held = {"holdout": {"path": "holdout.csv", "target": "y"}, "task": "regression", "artifacts": {"code": "sandbox"}}
    gates = {
        "slices": [{"column": "x", "metric": "mae", "maximum": 3.0}],
        "custom": [{"name": "profit", "command": ["python", "profit.py"]}],
    }
    document = {"family": "churn", "registered_model": "churn", **held}
    book = Rulebook(tmp_path, tmp_path / "config" / "allowed_signers")
    strict = book.of("churn", FamilyConfig.model_validate({**document, "gates": gates})).sections
    loose = book.of("churn", FamilyConfig.model_validate(document)).sections
    assert {"holdout.csv", "profit.py"} == set(strict["files"])
    assert all(strict["files"].values())
    changed = {change.key: str(change.direction) for change in changes_between(strict, loose)}
    assert ("looser", "looser") == (changed["gates.slices"], changed["gates.custom"])
    refusing = FamilyConfig.model_validate({**document, "artifacts": {"code": "refuse"}})
    (change,) = changes_between(book.of("churn", refusing).sections, loose)
    assert ("artifacts.code", "looser") == (change.key, str(change.direction))
