"""A scripted stand-in for kubectl and a cluster behind it: answers in kubectl's shapes from a state file.

It is no cluster: nothing is scheduled, pulled or run. `well`, `crash`, … say how the pods of an image would do, and a
rollout goes on by one step each time somebody looks at the Deployment. Needs little of the standard library, so that it
starts fast; what few calls need is imported by them.

State (JSON in the file SCRIPTED_CLUSTER names): `images` by reference with `behaviour` and `answers`, `objects` by
namespace, kind and name, `calls` so far, `looks` a rollout takes, `away` (first and last call the API server misses),
`kill` (number of the call before which the caller is killed with SIGKILL).
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys

TYPE_CHECKING = False  # typing takes as long to import as all that a call does
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

REVISION = "deployment.kubernetes.io/revision"
START = "2026-11-21T10:00:00Z"
QUOTA = 'pods "{name}" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=3, limited: pods=3'

# What a pod of such an image shows: phase, state of the container, its last state, restarts.
TROUBLES: dict[str, tuple[str, dict[str, Any], dict[str, Any], int]] = {
    "crash": (
        "Running",
        {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s restarting failed container=server"}},
        {"terminated": {"reason": "Error", "exitCode": 3}},
        2,
    ),
    "oom": (
        "Running",
        {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s restarting failed container=server"}},
        {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
        3,
    ),
    "settings": (
        "Running",
        {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s restarting failed container=server"}},
        {"terminated": {"reason": "Error", "exitCode": 2}},
        2,
    ),
    "never ready": ("Running", {"running": {"startedAt": START}}, {}, 0),
    "unpullable": (
        "Pending",
        {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image: not found"}},
        {},
        0,
    ),
    "bad name": (
        "Pending",
        {"waiting": {"reason": "InvalidImageName", "message": "couldn't parse image name"}},
        {},
        0,
    ),
    "unschedulable": ("Pending", {}, {}, 0),
}


class Refused(Exception):
    """What kubectl would write to standard error."""


def main() -> int:
    """Answer one call."""
    flags = [item for item in sys.argv[1:] if item.startswith("--")]
    words = [item for item in sys.argv[1:] if not item.startswith("--")]
    with open(os.environ["SCRIPTED_CLUSTER"], "r+", encoding="utf-8") as file:  # noqa: PTH123  # as with typing
        fcntl.flock(file, fcntl.LOCK_EX)
        state = json.load(file)
        state["calls"].append(sys.argv[1:])
        number = len(state["calls"])
        if state.get("kill") == number:
            _write(file, state)
            os.kill(os.getppid(), signal.SIGKILL)
            return 1
        try:
            output, code = _answer(state, words, flags), 0
        except Refused as error:
            output, code = f"{error}\n", 1
        _write(file, state)
    (sys.stderr if code else sys.stdout).write(output)
    if words[0] == "diff" and output and not code:
        return 1
    if words[0] == "port-forward" and not code:
        _serve(state, output, words[-1])
    return code


def _write(file: Any, state: dict[str, Any]) -> None:
    file.seek(0)
    file.truncate()
    json.dump(state, file)


def _answer(state: dict[str, Any], words: list[str], flags: list[str]) -> str:
    verb = words[0]
    if verb == "config":
        return json.dumps({"clusters": [{"name": "c", "cluster": {"server": "https://scripted.example:6443"}}]})
    first, last = state.get("away") or (0, -1)
    if first <= len(state["calls"]) <= last:
        raise Refused(
            "The connection to the server scripted.example:6443 was refused - did you specify the right host or port?"
        )
    namespace = next(flag.partition("=")[2] for flag in flags if flag.startswith("--namespace="))
    if namespace not in state["objects"]:
        raise Refused(f'Error from server (NotFound): namespaces "{namespace}" not found')
    objects = state["objects"][namespace]
    answers: dict[str, Callable[[], str]] = {
        "apply": lambda: _apply(objects),
        "diff": lambda: _diff(objects),
        "get": lambda: _get(state, objects, words),
        "rollout": lambda: _undo(objects, words[2].partition("/")[2], flags),
        "delete": lambda: _delete(objects, words[1:]),
        "patch": lambda: _patch(objects[words[1]], flags),
        "logs": lambda: "loading the model\nValueError: weights are damaged\n",
        "port-forward": lambda: _way(objects, words[-2]),
    }
    return answers[verb]()


def _documents() -> list[dict[str, Any]]:
    sys.path.append(os.environ["SCRIPTED_LIBRARIES"])
    import yaml

    return list(yaml.load_all(sys.stdin.read(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def _key(document: dict[str, Any]) -> str:
    return f"{document['kind'].lower()}/{document['metadata']['name']}"


def _apply(objects: dict[str, Any]) -> str:
    lines = []
    documents = _documents()
    for document in documents:
        key = _key(document)
        lines.append(f"{key} serverside-applied")
        if document["kind"] == "Deployment":
            _roll(objects, key, document)
        else:
            objects[key] = document
    return "\n".join(lines) + "\n"


def _roll(objects: dict[str, Any], key: str, document: dict[str, Any]) -> None:
    known = objects.get(key)
    name = document["metadata"]["name"]
    scaler = objects.get(f"horizontalpodautoscaler/{name}", {"spec": {"minReplicas": 1}})
    before = known["spec"].get("replicas") if known else scaler["spec"]["minReplicas"]
    document["spec"].setdefault("replicas", before)
    kept = known or {"metadata": {"generation": 0, "annotations": {}}, "status": {}}
    changed = known is None or known["spec"] != document["spec"]
    document["status"] = kept["status"]
    document["looked"] = kept.get("looked", 0)
    document["metadata"]["generation"] = kept["metadata"]["generation"] + changed
    annotations = document["metadata"].setdefault("annotations", {})
    annotations[REVISION] = kept["metadata"]["annotations"].get(REVISION, "0")
    objects[key] = document
    if known is None or known["spec"]["template"] != document["spec"]["template"]:
        _revise(objects, document)


def _revise(objects: dict[str, Any], deployment: dict[str, Any]) -> None:
    """What the Deployment controller does with a template: a new ReplicaSet, or an old one under a new number."""
    import hashlib

    template, metadata = deployment["spec"]["template"], deployment["metadata"]
    mark = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:9]
    number = str(int(metadata["annotations"].get(REVISION, "0")) + 1)
    metadata["annotations"][REVISION] = number
    labels = {**template["metadata"]["labels"], "pod-template-hash": mark}
    objects[f"replicaset/{metadata['name']}-{mark}"] = {
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{metadata['name']}-{mark}",
            "labels": labels,
            "annotations": dict(metadata["annotations"]),
        },
        "spec": {"template": template},
    }
    deployment["looked"] = 0


def _diff(objects: dict[str, Any]) -> str:
    import difflib

    lines: list[str] = []
    context = 10**6 if "KUBECTL_EXTERNAL_DIFF" in os.environ else 0
    for document in _documents():
        known = dict(objects.get(_key(document), {}))
        if document["kind"] == "Deployment" and known:
            # As the API server would answer: what others own stays.
            document["spec"].setdefault("replicas", known["spec"]["replicas"])
            document["metadata"]["annotations"].setdefault(REVISION, known["metadata"]["annotations"][REVISION])
            document["metadata"]["generation"] = known["metadata"]["generation"]
        known = {part: known[part] for part in document if part in known}
        before, after = (json.dumps(item, indent=1, sort_keys=True).splitlines() for item in (known, document))
        lines += difflib.unified_diff(before, after, "LIVE", "MERGED", lineterm="", n=context)
    return "".join(f"{line}\n" for line in lines)


def _get(state: dict[str, Any], objects: dict[str, Any], words: list[str]) -> str:
    kind = words[1]
    if kind == "deployment":
        found = objects.get(f"deployment/{words[2]}")
        if found is None:
            raise Refused(f'Error from server (NotFound): deployments.apps "{words[2]}" not found')
        found["looked"] += 1
        _progress(state, found)
        return json.dumps(found)
    if kind == "horizontalpodautoscaler":
        # Nobody scales here, so there is nothing to wait for.
        raise Refused(f'Error from server (NotFound): {kind} "{words[2]}" not found')
    selector = sys.argv[sys.argv.index("--selector") + 1] if "--selector" in sys.argv else ""
    listed: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "pods": lambda: _pods(state, objects),
        "events": lambda: _events(state, objects),
        "replicasets": lambda: [item for key, item in objects.items() if key.startswith("replicaset/")],
        "endpointslices.discovery.k8s.io": lambda: _slices(state, objects),
    }
    items = listed[kind]()
    wanted = dict(part.split("=") for part in selector.split(",")) if selector else {}
    chosen = [item for item in items if wanted.items() <= item["metadata"].get("labels", {}).items()]
    return json.dumps({"kind": "List", "items": chosen})


def _image(deployment: dict[str, Any]) -> str:
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


def _behaviour(state: dict[str, Any], deployment: dict[str, Any]) -> str:
    return str(state["images"][_image(deployment)]["behaviour"])


def _is_bad(state: dict[str, Any], deployment: dict[str, Any]) -> bool:
    return _behaviour(state, deployment) in {*TROUBLES, "quota"}


def _progress(state: dict[str, Any], deployment: dict[str, Any]) -> None:
    """The status after so many looks: first the controller has not seen it, at last it is through, or stuck."""
    looks, desired = state.get("looks", 1), deployment["spec"]["replicas"]
    status, generation = deployment["status"], deployment["metadata"]["generation"]
    if deployment["looked"] < looks:
        return
    old = status.get("availableReplicas", 0)
    conditions = [{"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated", "message": ""}]
    if not _is_bad(state, deployment):
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), desired)
    elif _behaviour(state, deployment) == "quota":
        counts = {"replicas": old, "readyReplicas": old, "availableReplicas": old}
        message = QUOTA.format(name=deployment["metadata"]["name"])
        conditions.append({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message})
    else:
        counts = {"replicas": old + 1, "updatedReplicas": 1, "readyReplicas": old, "availableReplicas": old}
    deployment["status"] = {"observedGeneration": generation, "conditions": conditions, **counts}


def _pods(state: dict[str, Any], objects: dict[str, Any]) -> list[dict[str, Any]]:
    pods = []
    for key, deployment in objects.items():
        if not key.startswith("deployment/"):
            continue
        behaviour = _behaviour(state, deployment)
        is_bad = _is_bad(state, deployment)
        count = 1 if is_bad else deployment["spec"]["replicas"]
        if is_bad and deployment["status"].get("availableReplicas"):
            pods.append(_old_pod(objects, deployment))
        pods += [_pod(deployment, behaviour, number) for number in range(0 if behaviour == "quota" else count)]
    return pods


def _old_pod(objects: dict[str, Any], deployment: dict[str, Any]) -> dict[str, Any]:
    """One of the pods that serve while the new one does not come."""
    name = deployment["metadata"]["name"]
    older = [item for key, item in objects.items() if key.startswith(f"replicaset/{name}-")]
    older.sort(key=lambda item: int(item["metadata"]["annotations"][REVISION]))
    template = (older[-2] if len(older) > 1 else older[-1])["spec"]["template"]
    return _pod({"metadata": {"name": f"{name}-old"}, "spec": {"template": template}}, "well", 0)


def _pod(deployment: dict[str, Any], behaviour: str, number: int) -> dict[str, Any]:
    template = deployment["spec"]["template"]
    operation = template["metadata"]["annotations"]["promotion/operation"]
    running = {"running": {"startedAt": START}}
    phase, state, last, restarts = TROUBLES.get(behaviour, ("Running", running, {}, 0))
    is_ready = behaviour not in TROUBLES
    conditions = [
        {"type": "PodScheduled", "status": "True"},
        {"type": "Ready", "status": "True" if is_ready else "False"},
    ]
    containers = [
        {"name": "server", "ready": is_ready, "restartCount": restarts, "state": state, "lastState": last},
    ]
    if behaviour == "unschedulable":
        message = "0/3 nodes are available: 3 Insufficient memory."
        conditions = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]
        containers = []
    return {
        "kind": "Pod",
        "metadata": {
            "name": f"{deployment['metadata']['name']}-{operation[:6]}-{number}",
            "labels": template["metadata"]["labels"],
            "annotations": template["metadata"]["annotations"],
        },
        "spec": {"nodeName": "one"},
        "status": {"phase": phase, "conditions": conditions, "containerStatuses": containers},
    }


def _events(state: dict[str, Any], objects: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "metadata": {"name": f"{pod['metadata']['name']}.1", "creationTimestamp": START},
            "type": "Warning",
            "reason": "BackOff",
            "message": "Back-off restarting failed container server in pod",
            "involvedObject": {"kind": "Pod", "name": pod["metadata"]["name"]},
            "lastTimestamp": START,
        }
        for pod in _pods(state, objects)
        if pod["status"]["conditions"][-1]["status"] == "False"
    ]


def _slices(state: dict[str, Any], objects: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for key, service in objects.items():
        if not key.startswith("service/"):
            continue
        wanted = service["spec"]["selector"].items()
        endpoints = [
            {
                "conditions": {"ready": pod["status"]["conditions"][-1]["status"] == "True"},
                "targetRef": {"kind": "Pod", "name": pod["metadata"]["name"]},
            }
            for pod in _pods(state, objects)
            if wanted <= pod["metadata"]["labels"].items()
        ]
        labels = {"kubernetes.io/service-name": service["metadata"]["name"]}
        found.append(
            {"metadata": {"name": f"{service['metadata']['name']}-x", "labels": labels}, "endpoints": endpoints}
        )
    return found


def _undo(objects: dict[str, Any], name: str, flags: list[str]) -> str:
    number = next(flag.partition("=")[2] for flag in flags if flag.startswith("--to-revision="))
    deployment = objects[f"deployment/{name}"]
    for key, item in objects.items():
        if key.startswith(f"replicaset/{name}-") and item["metadata"]["annotations"][REVISION] == number:
            deployment["spec"]["template"] = item["spec"]["template"]
            # kubectl puts back what the Deployment said of itself then; the controller had copied it.
            said = {name: value for name, value in item["metadata"]["annotations"].items() if name != REVISION}
            deployment["metadata"]["annotations"] |= said
            deployment["metadata"]["generation"] += 1
            _revise(objects, deployment)
            return f"deployment.apps/{name} rolled back\n"
    raise Refused(f"error: unable to find specified revision {number} in history")


def _delete(objects: dict[str, Any], keys: list[str]) -> str:
    gone = [key for key in keys if objects.pop(key, None)]
    return "".join(f"{key} deleted\n" for key in gone)


def _patch(deployment: dict[str, Any], flags: list[str]) -> str:
    """A merge patch of the specification's own fields."""
    assert "--type=merge" in flags
    (patch,) = [json.loads(flag.partition("=")[2]) for flag in flags if flag.startswith("--patch=")]
    deployment["spec"] |= patch["spec"]
    deployment["metadata"]["generation"] += 1
    return "patched\n"


