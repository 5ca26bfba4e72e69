"""Ask the deployed server what the registry's model was asked at export time, and compare the answers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests

from promotion.delivery.errors import ClusterError
from promotion.delivery.export import ExpectedAnswers
from promotion.delivery.kubernetes.cluster import Cluster
from promotion.delivery.kubernetes.manifests import selector
from promotion.delivery.kubernetes.objects import Pod
from promotion.delivery.records import Deployment, DeploymentTarget, Failure, RolloutVerdict, Track

TOLERANCE = 1e-4
"""Largest difference of a probability: ten times what the export allows, since CPUs round 32-bit floats differently."""

_PORT = 80
_CONTAINER_PORT = 8080
_HTTP_SECONDS = 30
# The old pods' grace period and a margin: until then port forwarding may pick one that is about to go.
_SETTLING_SECONDS = 45.0
_CHAMPION = "champion"
_TRIES = 50
_OK, _UNAUTHORISED, _FORBIDDEN = 200, 401, 403


class _Refused(Exception):
    """The server's answer is wrong; carries whose fault it is."""

    def __init__(self, reason: str, verdict: RolloutVerdict = RolloutVerdict.VERSION) -> None:
        super().__init__(reason)
        self.verdict = verdict


def smoke_test(
    cluster: Cluster,
    deployment: Deployment,
    expected: ExpectedAnswers,
    report: Callable[[str], None],
    *,
    settling: float = _SETTLING_SECONDS,
    pause: float = 2.0,
) -> Failure | None:
    """Ask through the Service, a canary directly; returns what is wrong, None when all is well.

    Args:
        cluster: Where.
        deployment: What must answer.
        expected: The questions and answers; without any it is only asked who it is.
        report: Told what is asked.
        settling: Seconds in which a pod of the version before may still answer, or a connection may fail.
        pause: Seconds between two attempts.
    """
    deadline = time.monotonic() + settling
    while True:
        try:
            if _is_endpoint(cluster, deployment):
                with cluster.forward(*_way(deployment.target)) as url:
                    if _runs(url, deployment):
                        if expected.rows:
                            _compare(url, expected, _api_key(deployment.target))
                        rows = f"{len(expected.rows)} rows answered as the registry's model does"
                        report(f"{deployment.target}: {rows if expected.rows else 'the Service leads to it'}")
                        return None
            problem = Failure(
                RolloutVerdict.INFRASTRUCTURE,
                f"the Service of {deployment.target} leads to no pod of this deployment",
            )
        except _Refused as error:
            return Failure(error.verdict, f"smoke test: {error}")
        except (ClusterError, requests.RequestException) as error:
            problem = Failure(RolloutVerdict.INFRASTRUCTURE, f"smoke test: the server could not be asked: {error}")
        if time.monotonic() >= deadline:
            return problem
        time.sleep(pause)


def who_answers(cluster: Cluster, target: DeploymentTarget) -> Mapping[str, Any]:
    """What the server behind a family's Service says of itself.

    Raises:
        ClusterError: No way leads to it, or it does not say.
    """
    try:
        with cluster.forward(*_way(DeploymentTarget(target.family, target.environment))) as url:
            return _json(requests.get(f"{url}/version", timeout=_HTTP_SECONDS), "/version")
    except (_Refused, requests.RequestException) as error:
        raise ClusterError(f"it does not say who it is: {error}") from error


def _way(target: DeploymentTarget) -> tuple[str, str]:
    if target.track is Track.CANARY:
        # The Service also leads to the stable pods.
        return f"deployment/{target.name}", str(_CONTAINER_PORT)
    return f"service/{target.name}", str(_PORT)


def _is_endpoint(cluster: Cluster, deployment: Deployment) -> bool:
    """Whether the Service leads to a ready pod of this deployment; port forwarding would not notice."""
    pods = {
        pod.name
        for pod in (Pod.of(item) for item in cluster.objects("pods", selector(deployment.target)))
        if pod.operation == deployment.operation
    }
    slices = cluster.objects(
        "endpointslices.discovery.k8s.io", f"kubernetes.io/service-name={deployment.target.instance}"
    )
    return any(
        (endpoint.get("targetRef") or {}).get("name") in pods
        and (endpoint.get("conditions") or {}).get("ready") is not False
        for item in slices
        for endpoint in item.get("endpoints") or []
    )


