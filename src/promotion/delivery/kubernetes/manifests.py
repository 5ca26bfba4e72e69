"""From the manifests in k8s/ to one family's: a small kustomization in a temporary folder, never an edited file."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from promotion.config.document import FASTEST_LOADER
from promotion.delivery.kubernetes.cluster import kubectl
from promotion.delivery.records import DeployedChallenger, DeploymentTarget, Environment, Image, Track
from promotion.errors import ConfigError

PREFIX = "promotion/"
"""Of the annotations that say what runs."""

OPERATION = PREFIX + "operation"
DIGEST = PREFIX + "digest"
VERSION = PREFIX + "version"
MODEL = PREFIX + "model"
GATE_REPORT = PREFIX + "gate-report"
IMAGE = PREFIX + "image"
CHALLENGER = PREFIX + "challenger"

_RENDER_SECONDS = 30
_CONTAINER = "/spec/template/spec/containers/0"
_CHALLENGER_FOLDER = "/challenger/model"


def selector(target: DeploymentTarget) -> str:
    """The labels that the pods of a Deployment carry, as `kubectl --selector` takes them."""
    return f"app.kubernetes.io/instance={target.instance},track={target.track.value}"


def annotations_of(image: Image, operation: str) -> dict[str, str]:
    """What a Deployment and its pods say about themselves.

    Args:
        image: What they run.
        operation: The deployment that put them there.
    """
    semver = f" ({image.semver})" if image.semver else ""
    beside = {CHALLENGER: str(image.challenger)} if image.challenger else {}
    return {
        **beside,
        OPERATION: operation,
        MODEL: image.model,
        VERSION: str(image.version),
        PREFIX + "semver": image.semver,
        DIGEST: image.digest,
        GATE_REPORT: image.gate_report,
        IMAGE: image.reference,
        "kubernetes.io/change-cause": f"{image.model} v{image.version}{semver} by deployment {operation}",
    }


def render_manifests(folder: Path, target: DeploymentTarget, image: Image, operation: str) -> str:
    """The manifests that run an image, as YAML.

    Args:
        folder: The project's `k8s/`.
        target: Names and overlay.
        image: What runs.
        operation: The deployment's id.

    Raises:
        ConfigError: Kustomize refuses the manifests.
    """
    with tempfile.TemporaryDirectory(prefix="deploy-") as name:
        temporary = Path(name).resolve()
        document = _kustomization(os.path.relpath(folder.resolve(), temporary), target, image, operation)
        (temporary / "kustomization.yaml").write_text(json.dumps(document, indent=1), encoding="utf-8")
        return _kustomized(temporary)


def startup_seconds(folder: Path, environment: Environment) -> float:
    """How long a pod may take to start before its startup probe has it killed.

    Args:
        folder: The project's `k8s/`.
        environment: Which overlay.

    Raises:
        ConfigError: Kustomize refuses the manifests.
    """
    deployment = deployment_in(_kustomized(folder / "overlays" / environment.value))
    probe = deployment["spec"]["template"]["spec"]["containers"][0].get("startupProbe", {})
    checks = probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3)
    return float(probe.get("initialDelaySeconds", 0) + checks)


def deployment_in(manifests: str) -> dict[str, Any]:
    """The Deployment among rendered manifests."""
    documents: Iterator[dict[str, Any]] = yaml.load_all(manifests, FASTEST_LOADER)
    return next(document for document in documents if document["kind"] == "Deployment")


def _kustomized(folder: Path) -> str:
    done = subprocess.run(  # noqa: S603  # an argument list, no shell
        [kubectl(), "kustomize", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=_RENDER_SECONDS,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise ConfigError(f"kubectl kustomize refuses {folder}: {' '.join(done.stderr.split())}")
    return done.stdout


def _kustomization(folder: str, target: DeploymentTarget, image: Image, operation: str) -> dict[str, Any]:
    said = annotations_of(image, operation)
    components = ["canary"] if target.track is Track.CANARY else []
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"{folder}/overlays/{target.environment.value}"],
        "components": [
            f"{folder}/components/{name}" for name in (*components, *(["challenger"] if image.challenger else []))
        ],
        "labels": [
            {"pairs": {"app.kubernetes.io/instance": target.instance}, "includeSelectors": True},
        ],
        "patches": [
            _patch({"name": "model-server"}, {"/metadata/name": target.instance}),
            # Kustomize finds a canary by the name it had in the base, too; so the Deployment is named last.
            _patch(
                {"kind": "Deployment"},
                {
                    "/metadata/name": target.name,
                    f"{_CONTAINER}/image": image.reference,
                    f"{_CONTAINER}/env/0/valueFrom/secretKeyRef/name": f"{target.instance}-api-key",
                    "/metadata/annotations": said,
                    "/spec/template/metadata/annotations": said,
                    # Of the pods alone: a canary shares other objects with another version's pods, and going back to a
                    # revision leaves the Deployment's own labels as they are.
                    "/spec/template/metadata/labels/promotion~1version": str(image.version),
                },
                _beside(image.challenger) if image.challenger else (),
            ),
        ],
    }


def _beside(challenger: DeployedChallenger) -> Iterator[tuple[str, Any]]:
    """The challenger's image, and what tells the server of it."""
    yield "/spec/template/spec/initContainers/0/image", challenger.reference
    name = "SHADOW_MODEL" if challenger.percent is None else "AB_MODEL"
    yield f"{_CONTAINER}/env/-", {"name": name, "value": _CHALLENGER_FOLDER}
    if challenger.percent is not None:
        yield f"{_CONTAINER}/env/-", {"name": "AB_PERCENT", "value": f"{challenger.percent:g}"}


def _patch(target: dict[str, str], values: dict[str, Any], more: Iterable[tuple[str, Any]] = ()) -> dict[str, Any]:
    # "add" also replaces what is there.
    operations = [{"op": "add", "path": path, "value": value} for path, value in (*values.items(), *more)]
    return {"target": target, "options": {"allowNameChange": True}, "patch": json.dumps(operations)}