def _way(objects: dict[str, Any], target: str) -> str:
    """The image behind a Service, a Deployment or a pod."""
    kind, _, name = target.partition("/")
    if kind == "pod":
        name = name.rsplit("-", 2)[0]
    key = f"deployment/{name}"
    if key not in objects or (kind == "service" and target not in objects):
        raise Refused(f'Error from server (NotFound): services "{name}" not found')
    return _image(objects[key])


def _serve(state: dict[str, Any], image: str, ports: str) -> None:
    answers = state["images"][image]["answers"]
    port = ports.partition(":")[0]
    if "serves" in answers:
        # The real server in place of a pod: an export folder is all it needs.
        environment = {"MODEL_DIR": answers["serves"], "HOST": "127.0.0.1", "PORT": port, "IMAGE": image}
        environment["PYTHONPATH"] = os.environ["SCRIPTED_SOURCES"]
        os.execve(sys.executable, [sys.executable, "-m", "promotion.serving"], environment)  # noqa: S606

    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say(answers["version"])

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._say(answers["predict"])

        def _say(self, document: Any) -> None:
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    parent = os.getppid()
    with HTTPServer(("127.0.0.1", int(port)), Handler) as server:
        server.timeout = 1.0
        while os.getppid() == parent:
            server.handle_request()
