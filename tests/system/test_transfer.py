"""`promotion transfer` between two real servers of different MLflow versions, killed and cut off on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.system.faulty_proxy import Proxy, in_front_of
from tests.system.old_servers import LOWEST, OLD, old_python
from tests.system.representer_servers import Server, environment, serve

from promotion.config.settings import REPOSITORY

pytestmark = [pytest.mark.system, pytest.mark.peers, pytest.mark.timeout(600)]

SCRIPT = REPOSITORY / "scripts" / "transfer-model.py"
TOKEN = "t4rget"  # noqa: S105  # of a server on loopback
TRAINING = """
import mlflow, sys
with mlflow.start_run() as run:
    mlflow.log_param("depth", "7")
    for step in range(5):
        mlflow.log_metric("auc", 0.8 + step / 100, step=step)
    for number in range(20):
        mlflow.log_text(f"part {number}" * 1000, f"model/parts/{number}.txt")
    mlflow.log_text("flavors: {}", "model/MLmodel")
    mlflow.log_text("# churn", "model/MODEL_CARD.md")
client = mlflow.MlflowClient()
client.create_registered_model("churn")
client.create_model_version("churn", f"{run.info.artifact_uri}/model", run.info.run_id)
"""


@dataclass(frozen=True)
class Servers:
    """A version on an old server, and a new server behind a proxy that asks for a token."""

    source: Server
    target: Server
    proxy: Proxy
    home: Path
    files: Path

    def command(self, *arguments: str) -> subprocess.Popen[str]:
        """`promotion transfer churn 1 --to …` in a process of its own."""
        return subprocess.Popen(
            [sys.executable, SCRIPT, "churn", "1", "--to", self.proxy.url, *arguments],
            env=environment(
                PROMOTION_HOME=self.home,
                PROMOTION_KEYS=self.home / "keys",
                MLFLOW_TRACKING_URI=self.source.url,
                MLFLOW_HTTP_REQUEST_MAX_RETRIES="0",
                TARGET_MLFLOW_TRACKING_TOKEN=TOKEN,
            ),
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """The same, to its end: exit code, output, talk."""
        process = self.command(*arguments)
        out, talk = process.communicate(timeout=120)
        return process.returncode, out, talk


@pytest.fixture(scope="module", params=[OLD, LOWEST])
def servers(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Servers]:
    """An old MLflow with one version of churn, and ours with nothing."""
    old = old_python(request.param)
    home, here, there = (tmp_path_factory.mktemp(name) for name in ("home", "here", "there"))
    (home / "config").mkdir()
    path = f"{old.parent}{os.pathsep}/usr/bin{os.pathsep}/bin"
    with (
        serve(old, f"sqlite:///{here / 'mlflow.db'}", here, PATH=path) as source,
        serve(Path(sys.executable), f"sqlite:///{there / 'mlflow.db'}", there) as target,
        in_front_of(target.url, TOKEN) as proxy,
    ):
        trained = subprocess.run(
            [old, "-c", TRAINING],
            env=environment(MLFLOW_TRACKING_URI=source.url, PATH=path, GIT_PYTHON_REFRESH="quiet"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert 0 == trained.returncode, trained.stderr
        yield Servers(source, target, proxy, home, there / "mlartifacts")


def _there(servers: Servers) -> list[dict[str, Any]]:
    """The versions at the target."""
    found: list[dict[str, Any]] = _get(servers.target, "model-versions/search").get("model_versions", [])
    return found


def _get(server: Server, endpoint: str, **query: Any) -> Any:
    return requests.get(f"{server.url}/api/2.0/mlflow/{endpoint}", params=query, timeout=20).json()


def test_whatever_happens_on_the_way_the_version_arrives_whole_or_not_at_all(servers: Servers) -> None:
    """Refused, killed while each step is under way, cut off, full, damaged; and the same command ends it."""
    proxy = servers.proxy
    proxy.meet("403", r"^(POST|PATCH|PUT|DELETE) ")
    code, _, talk = servers.run()
    assert (1, True) == (code, "403" in talk), talk
    assert [] == [line for line in proxy.seen if "runs/create" in line or line.startswith("PUT")], "found out first"

    for step in ("runs/log-batch", r"^PUT .*/parts/7\.txt", "model-versions/create"):
        proxy.meet("hang", step)
        process = servers.command()
        assert proxy.hit.wait(90), f"{step}: {process.communicate(timeout=5)}"
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert [] == _there(servers), step
    proxy.meet("507", r"^GET .*MODEL_CARD")
    code, _, talk = servers.run()
    assert (1, [], False) == (code, _there(servers), "unexpected" in talk), talk
    proxy.meet("damage", r"^PUT .*")
    # Of what arrived whole before nothing is sent again, so somebody has to take a file away there.
    (file,) = servers.files.rglob("MODEL_CARD.md")
    file.unlink()
    code, _, talk = servers.run()
    assert (0, True) == (code, "1 files arrived with other bytes" in talk), talk

    (version,) = _there(servers)
    tags = {tag["key"]: tag["value"] for tag in version["tags"]}
    assert (servers.source.url, "churn", "1") == tuple(
        tags[f"promotion.origin.{it}"] for it in ("server", "model", "version")
    )
    history = _get(servers.target, "metrics/get-history", run_id=version["run_id"], metric_key="auc")["metrics"]
    assert [0, 1, 2, 3, 4] == sorted(int(item["step"]) for item in history)
    runs = requests.post(f"{servers.target.url}/api/2.0/mlflow/runs/search", json={"experiment_ids": ["0"]}, timeout=20)
    assert 1 == len(runs.json()["runs"]), "one run, however often it began"
    code, out, talk = servers.run("--verify", "--json")
    assert 0 == code, talk
    assert tags["promotion.origin.digest"] == json.loads(out)["digest"]
    code, out, talk = servers.run("--json")
    assert (5, 1) == (code, json.loads(out)["target"]["number"]), talk
