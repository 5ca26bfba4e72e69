"""What is in k8s/ is valid, fits together, and becomes one family's without an edited file."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from promotion.config.settings import REPOSITORY
from promotion.delivery.kubernetes.manifests import annotations_of, render_manifests, selector
from promotion.delivery.records import DeployedChallenger, DeploymentTarget, Environment, Image, Track
from promotion.errors import UsageError

pytestmark = pytest.mark.needs("kubectl")

K8S = REPOSITORY / "k8s"
VERSIONS = ("1.29", "1.30", "1.31", "1.32", "1.33", "1.34")
IMAGE = Image("registry.example/heart:1.2.0-abc", "heart_disease", "heart", 7, "1.2.0", "d" * 64, "e" * 64, "f" * 64)
ENVIRONMENTS = list(Environment)
TRACKS = list(Track)
MOUNTED = "/challenger/model"
FOLDERS = ("base", "overlays/staging", "overlays/production", "overlays/canary", "cluster")

Document = dict[str, Any]


@cache
def built(folder: str) -> tuple[Document, ...]:
    """A folder of k8s/ as kubectl builds it."""
    done = subprocess.run(["kubectl", "kustomize", str(K8S / folder)], capture_output=True, text=True, check=True)
    assert "" == done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


@cache
def rendered(environment: Environment, track: Track) -> dict[str, Document]:
    """One family's objects by kind."""
    target = DeploymentTarget("heart_disease", environment, track)
    documents = yaml.safe_load_all(render_manifests(K8S, target, IMAGE, "0" * 32))
    return {document["kind"]: document for document in documents}


@pytest.mark.parametrize(
    "version",
    # The newest with every run, the others with the system tests: each loads megabytes of schemas.
    [*(pytest.param(item, marks=pytest.mark.system) for item in VERSIONS[:-1]), VERSIONS[-1]],
)
@pytest.mark.system
def test_every_object_is_valid_for_the_supported_versions(version: str) -> None:
    """Strictly: an unknown field, or a kind without a schema, fails."""
    documents = [document for folder in FOLDERS for document in built(folder)]
    documents += [item for env in ENVIRONMENTS for track in TRACKS for item in rendered(env, track).values()]

    assert {version} == {kubernetes_validate.validate(document, version, strict=True) for document in documents}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.system
