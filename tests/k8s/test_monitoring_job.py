"""What the CronJob runs, run: its script and environment, on exactly the files that its image holds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from tests.k8s.test_monitoring_manifests import DOCKERFILE, MONITORING, found, pod_of
from tests.promotion.factories import a_journal, a_version, promote
from tests.promotion.monitoring.logs import MODEL, Traffic, churn, write_export, write_labels, write_log

from promotion.config.settings import REPOSITORY
from promotion.delivery.deployments import Deployments
from promotion.delivery.records import DeploymentState, DeploymentTarget, Environment, Image

pytestmark = pytest.mark.system

INSTANCE = "churn"


@dataclass(frozen=True)
class Pod:
    """A pod's files: the image's, and its volumes'."""

    app: Path
    volume: Path
    settings: Path

    def environment(self) -> dict[str, str]:
        """The container's, with paths of this test in place of the mounts'."""
        job = found("CronJob")["monitor"]
        (container,) = pod_of(job)["containers"]
        values = {it["name"]: it["value"] for it in container["env"] if "value" in it}
        values |= next(it["data"] for name, it in found("ConfigMap").items() if "files" not in name)
        # PROMOTION_HOME is the image's own.
        values |= {"HOME": str(self.settings), "PROMOTION_HOME": str(self.app)}
        places = {
            "/var/log/predictions": self.volume / "predictions",
            "/var/lib/monitor/exports": self.volume / "exports",
            "/var/lib/monitor/labels": self.volume / "labels",
            "/var/lib/monitor/checkpoints": self.volume / "checkpoints",
            "/etc/monitor": self.settings,
        }
        for mount, place in places.items():
            values = {name: value.replace(mount, str(place)) for name, value in values.items()}
        # The Secret's, and nobody's Prometheus.
        values["PROMOTION_DATABASE_URL"] = f"sqlite:///{self.volume / 'promotion.db'}"
        values["MLFLOW_TRACKING_URI"] = f"sqlite:///{self.volume / 'mlflow.db'}"
        del values["PROMETHEUS_URL"]
        return values | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}

    def run(self) -> subprocess.CompletedProcess[str]:
        """One run, in the image's folder."""
        script = MONITORING / "monitor" / "look.sh"
        return subprocess.run(
            ["sh", script], cwd=self.app, env=self.environment(), capture_output=True, text=True, check=False
        )


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    """With a family of the test's own that was deployed, its log in the folders of two pods, and its statistics."""
    app, volume, settings = (tmp_path / name for name in ("app", "volume", "settings"))
    for source, target in re.findall(r"(?m)^COPY (?!--from)(\S+) /app/(\S+)$", DOCKERFILE.read_text()):
        path, place = REPOSITORY / source, app / target
        if path.is_dir():
            shutil.copytree(path, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
    document = churn().model_dump(mode="json", exclude_unset=True)
    (app / "config" / "churn.yaml").write_text(yaml.safe_dump(document))
    journal = a_journal(volume)
    promote(journal, "churn", a_version(MODEL, 2))
    entry = journal.entry(MODEL, 2)
    assert entry is not None
    image = Image("registry.example/churn:2", "churn", MODEL, 2, "1.2.0", "d" * 64, "", "f" * 64)
    target = DeploymentTarget("churn", Environment.PRODUCTION)
    deployments = Deployments(journal)
    begun = deployments.begin(target, image, entry, None, cluster="https://c", actor="anna")
    for state in (DeploymentState.CHECKING, DeploymentState.DEPLOYED):
        begun = deployments.advance(begun, state, actor="anna")
    write_export(volume / "exports" / INSTANCE / "churn-forest-v2")
    (volume / "exports" / INSTANCE / "churn-forest-v1").mkdir()
    (settings / "keys").mkdir(parents=True)
    (settings / "keys" / "signing-key.pem").write_text("key")
    (settings / "keys" / "signing-key.pem").chmod(0o440)
    return Pod(app, volume, settings)


def traffic(pod: Pod, accuracy: float = 0.9) -> None:
    """A day's log of two pods that served one version, and its labels."""
    now = datetime.now(UTC)
    parts = [Traffic(since=now - timedelta(hours=1), until=now, seed=seed, accuracy=accuracy) for seed in (1, 2)]
    for name, part in zip(("pod-1", "pod-2"), parts, strict=True):
        folder = pod.volume / "predictions" / INSTANCE / name
        folder.mkdir(parents=True)
        write_log(folder / "predictions.jsonl", [part])
    (pod.volume / "labels" / INSTANCE).mkdir(parents=True)
    write_labels(pod.volume / "labels" / INSTANCE / "labels.csv", parts)


def test_it_reads_both_pods_logs_labels_and_statistics(pod: Pod) -> None:
    """The page is written where the volume is mounted; a folder without statistics is passed over."""
    traffic(pod)
    done = pod.run()

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "2,000 rows" in done.stdout
    assert "heart-disease is not watched" in done.stderr
    assert "2,000 labelled" in done.stdout
    assert "accuracy 0.900" in done.stdout
    assert (pod.app / "reports" / "monitoring" / "churn.html").is_file()
    assert 0o600 == (pod.settings / "signing-key.pem").stat().st_mode & 0o777


def test_something_critical_is_told_and_no_failure_of_the_job(pod: Pod) -> None:
    """A monitor whose jobs fail would be called silent."""
    traffic(pod, accuracy=0.83)
    done = pod.run()

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "critical: accuracy 0.830" in done.stdout


def test_the_image_holds_what_taking_back_needs(pod: Pod) -> None:
    """Delivery, the registry and the manifests that a version which comes back is applied from."""
    program = (
        "import promotion.delivery.rollback, promotion.delivery.bootstrap, promotion.bootstrap\n"
        "import promotion.monitoring.automatic_rollback, promotion.config.settings\n"
        "print(promotion.config.settings.REPOSITORY)"
    )
    environment = pod.environment() | {"PYTHONPATH": str(pod.app / "src")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)

    assert f"{pod.app}\n" == done.stdout, done.stderr
    assert (pod.app / "k8s" / "overlays" / "production" / "kustomization.yaml").is_file()


def test_what_was_never_deployed_is_not_looked_at(pod: Pod) -> None:
    """Of the families in the image one was; a log that it does not leave fails the run, and no other family's."""
    done = pod.run()

    assert 1 == done.returncode, done.stderr
    assert "churn: " in done.stderr
    assert "predictions" in done.stderr
    assert "heart-disease is not watched: it was never deployed to Production's cluster" in done.stderr
