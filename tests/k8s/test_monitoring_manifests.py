"""What is in k8s/monitoring is valid, fits the servers it watches, and may do no more than it has to."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from tests.k8s.queries import dashboard
from tests.programs import needed
from tests.promotion.delivery.test_manifests import IMAGE, VERSIONS

from promotion.config.policy import Monitoring
from promotion.config.settings import REPOSITORY
from promotion.delivery.kubernetes.manifests import render_manifests
from promotion.delivery.records import DeploymentTarget, Environment, Track

K8S = REPOSITORY / "k8s"
MONITORING = K8S / "monitoring"
FOLDERS = (".", "alertmanager", "grafana")
HADOLINT = Path(sys.executable).with_name("hadolint")
DOCKERFILE = REPOSITORY / "Dockerfile.monitor"
ACCESS = "ReadWriteMany"

Document = dict[str, Any]


@cache
def built(folder: str) -> tuple[Document, ...]:
    """A folder of k8s/monitoring as kubectl builds it."""
    done = subprocess.run(
        [needed("kubectl"), "kustomize", str(MONITORING / folder)], capture_output=True, text=True, check=True
    )
    assert "" == done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def found(kind: str, folder: str = ".") -> dict[str, Document]:
    """Its objects of a kind, by name."""
    return {it["metadata"]["name"]: it for it in built(folder) if it["kind"] == kind}


def pod_of(job: Document) -> Document:
    """The pod of a CronJob."""
    spec: Document = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return spec


def rights(role: Document) -> set[tuple[str, str]]:
    """Kind and verb of everything a Role allows."""
    return {(kind, verb) for rule in role["rules"] for kind in rule["resources"] for verb in rule["verbs"]}


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> dict[Track, Document]:
    """Deployments of Production as deploy-model.py makes them once the overlay names the component."""
    needed("kubectl")
    folder = Path(shutil.copytree(K8S, tmp_path_factory.mktemp("copy") / "k8s"))
    overlay = folder / "overlays" / "production" / "kustomization.yaml"
    overlay.write_text(overlay.read_text() + "components:\n  - ../../components/monitored\n")
    target = [DeploymentTarget("heart_disease", Environment.PRODUCTION, track) for track in Track]
    documents = {it.track: yaml.safe_load_all(render_manifests(folder, it, IMAGE, "0" * 32)) for it in target}
    return {track: next(it for it in rendered if it["kind"] == "Deployment") for track, rendered in documents.items()}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.system
def test_every_object_is_valid_for_the_supported_versions(version: str, monitored: dict[Track, Document]) -> None:
    """Strictly: an unknown field, or a kind without a schema, fails."""
    documents = [document for folder in FOLDERS for document in built(folder)]

    assert {version} == {
        kubernetes_validate.validate(document, version, strict=True) for document in [*documents, *monitored.values()]
    }


@pytest.mark.system
def test_the_operators_kinds_are_apart_and_fit_the_servers() -> None:
    """A cluster without the operator takes the rest; the selector finds the Services; port and labels are theirs."""
    kinds = {document["kind"] for folder in FOLDERS for document in built(folder)}
    (monitor,) = found("ServiceMonitor", "operator").values()
    documents = list(
        yaml.safe_load_all(
            render_manifests(K8S, DeploymentTarget("heart_disease", Environment.PRODUCTION), IMAGE, "0" * 32)
        )
    )
    service, deployment = (next(it for it in documents if it["kind"] == kind) for kind in ("Service", "Deployment"))
    spec, (endpoint,) = monitor["spec"], monitor["spec"]["endpoints"]

    assert {"ServiceMonitor", "PrometheusRule"} == {it["kind"] for it in built("operator")}
    assert {"monitoring.coreos.com/v1"} == {it["apiVersion"] for it in built("operator")}
    assert set() == {"ServiceMonitor", "PrometheusRule"} & kinds
    assert {"namespaceSelector", "selector", "jobLabel", "podTargetLabels", "endpoints", "sampleLimit"} == set(spec)
    assert spec["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert [Environment.PRODUCTION.namespace] == spec["namespaceSelector"]["matchNames"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert set(spec["podTargetLabels"]) <= set(deployment["spec"]["template"]["metadata"]["labels"])
    assert "model-server" == service["metadata"]["labels"][spec["jobLabel"]]


def test_one_job_looks_where_the_servers_of_every_family_write(monitored: dict[Track, Document]) -> None:
    """Log and statistics are those of a server's volume, by the name of its Service; nothing names a family."""
    instance = DeploymentTarget("heart_disease", Environment.PRODUCTION).instance
    assert {"monitor", "prediction-log-retention"} == set(found("CronJob"))
    (container,) = pod_of(found("CronJob")["monitor"])["containers"]
    environment = {it["name"]: it.get("value") for it in container["env"]}
    settings = next(it["data"] for name, it in found("ConfigMap").items() if "files" not in name)
    mounts = {it["mountPath"]: it.get("subPath") for it in container["volumeMounts"]}
    (server,) = monitored[Track.STABLE]["spec"]["template"]["spec"]["containers"]
    written = {it["mountPath"]: it.get("subPathExpr", "") for it in server["volumeMounts"]}
    script = (MONITORING / "monitor" / "look.sh").read_text(encoding="utf-8")

    assert "/var/log/predictions/{instance}" == settings["PREDICTION_LOG_SOURCE"]
    assert ("predictions", "exports", "labels") == tuple(
        mounts[place] for place in ("/var/log/predictions", environment["EXPORTS"], environment["LABELS"])
    )
    assert "predictions/$(INSTANCE)/$(POD_NAME)" == written["/var/log/predictions"]
    assert "exports/$(INSTANCE)/$(MODEL)-v$(VERSION)" == written["/exports"]
    assert '--all --deployed --once --export "$EXPORTS/{instance}/*"' in script
    assert instance not in script + str(built("."))