def test_every_selector_finds_the_pods_and_only_those(environment: Environment) -> None:
    """Service, budget and network policy lead to stable and canary pods, each Deployment to its own."""
    stable, canary = (rendered(environment, track) for track in TRACKS)
    pods = {
        track: docs["Deployment"]["spec"]["template"]["metadata"]["labels"]
        for track, docs in zip(TRACKS, (stable, canary), strict=True)
    }
    shared = [
        stable["Service"]["spec"]["selector"],
        stable["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        stable["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]

    for found in shared:
        assert {"app.kubernetes.io/name", "app.kubernetes.io/instance"} == set(found)
        assert all(found.items() <= labels.items() for labels in pods.values())
    for docs, own, other in ((stable, Track.STABLE, Track.CANARY), (canary, Track.CANARY, Track.STABLE)):
        spec = docs["Deployment"]["spec"]
        spread = [
            item["labelSelector"]["matchLabels"] for item in spec["template"]["spec"]["topologySpreadConstraints"]
        ]
        for found in (spec["selector"]["matchLabels"], *spread):
            assert found.items() <= pods[own].items()
            assert not found.items() <= pods[other].items()
        ours = dict(
            part.split("=") for part in selector(DeploymentTarget("heart_disease", environment, own)).split(",")
        )
        assert ours.items() <= pods[own].items()
        assert not ours.items() <= pods[other].items()


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_references_name_what_is_applied(environment: Environment) -> None:
    """Autoscaler, ConfigMap, ServiceAccount and the Service's port lead somewhere, all in one namespace."""
    docs = rendered(environment, Track.STABLE)
    pod = docs["Deployment"]["spec"]["template"]["spec"]
    (server,) = pod["containers"]

    assert {environment.namespace} == {document["metadata"]["namespace"] for document in docs.values()}
    assert "heart-disease" == docs["Deployment"]["metadata"]["name"] == docs["Service"]["metadata"]["name"]
    assert docs["Deployment"]["metadata"]["name"] == docs["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"]
    assert docs["ConfigMap"]["metadata"]["name"] == server["envFrom"][0]["configMapRef"]["name"]
    assert docs["ServiceAccount"]["metadata"]["name"] == pod["serviceAccountName"]
    assert [(80, "http")] == [(port["port"], port["targetPort"]) for port in docs["Service"]["spec"]["ports"]]
    assert [("http", 8080)] == [(port["name"], port["containerPort"]) for port in server["ports"]]
    assert {"heart-disease-api-key"} == {
        item["valueFrom"]["secretKeyRef"]["name"] for item in server["env"] if item["name"] == "API_KEY"
    }


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_only_namespaces_that_are_named_may_ask(environment: Environment) -> None:
    """Each by its name; an entry without peers, or a selector without conditions, would let everybody in."""
    ingress = rendered(environment, Track.STABLE)["NetworkPolicy"]["spec"]["ingress"]
    peers = [peer for entry in ingress for peer in entry["from"]]

    assert {"podSelector": {}} in peers
    for peer in peers:
        if peer != {"podSelector": {}}:
            (condition,) = peer["namespaceSelector"]["matchExpressions"]
            assert ("kubernetes.io/metadata.name", "In") == (condition["key"], condition["operator"])
            assert condition["values"]


@pytest.mark.parametrize("track", TRACKS)
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_server_is_given_the_keys_of_the_cluster(environment: Environment, track: Track) -> None:
    """From a Secret, which the deployer may not write, at the path that the server is told."""
    docs = rendered(environment, track)
    pod = docs["Deployment"]["spec"]["template"]["spec"]
    (mount,) = [item for item in pod["containers"][0]["volumeMounts"] if item["name"] == "trusted-keys"]
    (volume,) = [item for item in pod["volumes"] if item["name"] == "trusted-keys"]
    rules = [rule for item in built("cluster") if item["kind"] == "Role" for rule in item["rules"]]

    assert (mount["mountPath"], True) == (docs["ConfigMap"]["data"]["TRUSTED_KEYS"], mount["readOnly"])
    assert {"secretName": "model-trusted-keys", "optional": True} == volume["secret"]
    assert rules
    assert not any("secrets" in rule["resources"] for rule in rules)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_canary_is_a_second_deployment_and_nothing_of_the_stable_ones(environment: Environment) -> None:
    """It brings what its pods need under the same content, and no second Service, autoscaler or policy."""
    stable, canary = (rendered(environment, track) for track in TRACKS)

    assert {"Deployment", "ConfigMap", "ServiceAccount"} == set(canary)
    assert ("heart-disease-canary", 1) == (
        canary["Deployment"]["metadata"]["name"],
        canary["Deployment"]["spec"]["replicas"],
    )
    for kind in ("ConfigMap", "ServiceAccount"):
        without = [{**docs[kind], "metadata": docs[kind]["metadata"]["name"]} for docs in (stable, canary)]
        assert without[0] == without[1]


@pytest.mark.parametrize("track", TRACKS)
def test_deployment_and_pods_say_what_they_run(track: Track) -> None:
    """The image and the annotations come from the deployment, not from an edited file."""
    deployment = rendered(Environment.PRODUCTION, track)["Deployment"]
    said = annotations_of(IMAGE, "0" * 32)

    assert said == deployment["metadata"]["annotations"] == deployment["spec"]["template"]["metadata"]["annotations"]
    assert IMAGE.reference == deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    assert all(isinstance(value, str) for value in said.values())


def test_pods_meet_the_restricted_standard_and_end_gracefully() -> None:
    """Pod Security "restricted", a read-only root, probes on the documented routes, and time for requests in flight."""
    docs = rendered(Environment.PRODUCTION, Track.STABLE)
    pod = docs["Deployment"]["spec"]["template"]["spec"]
    (server,) = pod["containers"]
    security = server["securityContext"]

    assert (True, "RuntimeDefault") == (
        pod["securityContext"]["runAsNonRoot"],
        pod["securityContext"]["seccompProfile"]["type"],
    )
    assert (False, True, {"drop": ["ALL"]}) == (
        security["allowPrivilegeEscalation"],
        security["readOnlyRootFilesystem"],
        security["capabilities"],
    )
    assert (False, False) == (
        pod["automountServiceAccountToken"],
        docs["ServiceAccount"]["automountServiceAccountToken"],
    )
    assert {"startupProbe": "/ready", "readinessProbe": "/ready", "livenessProbe": "/health"} == {
        probe: server[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")
    }
    assert pod["terminationGracePeriodSeconds"] >= 5 + int(docs["ConfigMap"]["data"]["SHUTDOWN_SECONDS"])
    written = {Path(docs["ConfigMap"]["data"]["PREDICTION_LOG"]).parent.as_posix(), "/tmp"}  # noqa: S108  # a mount
    assert written == {mount["mountPath"] for mount in server["volumeMounts"] if not mount.get("readOnly")}
    assert "replicas" not in docs["Deployment"]["spec"]


@pytest.mark.parametrize("family", ["", "7-models", "x" * 50])
def test_a_family_without_a_dns_label_is_refused(family: str) -> None:
    """Before anything is rendered."""
    with pytest.raises(UsageError, match="has no name for Kubernetes"):
        _ = DeploymentTarget(family, Environment.STAGING).instance


@pytest.mark.parametrize("percent", [None, 12.5])
@pytest.mark.system
def test_a_challenger_is_copied_from_its_own_image(percent: float | None) -> None:
    """Before the server starts, which is told where it lies and what it is for; without one nothing of it is there."""
    challenger = DeployedChallenger("registry.example/heart:1.3.0-def", "heart_disease", 8, "c" * 64, percent)
    target = DeploymentTarget("heart_disease", Environment.PRODUCTION)
    documents = yaml.safe_load_all(render_manifests(K8S, target, replace(IMAGE, challenger=challenger), "0" * 32))
    deployment = next(document for document in documents if document["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (copied,), (server,) = pod["initContainers"], pod["containers"]
    told = {item["name"]: item.get("value") for item in server["env"]}

    assert VERSIONS[-1] == kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)
    assert ("registry.example/heart:1.3.0-def", IMAGE.reference) == (copied["image"], server["image"])
    expected = {"SHADOW_MODEL": MOUNTED} if percent is None else {"AB_MODEL": MOUNTED, "AB_PERCENT": "12.5"}
    assert expected == {name: told[name] for name in ("SHADOW_MODEL", "AB_MODEL", "AB_PERCENT") if name in told}
    assert str(challenger) == deployment["metadata"]["annotations"]["promotion/challenger"]
    assert {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}} == (
        copied["securityContext"]
    )
    plain = rendered(Environment.PRODUCTION, Track.STABLE)["Deployment"]
    assert "initContainers" not in plain["spec"]["template"]["spec"]
