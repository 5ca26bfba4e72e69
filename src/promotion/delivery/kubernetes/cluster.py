"""The only door to a cluster: kubectl, called with argument lists and a time-out, its failures in plain words."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from promotion.delivery.errors import ClusterError, ClusterForbidden, ClusterUnreachable
from promotion.delivery.kubernetes.differences import WHOLE, read_differences
from promotion.errors import UsageError

FIELD_MANAGER = "promotion-layer"
"""Owns what we apply; `kubectl get --show-managed-fields` names it."""

WITH_OWNERS = "--show-managed-fields"
"""Behind `get`: also who set which field."""

IN_CLUSTER = "in-cluster"
"""What stands for the API server of the cluster we run in ourselves, with a pod's own account."""

_REQUEST_SECONDS = 15
# More than one request takes, since a command may make several.
_COMMAND_SECONDS = 60
_FORWARD_SECONDS = 20

_AWAY = re.compile(
    r"unable to connect to the server|connection refused|did you specify the right host or port|i/o timeout"
    r"|no such host|TLS handshake timeout|context deadline exceeded|Client\.Timeout|request canceled"
    r"|unexpected EOF|: EOF"
    r"|connection reset by peer|no route to host|network is unreachable|ServiceUnavailable"
    r"|currently unable to handle the request|etcdserver|InternalError|Timeout: request did not complete",
    re.IGNORECASE,
)
_FORBIDDEN = re.compile(
    r"\(Forbidden\)|\(Unauthorized\)|is forbidden|You must be logged in|Unauthorized", re.IGNORECASE
)
_QUOTA = re.compile(r"exceeded quota", re.IGNORECASE)
_NOT_FOUND = re.compile(r"\(NotFound\)")


