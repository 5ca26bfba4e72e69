"""A small model of a cluster in memory: what Kubernetes does that decides about a rollout, and nothing else.

It knows who owns which field (server-side apply leaves what others set, and takes away what its manager no longer
says), revisions and going back to one, paused Deployments, an autoscaler that comes late, pods that replace one another
one by one while none that is ready leaves early, an API server that goes away, and callers that are killed before or
after a request. Time is the model's own: sleeping lets the controllers act.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests
import yaml

from promotion.delivery.errors import ClusterError, ClusterUnreachable

OURS = "promotion-layer"
REVISION = "deployment.kubernetes.io/revision"
SERVER = "https://model.example:6443"

LATE = 45
"""Looks after which an image whose sandbox came late is pulled."""

Path = tuple[str, ...]
Fields = dict[Path, Any]


class Killed(BaseException):
    """The caller was killed; nothing of it runs on."""


@dataclass
class ModelPod:
    """One pod.

    Attributes:
        name: Of the pod.
        node: Where it runs.
        template: Of its ReplicaSet.
        is_ready: Whether it serves.
        looks: How often the controllers acted since it was made.
    """

    name: str
    node: str
    template: dict[str, Any]
    is_ready: bool = False
    looks: int = 0

    @property
    def image(self) -> str:
        """What its server runs."""
        return str(self.template["spec"]["containers"][0]["image"])

    @property
    def is_genuine(self) -> bool:
        """Whether nobody put another command into it."""
        return "command" not in self.template["spec"]["containers"][0]


@dataclass
class ModelImage:
    """An image: how its pods do, and what they answer."""

    behaviour: str
    version: Mapping[str, Any]
    predictions: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Traffic:
    """What a pod answers in one step of time, the same in each.

    Attributes:
        requests: How many.
        failures: Of these, with 500.
        slow: Of these, later than after 0.1 s.
        positive: Of the predicted rows, one a request, in the second class.
    """

    requests: int = 100
    failures: int = 0
    slow: int = 0
    positive: int = 30

    def metrics(self, steps: int) -> str:
        """Prometheus' text after some steps."""
        well, late = self.requests - self.failures, self.requests - self.slow
        return "\n".join(
            f"{name} {steps * count}.0"
            for name, count in {
                'http_requests_total{method="POST",route="/predict",status="200"}': well,
                'http_requests_total{method="POST",route="/predict",status="500"}': self.failures,
                'http_requests_total{method="GET",route="/health",status="500"}': 1000,
                'http_request_duration_seconds_bucket{le="0.1",route="/predict"}': late,
                'http_request_duration_seconds_bucket{le="+Inf",route="/predict"}': self.requests,
                'predictions_total{label="0",model="m",role="champion",version="1"}': well - self.positive,
                'predictions_total{label="1",model="m",role="champion",version="1"}': self.positive,
            }.items()
        )


@dataclass
class Held:
    """One object: its fields, and who owns which."""

    kind: str
    name: str
    fields: Fields = field(default_factory=dict)
    owners: dict[tuple[str, str], set[Path]] = field(default_factory=dict)
    revision: int = 0
    replicas: int = 1
    looks: int = 0
    version: int = 7


