"""Run an image as the cluster will, ask it over HTTP, and hold its answers against the registered model's."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests

from promotion.containers.build import PREFIX
from promotion.containers.docker import USER, DockerFailed, LocalImage, docker, logs
from promotion.errors import PromotionError, UsageError

TOLERANCE = 1e-5
"""Largest difference of a probability that is taken for rounding; the export was proven to the same."""

PORT = 8080
# Nothing to write to, no rights, no way to get any: what PodSecurity's "restricted" asks of a pod.
HARDENED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", "256")
_READY_SECONDS = 60.0
_REQUEST_SECONDS = 30
_STOP_SECONDS = 30
_POLL_SECONDS = 0.05
_LOG_LINES = 5


class TrialFailed(PromotionError):
    """The image does not start, does not answer, answers otherwise than the registered model, or does not stop."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What came out.

    Attributes:
        rows: Number of rows asked at each of the two addresses.
        difference: Largest absolute difference of a probability.
        ready_seconds: From the start of the container until it said it was ready.
    """

    rows: int
    difference: float
    ready_seconds: float


@dataclass(frozen=True, slots=True)
class Container:
    """A running container: its id, and where it answers."""

    id: str
    url: str


def label(image: LocalImage, name: str) -> str:
    """One of our labels.

    Raises:
        UsageError: The image has no such label, so it is none of ours.
    """
    found = image.labels.get(f"{PREFIX}.{name}")
    if found is None:
        raise UsageError(f"{image.reference}: no label {PREFIX}.{name}: scripts/build-image.py did not build it")
    return found


def try_image(
    image: LocalImage, expected: Mapping[str, Any], classes: Sequence[str], report: Callable[[str], None]
) -> Trial:
    """Start it, ask it, stop it.

    Args:
        image: What is tried.
        expected: `rows`, the registered model's `labels` and `probabilities`, as in an export's `expected.json`.
        classes: Text of each class, by position; none where a number is predicted.
        report: Told what was found right, step by step.

    Raises:
        TrialFailed: Anything is not as it must be; the message says what was expected.
        DockerFailed: The engine does not answer.
    """
    if image.user != USER:
        raise TrialFailed(f"{image.reference}: runs as {image.user or 'root'}, expected {USER}")
    started = time.monotonic()
    with running(image.reference) as container:
        _wait_until_ready(container)
        ready = time.monotonic() - started
        report(f"ready after {ready:.1f} s, as {image.user}, read-only, without capabilities")
        _require_identity(container, image)
        if classes:
            difference = _compare_predict(container, expected, classes)
            _compare_invocations(container, expected)
        else:
            difference = _compare_numbers(container, expected)
        report(f"{len(expected['rows'])} rows at /predict and /invocations: as the registered model ({difference:.1e})")
        _stop(container)
        report("ended when asked to")
    return Trial(len(expected["rows"]), difference, ready)


@contextmanager
def running(reference: str, *options: str) -> Iterator[Container]:
    """A container of an image, hardened, on a port of this machine only; gone afterwards.

    Args:
        reference: The image.
        options: More options of `docker run`.

    Raises:
        DockerFailed: It cannot be started.
    """
    identity = docker("run", "--detach", "--publish", f"127.0.0.1::{PORT}", *HARDENED, *options, reference)
    try:
        yield Container(identity, f"http://{_address(identity)}")
    finally:
        docker("rm", "--force", "--volumes", identity)


def _address(identity: str) -> str:
    try:
        return docker("port", identity, f"{PORT}/tcp").splitlines()[0]
    except (DockerFailed, IndexError) as error:
        # A container that ended already has no ports, and its own words say more than that.
        raise TrialFailed(f"the container ended at once: {_last_words(identity)}") from error


def _wait_until_ready(container: Container) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        try:
            if requests.get(f"{container.url}/ready", timeout=2).ok:
                return
        except requests.RequestException:
            pass
        if docker("inspect", "--format", "{{.State.Running}}", container.id) != "true":
            raise TrialFailed(f"the container ended before it was ready: {_last_words(container.id)}")
        time.sleep(_POLL_SECONDS)
    raise TrialFailed(f"the container was not ready in {_READY_SECONDS:g} s: {_last_words(container.id)}")


def _require_identity(container: Container, image: LocalImage) -> None:
    """It says it serves what its labels say."""
    served = _ask(container, "/version")
    expected = {
        "family": label(image, "family"),
        "model": label(image, "model"),
        "version": int(label(image, "version")),
        "artifact_digest": label(image, "digest"),
        "gate_report": label(image, "gate-report") or None,
    }
    wrong = [
        f"{name} {served.get(name)!r}, labelled {value!r}"
        for name, value in expected.items()
        if served.get(name) != value
    ]
    if wrong:
        raise TrialFailed(f"{image.reference}: /version does not agree with the labels: {'; '.join(wrong)}")


def _compare_predict(container: Container, expected: Mapping[str, Any], classes: Sequence[str]) -> float:
    answer = _ask(container, "/predict", {"rows": expected["rows"]})["predictions"]
    _require_labels("/predict", [item["class"] for item in answer], expected["labels"])
    largest = 0.0
    for number, (item, wanted) in enumerate(zip(answer, expected["probabilities"], strict=True)):
        # By position: the image has the names that the family's file gave the classes when it was built.
        for name, found, probability in zip(classes, item["probabilities"].values(), wanted, strict=True):
            difference = abs(found - probability)
            # Written so that NaN fails.
            if not difference <= TOLERANCE:
                raise TrialFailed(
                    f"/predict: row {number}: probability of {name!r} is {found:.6f}, the "
                    f"registered model says {probability:.6f} (allowed difference {TOLERANCE:g})"
                )
            largest = max(largest, difference)
    return largest


def _compare_numbers(container: Container, expected: Mapping[str, Any]) -> float:
    """At both addresses."""
    typed = _ask(container, "/predict", {"rows": expected["rows"]})["predictions"]
    told = {"/predict": [item["value"] for item in typed], "/invocations": _invoked(container, expected)}
    import numpy as np

    from promotion.export.documents import allowed_difference

    largest, wanted = 0.0, expected["values"]
    allowed = allowed_difference(np.asarray(wanted, dtype=np.float64))
    for address, found in told.items():
        if len(found) != len(wanted):
            raise TrialFailed(f"{address}: {len(found)} answers to {len(wanted)} rows")
        for number, (ours, theirs, most) in enumerate(zip(found, wanted, allowed, strict=True)):
            if not abs(ours - theirs) <= most:
                raise TrialFailed(f"{address}: row {number}: {ours:g}, the registered model says {theirs:g}")
            largest = max(largest, abs(ours - theirs))
    return largest


def _compare_invocations(container: Container, expected: Mapping[str, Any]) -> None:
    answers = expected.get("answers")
    wanted = expected["labels"] if answers is None else [answers[label] for label in expected["labels"]]
    _require_labels("/invocations", _invoked(container, expected), wanted)


def _invoked(container: Container, expected: Mapping[str, Any]) -> Any:
    columns = list(expected["rows"][0])
    split = {"columns": columns, "data": [[row[name] for name in columns] for row in expected["rows"]]}
    return _ask(container, "/invocations", {"dataframe_split": split})["predictions"]


def _require_labels(address: str, found: Sequence[Any], wanted: Sequence[Any]) -> None:
    if len(found) != len(wanted):
        raise TrialFailed(f"{address}: {len(found)} answers to {len(wanted)} rows")
    for number, (ours, theirs) in enumerate(zip(found, wanted, strict=True)):
        if ours != theirs:
            raise TrialFailed(f"{address}: row {number}: class {ours}, the registered model says {theirs}")


def _ask(container: Container, path: str, body: Any = None) -> Any:
    try:
        if body is None:
            answer = requests.get(f"{container.url}{path}", timeout=_REQUEST_SECONDS)
        else:
            answer = requests.post(f"{container.url}{path}", json=body, timeout=_REQUEST_SECONDS)
    except requests.RequestException as error:
        raise TrialFailed(f"{path}: no answer: {error}: {_last_words(container.id)}") from error
    if not answer.ok:
        raise TrialFailed(f"{path}: {answer.status_code} {' '.join(answer.text[:500].split())}")
    try:
        return answer.json()
    except json.JSONDecodeError as error:
        raise TrialFailed(f"{path}: expected JSON, found {answer.text[:100]!r}") from error


def _stop(container: Container) -> None:
    docker("stop", "--time", str(_STOP_SECONDS), container.id)
    code = int(docker("inspect", "--format", "{{.State.ExitCode}}", container.id))
    if code:
        raise TrialFailed(f"the container ended with {code} when it was asked to stop: {_last_words(container.id)}")


def _last_words(identity: str) -> str:
    return logs(identity, _LOG_LINES).replace("\n", "; ") or "it said nothing"
