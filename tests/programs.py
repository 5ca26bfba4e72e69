"""Programs that some tests need: found, or the test is skipped and says which package brings them.

A test says `@pytest.mark.needs("chromium")`; a fixture or a helper of several tests calls `needed("chromium")`. With
the environment variable CI set, a missing program is a failure: there nothing may stay untested unnoticed.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

INSTALL = {
    "amtool": "apt-get install prometheus-alertmanager",
    "bwrap": "apt-get install bubblewrap",
    "check_jsonschema": "pip install '.[dev]'",
    "chromium": "apt-get install chromium",
    "curl": "apt-get install curl",
    "flask_wtf": "pip install 'mlflow[auth]'",
    "groovy": "apt-get install groovy default-jre-headless",
    "initdb": "apt-get install postgresql",
    "java": "apt-get install default-jre-headless",
    "kubectl": "apt-get install kubernetes-client",
    "prometheus-alertmanager": "apt-get install prometheus-alertmanager",
    "prometheus": "apt-get install prometheus",
    "promtool": "apt-get install prometheus",
    "onnxmltools": "pip install '.[export]'",
    "pyspark": "pip install '.[spark]'",
    "ssh-agent": "apt-get install openssh-client",
    "ssh-keygen": "apt-get install openssh-client",
    "wrk": "apt-get install wrk",
}
"""How each comes to a Debian machine."""

_JAVA_17 = Path("/usr/lib/jvm/java-17-openjdk-amd64")
_OTHER_NAMES = {"chromium": ("chromium-browser", "google-chrome")}
_REASON = re.compile(r"needs (\S+): (.+)")


def find(name: str) -> str | None:
    """Where a program is."""
    if name in {"check_jsonschema", "flask_wtf", "onnxmltools", "pyspark"}:
        spec = importlib.util.find_spec(name)
        return spec.origin if spec else None
    if name == "initdb":  # not on the PATH of Debian
        versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
        newest = max(versions, key=lambda path: int(path.parts[-3]), default=None)
        return str(newest) if newest else shutil.which(name)
    if name == "java" and _JAVA_17.exists():
        return str(_JAVA_17 / "bin" / "java")
    return next(filter(None, map(shutil.which, (name, *_OTHER_NAMES.get(name, ())))), None)


def needed(name: str) -> str:
    """Where a program is; without it the test ends here."""
    install = INSTALL[name]
    if found := find(name):
        return found
    reason = f"needs {name}: {install}"
    if os.environ.get("CI"):
        pytest.fail(f"{reason} (CI is set, so nothing may be skipped for a missing program)", pytrace=False)
    pytest.skip(reason)


def java_home() -> dict[str, str]:
    """The Java that Debian 12's groovy, and Spark, run with, where several are installed."""
    return {"JAVA_HOME": str(_JAVA_17)} if _JAVA_17.exists() else {}


def untested(reasons: Iterable[str]) -> list[str]:
    """What a run left out, a line for each program, from the reasons of its skipped tests."""
    counts = Counter(match.groups() if (match := _REASON.search(reason)) else (reason, "") for reason in reasons)
    return [
        f"{count} not run for want of {name}: {install}" if install else f"{count} not run: {name}"
        for (name, install), count in sorted(counts.items())
    ]
