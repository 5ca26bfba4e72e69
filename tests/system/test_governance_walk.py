"""The walk of docs/GOVERNANCE.md, as it is printed, on a fresh clone: from training to four signatures and back."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from promotion.config.settings import REPOSITORY
from promotion.journal.database import Database
from promotion.journal.journal import Journal
from promotion.journal.reviews import Reviews
from promotion.registry.stages import Stage

FAMILY = "alzheimer_classifier"
SHIM = '#!/bin/sh\nPYTHONPATH={src} exec "{python}" -c "from promotion.cli.main import main; main()" "$@"\n'
TRAP = "trap 'echo \"@@ $? $BASH_COMMAND\"' ERR\n"
EASIER = {
    "  latency_p95_ms: 100\n": "",
    "  peak_memory_mb: 1000\n": "",
    "  cpu: {share: 0.8, requests_per_second: 10, cores: 1}\n": "",
    "n_estimators: 100,": "n_estimators: 15,",
    "folds: 5, repeats: 2": "folds: 3, repeats: 1",
}

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `git clone` and `make setup` leave, with this interpreter's packages.

    What a row costs is not asked, and the forests are small: measuring it is half the time of each of fifteen commands,
    and neither that nor how long a training takes is what the walk is about.
    """
    folder = tmp_path_factory.mktemp("fresh") / "clone"
    for name in ("config", "data", "docs", "mlops", "scripts", "src"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(REPOSITORY / "pyproject.toml", folder)
    family = folder / "config" / f"{FAMILY}.yaml"
    text = family.read_text(encoding="utf-8")
    for shipped, here in EASIER.items():
        assert shipped in text
        text = text.replace(shipped, here)
    family.write_text(text, encoding="utf-8")
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    command = folder / ".venv" / "bin" / "promotion"
    command.parent.mkdir(parents=True)
    command.write_text(SHIM.format(src=folder / "src", python=sys.executable), encoding="utf-8")
    command.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def walked(clone: Path) -> subprocess.CompletedProcess[str]:
    """Every block of the section, in one shell; a line that begins with @@ is a command that did not end with 0."""
    section = (clone / "docs" / "GOVERNANCE.md").read_text(encoding="utf-8").split("## The walk\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```bash\n(.*?)```", section, flags=re.DOTALL)
    home = clone.parent / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PROMOTION_", "XDG_"))}
    return subprocess.run(
        ["bash", "-c", TRAP + "\n".join(blocks)],
        cwd=clone,
        env=environment
        | {
            "HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
            "PROMOTION_ACTOR": "tess@company.com",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_walk_is_refused_once_and_ends_where_it_began(
    walked: subprocess.CompletedProcess[str], clone: Path
) -> None:
    """The first check ends with 3, everything else with 0; 1.1.0 serves again after 1.2.0 did."""
    refused = [line for line in walked.stdout.splitlines() if line.startswith("@@")]

    assert ["@@ 3 python mlops/registry/check_promotion.py --model-name"] == [
        " ".join(line.split()[:5]) for line in refused
    ], walked.stdout + walked.stderr
    entered = [event for event in reversed(journal(clone).history(FAMILY)) if event.is_move]
    moves = [(event.version, event.action) for event in entered if event.to_stage is Stage.PRODUCTION]
    assert [("1.1.0", "promote"), ("1.2.0", "promote"), ("1.1.0", "rollback")] == moves
    promoted = [event for event in entered if event.action == "promote" and event.to_stage is Stage.PRODUCTION]
    assert {"john.doe@company.com"} == {event.details.get("approver") for event in promoted}


def test_every_move_into_production_is_attested(walked: subprocess.CompletedProcess[str], clone: Path) -> None:
    """With the approvals it rested on, each with its signature; the way back rests on the same words."""
    paths = sorted((clone / "checkpoints").glob("*.intoto.jsonl"))
    statements = [json.loads(base64.b64decode(json.loads(path.read_text())["payload"])) for path in paths]
    said = {(it["predicate"]["version"], it["predicate"]["action"]): it["predicate"]["approvals"] for it in statements}

    assert {("1.1.0", "promote"), ("1.2.0", "promote"), ("1.1.0", "rollback")} == set(said)
    assert {4} == {len(words) for words in said.values()}
    assert all(word["signature"].startswith("-----BEGIN SSH SIGNATURE") for words in said.values() for word in words)


def test_every_approval_carries_its_persons_signature(walked: subprocess.CompletedProcess[str], clone: Path) -> None:
    """Four a version; the list of what is missing ends empty, and no private key lies in the clone."""
    found = journal(clone)
    entries = [entry for entry in found.entries(FAMILY) if entry.version in {"1.1.0", "1.2.0"}]

    assert [4, 4] == [len(Reviews(found).approvals(entry)) for entry in entries]
    assert all(item.signature for entry in entries for item in Reviews(found).approvals(entry))
    assert "Approvals of alzheimer_classifier v1 (1.1.0): 4 of 4" in walked.stdout
    listed = (clone / "config" / "allowed_signers").read_text(encoding="utf-8")
    assert [f"{name}@company.com" for name in ("dana", "olaf", "berta", "sam")] == re.findall(
        r"^\S+", listed, flags=re.MULTILINE
    )
    assert [] == [path for path in clone.rglob("*@company.com*") if path.is_file()]


def test_each_way_into_production_ends_with_its_checklist(
    walked: subprocess.CompletedProcess[str], clone: Path
) -> None:
    """What is done, and what is left to people."""
    kept = [event.version for event in journal(clone).history(FAMILY) if event.action == "checklist"]

    assert ["1.1.0", "1.2.0", "1.1.0"] == kept


def journal(clone: Path) -> Journal:
    return Journal(Database(f"sqlite:///{clone / 'promotion.db'}"))