@dataclass(frozen=True, slots=True)
class Cluster:
    """One namespace of one cluster.

    Attributes:
        namespace: Where everything is read and written.
        context: Of the kubeconfig; None for the current one.
    """

    namespace: str
    context: str | None = None

    def server(self) -> str:
        """URL of the API server, as the kubeconfig names it.

        Raises:
            UsageError: kubectl is missing, or the context does not exist.
        """
        arguments = ["config", "view", "--minify", "--output", "json"]
        try:
            shown = json.loads(self._kubectl(arguments))
        except ClusterError as error:
            if self.context is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
                return IN_CLUSTER
            raise UsageError(f"{error}; name a context of the kubeconfig with --context") from error
        clusters = shown.get("clusters") or []
        return str(clusters[0]["cluster"]["server"]) if clusters else IN_CLUSTER

    def get(self, *what: str) -> dict[str, Any] | None:
        """An object, or a list of objects, as JSON; None when there is none of that name.

        Args:
            what: As behind `kubectl get`.
        """
        try:
            output = self._kubectl(["get", *what, "--output", "json"])
        except ClusterError as error:
            if _NOT_FOUND.search(str(error)):
                return None
            raise
        found: dict[str, Any] = json.loads(output)
        return found

    def objects(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """All objects of a kind that carry the labels."""
        found = self.get(kind, *(["--selector", selector] if selector else [])) or {}
        items: list[dict[str, Any]] = found.get("items", [])
        return items

    def apply(self, manifests: str) -> None:
        """Make the cluster hold what the manifests say; fields that others own stay theirs unless we say them too."""
        self._kubectl(["apply", *_SERVER_SIDE, "--filename", "-"], stdin=manifests)

    def difference(self, manifests: str) -> str:
        """What an apply would change, as a diff; empty when nothing."""
        return self._kubectl(["diff", *_SERVER_SIDE, "--filename", "-"], stdin=manifests, fine=(0, 1))

    def differences(self, manifests: str) -> list[str]:
        """What an apply would change, a line a field."""
        changes = {"KUBECTL_EXTERNAL_DIFF": WHOLE}
        return read_differences(
            self._kubectl(["diff", *_SERVER_SIDE, "--filename", "-"], stdin=manifests, fine=(0, 1), changes=changes)
        )

    def hand_over(self, deployment: str, managed_fields: list[dict[str, Any]], version: str) -> None:
        """Rewrite who owns which field of a Deployment, unless it changed since it was read as `version`."""
        patch = [
            {"op": "replace", "path": "/metadata/managedFields", "value": managed_fields},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
        ]
        self._kubectl(["patch", f"deployment/{deployment}", "--type=json", f"--patch={json.dumps(patch)}"])

    def scale(self, deployment: str, replicas: int) -> None:
        """Set how many pods a Deployment shall have that no autoscaler cares for."""
        patch = json.dumps({"spec": {"replicas": replicas}})
        self._kubectl(["patch", f"deployment/{deployment}", "--type=merge", f"--patch={patch}"])

    def undo(self, deployment: str, revision: int) -> None:
        """Put a Deployment back to an earlier revision."""
        self._kubectl(["rollout", "undo", f"deployment/{deployment}", f"--to-revision={revision}"])

    def delete(self, *objects: str) -> None:
        """Delete objects, given as `kind/name`; one that is not there is fine."""
        self._kubectl(["delete", *objects, "--ignore-not-found", "--wait=false"])

    def logs(self, pod: str, *, previous: bool, lines: int) -> list[str]:
        """The end of what a pod's server wrote; empty when there is nothing to read."""
        arguments = ["logs", pod, "--container", "server", f"--tail={lines}"]
        try:
            return self._kubectl([*arguments, *(["--previous"] if previous else [])]).splitlines()
        except ClusterError:
            return []

    @contextmanager
    def forward(self, target: str, port: str) -> Iterator[str]:
        """Open a way to a pod behind `service/NAME` or `deployment/NAME`.

        Args:
            target: Where to.
            port: Its port, by number.

        Yields:
            The base URL that leads there.

        Raises:
            ClusterError: No way could be opened in time.
        """
        with socket.create_server(("127.0.0.1", 0)) as free:
            local = free.getsockname()[1]
        command = self._command(["port-forward", "--address", "127.0.0.1", target, f"{local}:{port}"], waits=True)
        with subprocess.Popen(  # noqa: S603  # an argument list, no shell
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                _wait_for(local, process, target)
                yield f"http://127.0.0.1:{local}"
            finally:
                process.kill()

    def _kubectl(
        self,
        arguments: Sequence[str],
        *,
        stdin: str | None = None,
        fine: Sequence[int] = (0,),
        changes: Mapping[str, str] | None = None,
    ) -> str:
        command = self._command(arguments)
        try:
            done = subprocess.run(  # noqa: S603  # an argument list, no shell
                command,
                input=stdin or "",
                capture_output=True,
                text=True,
                check=False,
                timeout=_COMMAND_SECONDS,
                env=os.environ | changes if changes else None,
            )
        except subprocess.TimeoutExpired as error:
            message = f"kubectl {arguments[0]} on {self.namespace} gave no answer within {_COMMAND_SECONDS} s"
            raise ClusterUnreachable(f"{message}: is the API server well?") from error
        if done.returncode not in fine:
            raise _failure(self.namespace, arguments, done.stderr)
        return done.stdout

    def _command(self, arguments: Sequence[str], *, waits: bool = False) -> list[str]:
        program = kubectl()
        where = [f"--namespace={self.namespace}", *([f"--context={self.context}"] if self.context else [])]
        # A way that stays open must not end with its first request.
        return [program, *where, *([] if waits else [f"--request-timeout={_REQUEST_SECONDS}s"]), *arguments]


_SERVER_SIDE = ("--server-side", f"--field-manager={FIELD_MANAGER}", "--force-conflicts")


def kubectl() -> str:
    """Where kubectl is.

    Raises:
        UsageError: It is not installed.
    """
    program = shutil.which("kubectl")
    if program is None:
        raise UsageError(
            "kubectl is not on the PATH: install it (Debian: apt-get install kubernetes-client), it is the only door "
            "to the cluster"
        )
    return program


def _failure(namespace: str, arguments: Sequence[str], stderr: str) -> ClusterError:
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and not line.startswith("Warning:")]
    said = lines[-1] if lines else "no reason given"
    what = f"kubectl {arguments[0]} on {namespace}: {said}"
    if _QUOTA.search(stderr):
        return ClusterError(what)
    if _AWAY.search(stderr):
        return ClusterUnreachable(what)
    if _FORBIDDEN.search(stderr):
        return ClusterForbidden(f"{what}; the rights it takes are in k8s/cluster")
    if "namespaces" in said and _NOT_FOUND.search(said):
        return ClusterError(f"{what}; an administrator makes it once: kubectl apply -k k8s/cluster")
    return ClusterError(what)


def _wait_for(port: int, process: subprocess.Popen[str], target: str) -> None:
    deadline = time.monotonic() + _FORWARD_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            said = (process.stderr.read() if process.stderr else "").strip().splitlines()
            raise _failure(target, ["port-forward"], said[-1] if said else "")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise ClusterUnreachable(f"kubectl port-forward to {target} did not open within {_FORWARD_SECONDS} s")