def _runs(url: str, deployment: Deployment) -> bool:
    """Whether the pod that answers is of this deployment: one that leaves may run the version from another image."""
    answer = requests.get(f"{url}/version", timeout=_HTTP_SECONDS)
    said = _json(answer, "/version")
    is_of_image = said.get("image") in {None, "", deployment.image.reference}
    if is_of_image and said.get("artifact_digest") == deployment.image.digest:
        challenger = deployment.image.challenger
        found = (said.get("challenger") or {}).get("artifact_digest")
        if challenger and found != challenger.digest:
            raise _Refused(
                f"the server's challenger has digest {found or 'none'}, expected {challenger.digest} of {challenger}",
                RolloutVerdict.INFRASTRUCTURE,
            )
        return True
    if said.get("image") == deployment.image.reference:
        raise _Refused(
            f"the image says {said.get('model')} v{said.get('version')} with digest {said.get('artifact_digest')}, "
            f"its label said {deployment.image.digest}"
        )
    return False


def _api_key(target: DeploymentTarget) -> str | None:
    """What the server may ask for: given for the one that is deployed, or in a folder with a file for each Service."""
    if key := os.environ.get("API_KEY"):
        return key
    with suppress(OSError, UnicodeDecodeError):
        if folder := os.environ.get("API_KEYS"):
            return Path(folder, target.instance).read_text(encoding="utf-8").strip()
    return None


def _compare(url: str, expected: ExpectedAnswers, key: str | None = None, tries: int = _TRIES) -> None:
    """Hold the champion's answers against those of the registry's model.

    Args:
        url: Of the server.
        expected: The questions and answers.
        key: What the server may ask for.
        tries: How often it is asked until the champion answers, and no challenger.
    """
    answer = requests.post(
        f"{url}/predict",
        json={"rows": list(expected.rows)},
        headers={"X-API-Key": key} if key else {},
        timeout=_HTTP_SECONDS,
    )
    if answer.status_code in {_UNAUTHORISED, _FORBIDDEN}:
        raise _Refused(
            "the server asks for an API key: set API_KEY to the Secret's value", RolloutVerdict.INFRASTRUCTURE
        )
    document = _json(answer, "/predict")
    if document.get("role", _CHAMPION) != _CHAMPION and tries > 1:
        # Each request has a key of its own; a challenger answers half of them at most.
        _compare(url, expected, key, tries - 1)
        return
    predictions = document.get("predictions", [])
    if len(predictions) != len(expected.rows):
        raise _Refused(f"{len(expected.rows)} rows were asked, {len(predictions)} answers came")
    if expected.values:
        _compare_numbers(predictions, expected.values)
        return
    for row, (said, wanted, probabilities) in enumerate(
        zip(predictions, expected.classes, expected.probabilities, strict=True)
    ):
        known = said.get("probabilities", {})
        differences = [
            abs(known.get(label, float("inf")) - value)
            for label, value in zip(expected.labels, probabilities, strict=True)
        ]
        # Not "any greater", and not the largest one: a NaN is a wrong answer too, wherever it stands.
        if said.get("class") != wanted or not all(difference <= TOLERANCE for difference in differences):
            raise _Refused(
                f"row {row}: expected class {wanted} with {_rounded(probabilities)}, "
                f"got {said.get('class')} with {_rounded(known.values())}"
            )


def _compare_numbers(predictions: Sequence[Mapping[str, Any]], expected: Sequence[float]) -> None:
    import numpy as np

    from promotion.export.documents import allowed_difference

    allowed = allowed_difference(np.asarray(expected, dtype=np.float64))
    for row, (said, wanted, most) in enumerate(zip(predictions, expected, allowed, strict=True)):
        # As above: a NaN is a wrong answer.
        if not abs(said.get("value", float("inf")) - wanted) <= most:
            raise _Refused(f"row {row}: expected {wanted:g}, got {said.get('value')}")


def _json(answer: requests.Response, route: str) -> Mapping[str, Any]:
    if answer.status_code != _OK:
        raise _Refused(f"{route} answered {answer.status_code}: {answer.text[:200]}")
    try:
        document: Mapping[str, Any] = answer.json()
    except ValueError as error:
        raise _Refused(f"{route} answered no JSON: {answer.text[:200]}") from error
    return document


def _rounded(values: Any) -> list[Any]:
    return [round(value, 6) if isinstance(value, float) else value for value in values]
