"""One trained, promoted, exported and built model for all tests of the image, by the commands a person would call."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from promotion.config.settings import REPOSITORY

FAMILY = "heart-disease"
Command = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Built:
    """A home, and what `build-image.py --json` said of the image built from it."""

    home: Path
    document: dict[str, Any]

    @property
    def reference(self) -> str:
        """The image's name."""
        return str(self.document["image"])

    @property
    def export(self) -> Path:
        """The folder it was built from."""
        return self.home / "build" / "export" / FAMILY

    def call(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Call a command file on this home."""
        return call(self.home, script, *arguments)


def call(home: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PROMOTION_HOME": str(home),
        "PROMOTION_KEYS": str(home / "keys"),
        "PROMOTION_ACTOR": "anna",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    return subprocess.run(
        [sys.executable, str(REPOSITORY / script), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def docker(*arguments: str) -> str:
    return subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, check=True, timeout=120
    ).stdout.strip()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """From raw rows to an image; one candidate and two folds are enough for that."""
    home = tmp_path_factory.mktemp("image")
    for name in ("config", "data"):
        shutil.copytree(REPOSITORY / name, home / name)
    path = home / "config" / f"{FAMILY}.yaml"
    config = yaml.safe_load(path.read_text())
    config["candidates"] = {"random_forest": {"params": {"n_estimators": 20}}}
    config["cross_validation"] = {"folds": 2, "repeats": 1}
    path.write_text(yaml.safe_dump(config))
    last = ""
    for script, *arguments in (
        ("src/models/train.py",),
        ("scripts/promote-model.py", "--auto"),
        ("scripts/export-model.py",),
        ("scripts/build-image.py", "--json"),
    ):
        done = call(home, script, "--model", FAMILY, *arguments)
        assert 0 == done.returncode, f"{script}: {done.stdout}{done.stderr}"
        last = done.stdout
    return Built(home, json.loads(last))