@dataclass
class ModelCluster:
    """Stands for `Cluster`; every request counts.

    Attributes:
        images: By reference.
        is_scaled: Whether the autoscaler works.
        traffic: What happens to requests that reach pods of an image, by its reference; none are made without.
        nodes: Names; pods are put on them in turn.
    """

    images: dict[str, ModelImage] = field(default_factory=dict)
    nodes: tuple[str, ...] = ("one", "two", "three")
    namespace: str = "models-production"
    held: dict[tuple[str, str], Held] = field(default_factory=dict)
    revisions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    pods: dict[str, list[ModelPod]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    away: range = range(0)
    kill: tuple[int, bool] | None = None
    now: float = 0.0
    made: int = 0
    is_scaled: bool = True
    traffic: dict[str, Traffic] = field(default_factory=dict)
    on_tick: Callable[[], None] = lambda: None

    # What promotion.delivery.kubernetes.cluster.Cluster offers.

    def server(self) -> str:
        """Where it is."""
        return SERVER

    def get(self, *what: str) -> dict[str, Any] | None:
        """An object with its status, or a list."""
        with self._request(f"get {what[0]}"):
            found = self.held.get((what[0], what[1]))
            return self._shown(found) if found else None

    def objects(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """All of a kind."""
        with self._request(f"list {kind}"):
            wanted = dict(part.split("=") for part in selector.split(",")) if selector else {}
            listed = {
                "pods": self._pods,
                "replicasets": self._replica_sets,
                "events": self._events,
                "endpointslices.discovery.k8s.io": self._slices,
            }[kind]()
            return [item for item in listed if wanted.items() <= item["metadata"].get("labels", {}).items()]

    def apply(self, manifests: str) -> None:
        """Server-side, by force."""
        with self._request("apply"):
            for document in yaml.load_all(manifests, Loader=_LOADER):
                self._apply(document)

    def differences(self, manifests: str) -> list[str]:
        """What an apply would change, a line an object or a field; the number of pods is not one."""
        with self._request("diff"):
            lines: list[str] = []
            for document in yaml.load_all(manifests, Loader=_LOADER):
                name = f"{document['kind']} {document['metadata']['name']}"
                held = self.held.get((document["kind"].lower(), document["metadata"]["name"]))
                wanted = _flat(_owned(document))
                if held is None:
                    lines.append(f"{name} is missing")
                    continue
                wanted.pop(("f:spec", "f:replicas"), None)
                changed = [path for path, value in wanted.items() if held.fields.get(path, _ABSENT) != value]
                lines += [f"{name}: {path[-1].removeprefix('f:')} is {held.fields.get(path)}" for path in changed]
            return lines

    def hand_over(self, deployment: str, managed_fields: list[dict[str, Any]], version: str) -> None:
        """Who owns which field from now on."""
        with self._request("patch"):
            held = self.held["deployment", deployment]
            if str(held.version) != version:
                raise ClusterError(
                    "error: the object has been modified; please apply your changes to the latest version"
                )
            held.owners = {
                (entry["manager"], entry["operation"]): set(_paths(entry["fieldsV1"])) for entry in managed_fields
            }

    def scale(self, deployment: str, replicas: int) -> None:
        """So many pods."""
        with self._request("scale"):
            self._write(self.held["deployment", deployment], "kubectl-patch", {("f:spec", "f:replicas"): replicas})

    def undo(self, deployment: str, revision: int) -> None:
        """Back to an earlier template; refused while paused."""
        with self._request("undo"):
            held = self.held["deployment", deployment]
            if held.fields.get(("f:spec", "f:paused")):
                raise ClusterError(
                    "error: cannot rollback a paused deployment; resume it first with 'kubectl rollout resume'"
                )
            chosen = next(item for item in self.revisions[deployment] if item["number"] == revision)
            template = chosen["template"]
            inside = ("f:spec", "f:template")
            before = {path: value for path, value in held.fields.items() if path[:2] == inside}
            after = {inside + path: value for path, value in _flat(template).items()}
            after |= {
                ("f:metadata", "f:annotations", f"f:{key}"): value for key, value in chosen["annotations"].items()
            }
            for path in before.keys() - after.keys():
                del held.fields[path]
            changed = {path: value for path, value in after.items() if held.fields.get(path, _ABSENT) != value}
            self._write(held, "kubectl", changed)
            self._forget(held, before.keys() - after.keys())
            self._roll(held)

    def delete(self, *objects: str) -> None:
        """At once, with everything below."""
        with self._request("delete"):
            for item in objects:
                kind, _, name = item.partition("/")
                self.remove(kind, name)

    def logs(self, *_: Any, **__: Any) -> list[str]:
        """Nothing was written."""
        return []

    @contextmanager
    def forward(self, target: str, _port: str) -> Iterator[str]:
        """A way to a pod: of a Deployment, or of any behind a Service."""
        with self._request("port-forward"):
            kind, _, name = target.partition("/")
            if kind == "pod":
                yield f"http://{name}"
                return
            if (kind, name) not in self.held:
                raise ClusterError(f'Error from server (NotFound): {kind}s "{name}" not found')
            behind = self.pods.get(name, []) if kind == "deployment" else self._behind(name)
            ready = [pod for pod in behind if pod.is_ready]
            if not ready:
                raise ClusterError(f"error: no pod behind {target} is ready")
        yield f"http://{ready[-1].name}"

    # What pods answer, in place of `requests`.

    def ask(self, url: str, **_: Any) -> requests.Response:
        """GET /version or POST /predict."""
        pod_name, _slash, route = url.removeprefix("http://").partition("/")
        document: Mapping[str, Any]
        pod = next((pod for pods in self.pods.values() for pod in pods if pod.name == pod_name), None)
        if pod is None or not pod.is_ready:
            raise requests.ConnectionError("connection refused")
        if route == "metrics":
            return _answer(self.traffic.get(pod.image, Traffic(0, positive=0)).metrics(pod.looks).encode())
        image = self.images.get(pod.image)
        if image is None or not pod.is_genuine:
            document = {"artifact_digest": "f" * 64, "model": "foreign", "version": "0"}
        else:
            document = image.version if route == "version" else {"predictions": image.predictions}
        return _answer(json.dumps(document).encode())

    # What time does.

    def monotonic(self) -> float:
        """Seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """The controllers act meanwhile."""
        self.now += max(seconds, 0.5)
        self.tick()

    def tick(self) -> None:
        """One step of every controller."""
        for (kind, name), held in list(self.held.items()):
            if kind == "deployment":
                self._scale(name, held)
                self._step(name, held)
        self.on_tick()

    def settle(self) -> None:
        """Until nothing moves any more."""
        for _ in range(40):
            self.tick()

    # What people do by hand.

    def patch(self, kind: str, name: str, changes: Mapping[Path, Any], manager: str = "kubectl-patch") -> None:
        """Set fields, as another manager."""
        held = self.held[kind, name]
        self._write(held, manager, changes)
        if kind == "deployment":
            self._roll(held)

    def remove(self, kind: str, name: str) -> None:
        """Delete an object."""
        self.held.pop((kind, name), None)
        if kind == "deployment":
            self.revisions.pop(name, None)
            self.pods.pop(name, None)

    def serving(self, name: str, proven: Container[str]) -> int:
        """Ready pods of a Deployment that run one of these images as it was built."""
        return sum(pod.is_ready and pod.image in proven and pod.is_genuine for pod in self.pods.get(name, []))

    def image(self, name: str) -> str | None:
        """What a Deployment is told to run."""
        held = self.held.get(("deployment", name))
        return str(_nested(held.fields)["spec"]["template"]["spec"]["containers"][0]["image"]) if held else None

    # Inside.

    @contextmanager
    def _request(self, what: str) -> Iterator[None]:
        self.calls.append(what)
        number, after = self.kill or (0, False)
        if len(self.calls) in self.away:
            raise ClusterUnreachable(f"kubectl {what}: The connection to the server was refused")
        if number == len(self.calls) and not after:
            self.kill = None
            raise Killed
        yield
        if number == len(self.calls) and after:
            self.kill = None
            raise Killed

    def _apply(self, document: dict[str, Any]) -> None:
        key = document["kind"].lower(), document["metadata"]["name"]
        held = self.held.setdefault(key, Held(*key))
        wanted = _flat(_owned(document))
        mine = held.owners.setdefault((OURS, "Apply"), set())
        theirs = set().union(*(paths for who, paths in held.owners.items() if who != (OURS, "Apply")))
        for path in mine - wanted.keys() - theirs:
            held.fields.pop(path, None)
        changed = {path for path, value in wanted.items() if held.fields.get(path, _ABSENT) != value}
        self._forget(held, changed)
        held.fields |= wanted
        held.owners[OURS, "Apply"] = set(wanted)
        if key[0] == "deployment":
            held.replicas = wanted.get(("f:spec", "f:replicas"), held.replicas)
            self._roll(held)

    def _write(self, held: Held, manager: str, changes: Mapping[Path, Any]) -> None:
        self._forget(held, set(changes))
        for path, value in changes.items():
            held.fields[path] = value
        if replicas := changes.get(("f:spec", "f:replicas")):
            held.replicas = replicas
        held.owners.setdefault((manager, "Update"), set()).update(changes)

    @staticmethod
    def _forget(held: Held, paths: Any) -> None:
        for owned in held.owners.values():
            owned.difference_update(paths)

    def _roll(self, held: Held) -> None:
        """What the Deployment controller does with a template that is new: a revision, unless it is paused."""
        held.looks = 0
        if held.fields.get(("f:spec", "f:paused")):
            return
        template = _nested(held.fields)["spec"]["template"]
        known = self.revisions.setdefault(held.name, [])
        found = next((item for item in known if item["template"] == template), None)
        if found is not None and found["number"] == held.revision:
            return
        held.revision += 1
        if found:
            found["number"] = held.revision
        else:
            annotations = _nested(held.fields)["metadata"]["annotations"]
            known.append({"number": held.revision, "template": template, "annotations": annotations})

    def _newest(self, name: str) -> dict[str, Any]:
        known = sorted(self.revisions.get(name, []), key=lambda item: int(item["number"]))
        return dict(known[-1]["template"]) if known else {}

    def _scale(self, name: str, held: Held) -> None:
        scaler = self.held.get(("horizontalpodautoscaler", name))
        held.looks += 1
        if scaler and self.is_scaled and held.looks > 1 and held.replicas:
            held.replicas = max(held.replicas, scaler.fields["f:spec", "f:minReplicas"])

    def _step(self, name: str, held: Held) -> None:
        pods, template = self.pods.setdefault(name, []), self._newest(name)
        for pod in pods:
            pod.looks += 1
            behaviour = self.images[pod.image].behaviour if pod.image in self.images else "well"
            pod.is_ready = behaviour in {"well", "wrong"} or (behaviour == "late sandbox" and pod.looks > LATE)
        new = [pod for pod in pods if pod.template == template]
        old = [pod for pod in pods if pod.template != template]
        ready = sum(pod.is_ready for pod in pods)
        if len(new) < held.replicas and len(pods) <= held.replicas:
            self.made += 1
            node = self.nodes[self.made % len(self.nodes)]
            pods.append(ModelPod(f"{name}-{self.made}", node, template))
        elif old and (unready := [pod for pod in old if not pod.is_ready]):
            pods.remove(unready[0])
        elif (old and ready > held.replicas) or (not old and len(new) > held.replicas):
            pods.remove((old or new)[0])

    def _status(self, name: str, held: Held) -> dict[str, Any]:
        pods, template = self.pods.get(name, []), self._newest(name)
        new = [pod for pod in pods if pod.template == template]
        ready = [pod for pod in pods if pod.is_ready]
        return {
            "observedGeneration": 1 if held.looks else 0,
            "replicas": len(pods),
            "updatedReplicas": len(new),
            "readyReplicas": len(ready),
            "availableReplicas": len(ready),
        }

    def _shown(self, held: Held) -> dict[str, Any]:
        shown = _nested(held.fields)
        metadata = {**shown.get("metadata", {}), "name": held.name, "generation": 1}
        metadata["resourceVersion"] = str(held.version)
        metadata["managedFields"] = [
            {"manager": manager, "operation": operation, "fieldsV1": _tree(paths)}
            for (manager, operation), paths in held.owners.items()
            if paths
        ]
        if held.kind != "deployment":
            return {**shown, "kind": held.kind, "metadata": metadata}
        annotations = {**metadata.get("annotations", {}), REVISION: str(held.revision)}
        spec = {**shown["spec"], "replicas": held.replicas}
        status = self._status(held.name, held)
        return {
            "kind": "Deployment",
            "metadata": {**metadata, "annotations": annotations},
            "spec": spec,
            "status": status,
        }

    def _pods(self) -> list[dict[str, Any]]:
        return [self._pod(pod) for pods in self.pods.values() for pod in pods]

    def _pod(self, pod: ModelPod) -> dict[str, Any]:
        behaviour = self.images[pod.image].behaviour if pod.image in self.images else "well"
        state: dict[str, Any] = {"state": {"running": {}}, "lastState": {}, "restartCount": 0}
        if behaviour == "crash" and pod.looks > 1:
            ended = {"terminated": {"reason": "Error", "exitCode": 3}}
            state = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": ended, "restartCount": 2}
        if "sandbox" in behaviour and not pod.is_ready:
            state = {"state": {"waiting": {"reason": "ContainerCreating"}}, "lastState": {}, "restartCount": 0}
        if behaviour == "unpullable":
            state = {"state": {"waiting": {"reason": "InvalidImageName"}}, "lastState": {}, "restartCount": 0}
        ready = "True" if pod.is_ready else "False"
        return {
            "kind": "Pod",
            "metadata": {"name": pod.name, **{k: pod.template["metadata"][k] for k in ("labels", "annotations")}},
            "spec": {"nodeName": pod.node},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": ready}],
                "containerStatuses": [{"name": "server", **state}],
            },
        }

    def _events(self) -> list[dict[str, Any]]:
        """Of pods whose nodes cannot make them, one of which can at last and pulls the image for long."""
        events = []
        for pod in (pod for pods in self.pods.values() for pod in pods if pod.image in self.images):
            behaviour = self.images[pod.image].behaviour
            happened = [("Warning", "FailedCreatePodSandBox", 1)] if "sandbox" in behaviour else []
            happened += [("Normal", "Pulling", 2)] if behaviour == "late sandbox" and pod.looks > 1 else []
            events += [
                {
                    "type": kind,
                    "reason": reason,
                    "message": "network plugin\nis not ready",
                    "involvedObject": {"kind": "Pod", "name": pod.name},
                    "lastTimestamp": f"2026-01-01T00:00:0{second}Z",
                    "metadata": {},
                }
                for kind, reason, second in reversed(happened)
            ]
        return events

    def _replica_sets(self) -> list[dict[str, Any]]:
        return [
            {
                "metadata": {
                    "annotations": {REVISION: str(item["number"])},
                    "labels": {**item["template"]["metadata"]["labels"], "pod-template-hash": _hash(item["template"])},
                },
                "spec": {"template": item["template"]},
            }
            for revisions in self.revisions.values()
            for item in revisions
        ]

    def _behind(self, service: str) -> list[ModelPod]:
        wanted = _nested(self.held["service", service].fields)["spec"]["selector"].items()
        every = [pod for pods in self.pods.values() for pod in pods]
        return [pod for pod in every if wanted <= pod.template["metadata"]["labels"].items()]

    def _slices(self) -> list[dict[str, Any]]:
        return [
            {
                "metadata": {"labels": {"kubernetes.io/service-name": name}},
                "endpoints": [
                    {"conditions": {"ready": pod.is_ready}, "targetRef": {"name": pod.name}}
                    for pod in self._behind(name)
                ],
            }
            for kind, name in self.held
            if kind == "service"
        ]


_ABSENT = object()
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_KEYS = ("mountPath", "containerPort", "name", "topologyKey", "port")


def _answer(content: bytes) -> requests.Response:
    answer = requests.Response()
    answer.status_code = 200
    answer._content = content
    return answer


def _hash(template: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:9]


def _owned(document: dict[str, Any]) -> dict[str, Any]:
    """Without what identifies an object."""
    metadata = {key: value for key, value in document["metadata"].items() if key not in {"name", "namespace"}}
    return {
        **{key: value for key, value in document.items() if key not in {"apiVersion", "kind"}},
        "metadata": metadata,
    }


def _flat(value: Any, prefix: Path = ()) -> Fields:
    """Every leaf by its path, as managed fields spell it."""
    if isinstance(value, dict) and value:
        return {path: leaf for key, item in value.items() for path, leaf in _flat(item, (*prefix, f"f:{key}")).items()}
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        key = next((key for key in _KEYS if all(key in item for item in value)), None)
        if key:
            return {
                path: leaf
                for item in value
                for path, leaf in _flat(item, (*prefix, f"k:{json.dumps({key: item[key]})}")).items()
            }
    return {prefix: value}


def _nested(fields: Fields) -> dict[str, Any]:
    """The opposite of `_flat`."""
    tree: dict[str, Any] = {}
    for path, value in fields.items():
        place = tree
        for step in path[:-1]:
            place = place.setdefault(step, {})
        place[path[-1]] = {"value": value}
    found: dict[str, Any] = _valued(tree)
    return found


def _valued(tree: dict[str, Any]) -> Any:
    if set(tree) == {"value"}:
        return tree["value"]
    if any(key.startswith("k:") for key in tree):
        return [_valued(item) for item in tree.values()]
    return {key.removeprefix("f:"): _valued(item) for key, item in tree.items()}


def _paths(tree: Mapping[str, Any], path: Path = ()) -> Iterator[Path]:
    for name, below in tree.items():
        yield from _paths(below, (*path, name)) if below else [(*path, name)]


def _tree(paths: set[Path]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path in sorted(paths):
        place = tree
        for step in path:
            place = place.setdefault(step, {})
    return tree
