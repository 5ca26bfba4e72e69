"""The monitor's image, built and run as the cluster runs it: another user, nothing writable but mounts, no rights."""

from __future__ import annotations

import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.k8s.test_monitoring_job import Pod, pod, traffic
from tests.k8s.test_monitoring_manifests import DOCKERFILE, MONITORING
from tests.programs import needed

from promotion.config.settings import REPOSITORY

__all__ = ["pod"]

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

RESTRICTED = ("--read-only", "--user=10001:10001", "--cap-drop=ALL", "--security-opt=no-new-privileges")
MOUNTS = {
    "/app/config": "app/config",
    "/app/reports": "volume/reports",
    "/var/log/predictions": "volume/predictions",
    "/var/lib/monitor/exports": "volume/exports",
    "/var/lib/monitor/labels": "volume/labels",
    "/var/lib/monitor/stores": "volume/stores",
    "/etc/monitor/files": "files",
    "/etc/monitor/keys": "settings/keys",
}


def docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Built from no more than the ignore file lets through; kubectl comes from this machine, as from a mirror."""
    context, kubectl = tmp_path_factory.mktemp("context"), tmp_path_factory.mktemp("kubectl")
    shutil.copy(needed("kubectl"), kubectl / "kubectl")
    (kubectl / "Dockerfile").write_text("FROM scratch\nCOPY kubectl /bin/kubectl\n")
    for name in re.findall(r"(?m)^!(.+)$", DOCKERFILE.with_suffix(".monitor.dockerignore").read_text()):
        source, target = REPOSITORY / name, context / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    shutil.copy(DOCKERFILE, context)
    tag = uuid.uuid4().hex[:12]
    names = f"kubectl-of-this-machine:{tag}", f"model-monitor:{tag}"
    command = ["--network=host", f"--build-arg=KUBECTL={names[0]}", f"--file={context / DOCKERFILE.name}"]
    for built in (
        docker("build", f"--tag={names[0]}", str(kubectl)),
        docker("build", f"--tag={names[1]}", *command, str(context)),
    ):
        assert 0 == built.returncode, (built.stdout + built.stderr)[-3000:]
    yield names[1]
    docker("image", "rm", "--force", *names)


def run(image: str, *command: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return docker(
        "run",
        "--rm",
        "--network=none",
        "--tmpfs=/tmp",
        *RESTRICTED,
        *options,
        f"--entrypoint={command[0]}",
        image,
        *command[1:],
    )


def test_it_looks_once_as_the_cluster_lets_it(image: str, pod: Pod, tmp_path: Path) -> None:
    """Reads log, labels and statistics, writes journal and page, and ends well."""
    traffic(pod)
    shutil.copytree(MONITORING / "monitor", tmp_path / "files")
    for place in ("reports", "stores"):
        (pod.volume / place).mkdir()
    shutil.copy(pod.volume / "promotion.db", pod.volume / "stores")
    subprocess.run(["chmod", "--recursive", "a+rwX", tmp_path], check=True)
    variables = {"KEYS": "/etc/monitor/keys", "EXPORTS": "/var/lib/monitor/exports"}
    variables |= {"LABELS": "/var/lib/monitor/labels", "PREDICTION_LOG_SOURCE": "/var/log/predictions/{instance}"}
    variables |= {"PROMOTION_DATABASE_URL": "sqlite:////var/lib/monitor/stores/promotion.db"}
    variables |= {"MLFLOW_TRACKING_URI": "sqlite:////var/lib/monitor/stores/mlflow.db", "PROMOTION_ACTOR": "monitor"}
    options = [f"--volume={tmp_path / place}:{mount}" for mount, place in MOUNTS.items()]
    options += [f"--env={name}={value}" for name, value in variables.items()]
    done = run(image, "sh", "/etc/monitor/files/look.sh", options=(*options, "--memory=1536m"))

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "2,000 labelled" in done.stdout
    assert (pod.volume / "reports" / "monitoring" / "churn.html").is_file()


def test_it_has_the_programs_that_a_way_back_calls(image: str) -> None:
    """Kubectl, the diff it compares with, and what signs checkpoints; no pip, and nothing to become root with."""
    programs = run(image, "sh", "-c", "which kubectl diff ssh-keygen find install; which pip sudo")
    imports = run(
        image, "python", "-c", "import sys; sys.path[0] = 'src'; import promotion.delivery.rollback, apprise, s3fs"
    )
    """Kubectl and the diff it compares with; no pip, and nothing to become root with."""
    programs = run(image, "sh", "-c", "which kubectl diff find install; which pip sudo")
    imports = run(
        image, "python", "-c", "import sys; sys.path[0] = 'src'; import promotion.delivery.rollback, apprise, s3fs"
    )

    assert ["kubectl", "diff", "find", "install"] == [Path(it).name for it in programs.stdout.split()]
    assert (0, "") == (imports.returncode, imports.stderr)