def test_references_name_what_is_applied_or_documented() -> None:
    """Settings, claim and account exist; what an administrator makes is in the document."""
    text = (REPOSITORY / "docs" / "MONITORING-KUBERNETES.md").read_text(encoding="utf-8")
    for job in found("CronJob").values():
        pod = pod_of(job)
        (container,) = pod["containers"]
        sources = container.get("envFrom", [])
        settings = {it["configMapRef"]["name"] for it in sources if "configMapRef" in it}
        secrets = {it["secretRef"]["name"] for it in sources if "secretRef" in it}
        for volume in pod["volumes"]:
            settings |= {volume["configMap"]["name"]} if "configMap" in volume else set()
            secrets |= {volume["secret"]["secretName"]} if "secret" in volume else set()
            if claim := volume.get("persistentVolumeClaim"):
                assert [ACCESS] == found("PersistentVolumeClaim")[claim["claimName"]]["spec"]["accessModes"]
        missing = (settings - set(found("ConfigMap"))) | secrets
        assert all(f" {name}" in text for name in missing), missing
        assert pod.get("serviceAccountName", "model-monitor") in found("ServiceAccount")
    assert {"models-production"} == {document["metadata"]["namespace"] for document in built(".")}


def test_pods_meet_the_restricted_standard() -> None:
    """Not root, read-only, no capabilities; a token only where the API server is asked; one run at a time."""
    for name, job in found("CronJob").items():
        pod, spec = pod_of(job), job["spec"]
        (container,) = pod["containers"]
        security = container["securityContext"]
        assert (True, 10001) == (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"])
        assert "RuntimeDefault" == pod["securityContext"]["seccompProfile"]["type"]
        assert (False, True) == (security["allowPrivilegeEscalation"], security["readOnlyRootFilesystem"])
        assert {"drop": ["ALL"]} == security["capabilities"]
        assert (name == "monitor") is pod["automountServiceAccountToken"]
        assert {"cpu", "memory"} <= set(container["resources"]["limits"])
        assert "Forbid" == spec["concurrencyPolicy"]
        assert {"startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"} <= set(spec)


def test_a_run_whose_settings_are_wrong_is_not_repeated() -> None:
    """Neither is one in which a family could not be looked at: the next one is the other try."""
    job = found("CronJob")["monitor"]
    rules = job["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]

    assert ("FailJob", [1, 2]) == (rules[0]["action"], rules[0]["onExitCodes"]["values"])
    assert "Never" == pod_of(job)["restartPolicy"]


def test_runs_are_as_far_apart_as_a_window_of_the_way_back_is_long() -> None:
    """So that no window is looked at late, and none twice as the newest."""
    schedule = found("CronJob")["monitor"]["spec"]["schedule"]

    assert f"*/{int(Monitoring().sustained.window.total_seconds() // 60)} * * * *" == schedule


def test_the_account_may_do_what_a_deployment_takes_and_nothing_else() -> None:
    """Less than the deployer in every place, in one namespace; no Secrets, no exec, no cluster-wide rights."""
    deployer = next(
        it
        for it in yaml.safe_load_all((K8S / "cluster" / "deployer-production.yaml").read_text())
        if it["kind"] == "Role"
    )
    (role,) = found("Role").values()
    (binding,) = found("RoleBinding").values()
    subject = {"kind": "ServiceAccount", "name": "model-monitor", "namespace": "models-production"}

    assert rights(role) < rights(deployer)
    assert set() == {"secrets", "pods/exec", "*"} & {kind for kind, _verb in rights(role)}
    assert {"deployments", "horizontalpodautoscalers"} == {kind for kind, verb in rights(role) if verb == "delete"}
    assert {} == found("ClusterRole")
    assert [subject] == binding["subjects"]


def test_network_policies_find_the_jobs() -> None:
    """Each job's pods are in exactly one policy, and nobody may ask them anything."""
    policies = [it["spec"] for it in found("NetworkPolicy").values()]
    for job in found("CronJob").values():
        labels = job["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
        (policy,) = [it for it in policies if it["podSelector"]["matchLabels"].items() <= labels.items()]
        assert ([], {"Ingress", "Egress"}) == (policy["ingress"], set(policy["policyTypes"]))


def test_a_server_leaves_its_log_and_statistics_on_the_volume(monitored: dict[Track, Document], tmp_path: Path) -> None:
    """For stable and canary; the hook copies both files whole, and does not fail where there is nothing to copy."""
    for deployment in monitored.values():
        spec = deployment["spec"]["template"]["spec"]
        claims = {it["name"]: it.get("persistentVolumeClaim") for it in spec["volumes"]}
        assert {"claimName": "model-monitoring"} == claims["predictions"]
        assert {"promotion/model", "promotion/version"} <= set(
            deployment["spec"]["template"]["metadata"]["annotations"]
        )
    *_python, hook = spec["containers"][0]["lifecycle"]["postStart"]["exec"]["command"]
    hook = hook.replace("/model/", f"{tmp_path}/model/").replace("/exports/", f"{tmp_path}/exports/")
    (tmp_path / "model").mkdir()
    (tmp_path / "exports").mkdir()
    (tmp_path / "model" / "manifest.json").write_text("{}")
    subprocess.run([sys.executable, "-c", hook], check=True, env={"POD_NAME": "pod-1"})

    assert ["manifest.json"] == [path.name for path in (tmp_path / "exports").iterdir()]


def test_the_dashboard_is_labelled_for_the_sidecar() -> None:
    """And arrives unchanged."""
    (settings,) = found("ConfigMap", "grafana").values()

    assert "1" == settings["metadata"]["labels"]["grafana_dashboard"]
    assert "model-serving" == json.loads(settings["data"]["model-serving.json"])["uid"]


def test_the_dashboard_draws_the_memory_a_server_may_use(monitored: dict[Track, Document]) -> None:
    """The line is the container's limit."""
    (panel,) = [it for it in dashboard()["panels"] if it["title"] == "Memory by instance"]
    (server,) = monitored[Track.STABLE]["spec"]["template"]["spec"]["containers"]

    assert "512Mi" == server["resources"]["limits"]["memory"]
    assert 512 * 2**20 == panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]["value"]


def test_nothing_has_a_password() -> None:
    """No Secret with a value of ours, no admin password, no URL with credentials."""
    secrets = [it for folder in (*FOLDERS, "operator") for it in built(folder) if it["kind"] == "Secret"]
    files = [path for path in MONITORING.rglob("*") if path.is_file()]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)

    assert {"alertmanager.yaml", "models.tmpl"} == {key for secret in secrets for key in secret["data"]}
    assert [] == re.findall(r"(?im)^\s*\S*password:|adminPassword|://[^/\s]+:[^/\s]+@|hooks\.slack\.com", text)


def test_kubectl_takes_the_way_to_the_api_server() -> None:
    """The pod's own token, and no secret in the file."""
    kubeconfig = MONITORING / "monitor" / "kubeconfig.yaml"
    command = [needed("kubectl"), f"--kubeconfig={kubeconfig}", "config", "view", "--minify"]
    shown = json.loads(subprocess.run([*command, "--output=json"], capture_output=True, check=True).stdout)

    assert "https://kubernetes.default.svc" == shown["clusters"][0]["cluster"]["server"]
    assert ["tokenFile"] == list(shown["users"][0]["user"])


def test_the_image_of_the_monitor_is_well_made() -> None:
    """By hadolint; not root, and what it copies exists and is let through by the ignore file."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    done = subprocess.run([HADOLINT, DOCKERFILE], capture_output=True, text=True, check=False)
    copied = {words.split()[0].rstrip("/") for words in re.findall(r"(?m)^COPY (?!--from)(.+)$", text)}
    allowed = set(re.findall(r"(?m)^!(.+)$", (REPOSITORY / "Dockerfile.monitor.dockerignore").read_text()))

    assert (0, "") == (done.returncode, done.stdout)
    assert allowed == copied
    assert [] == [name for name in copied if not (REPOSITORY / name).exists()]
    assert "USER 10001:10001" in text
