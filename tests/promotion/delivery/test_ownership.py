"""Who set which field of a Deployment, read from what an API server keeps about it."""

from __future__ import annotations

import json
from typing import Any

from promotion.delivery.kubernetes.ownership import foreign_fields, owned_by_us

SERVER = 'k:{"name":"server"}'
HTTP = 'k:{"containerPort":8080,"protocol":"TCP"}'
WANTED = {
    "spec": {
        "template": {"spec": {"containers": [{"name": "server", "image": "i:1", "ports": [{"containerPort": 8080}]}]}}
    }
}


def an_entry(manager: str, operation: str, spec: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One manager's part."""
    entry = {"manager": manager, "operation": operation, "apiVersion": "apps/v1", "fieldsType": "FieldsV1"}
    return entry | {"fieldsV1": {"f:spec": spec}} | more


def in_server(**fields: Any) -> dict[str, Any]:
    """Fields of the server's container."""
    return {"f:template": {"f:spec": {"f:containers": {SERVER: {".": {}, **fields}}}}}


OURS = an_entry(
    "promotion-layer", "Apply", in_server(**{"f:name": {}, "f:image": {}, "f:ports": {HTTP: {"f:containerPort": {}}}})
)
SCALER = an_entry("kube-controller-manager", "Update", {"f:replicas": {}}, subresource="scale")
STATUS = {"manager": "kube-controller-manager", "operation": "Update", "fieldsV1": {"f:status": {}}}


def a_deployment(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"managedFields": list(entries)}}


def test_what_nobody_else_set_is_not_foreign() -> None:
    """Ours, the autoscaler's number of pods, and the controller's status."""
    assert [] == foreign_fields(a_deployment(OURS, SCALER, STATUS), WANTED)


def test_a_command_and_a_variable_are_named_with_who_set_them() -> None:
    """Also by a manager that applies."""
    command = an_entry("kubectl-patch", "Update", in_server(**{"f:command": {}}))
    variable = an_entry("argocd", "Apply", in_server(**{"f:env": {'k:{"name":"X"}': {".": {}, "f:value": {}}}}))

    assert [
        "spec.template.spec.containers[server].command (set by kubectl-patch)",
        "spec.template.spec.containers[server].env[X].value (set by argocd)",
    ] == foreign_fields(a_deployment(OURS, command, variable), WANTED)


def test_what_the_manifests_say_is_not_foreign_whoever_wrote_it_last() -> None:
    """Going back to a revision writes the template as kubectl; a port without a protocol has TCP."""
    undo = an_entry(
        "kubectl", "Update", in_server(**{"f:image": {}, "f:ports": {HTTP: {".": {}, "f:containerPort": {}}}})
    )

    assert [] == foreign_fields(a_deployment(OURS, undo), WANTED)


def test_a_deployment_made_anew_from_what_was_printed_is_as_it_was() -> None:
    """`kubectl create` owns all of it then, defaults too; a value that is no default is somebody's."""
    spec = {
        "template": {
            "spec": {
                "dnsPolicy": "ClusterFirst",
                "restartPolicy": "Always",
                "serviceAccount": "tiny",
                "schedulerName": "own-scheduler",
                "containers": [
                    {
                        "name": "server",
                        "image": "i:1",
                        "terminationMessagePath": "/dev/termination-log",
                        "ports": [{"containerPort": 8080, "protocol": "TCP"}],
                    }
                ],
            }
        }
    }
    server: dict[str, Any] = {"f:name": {}, "f:image": {}, "f:terminationMessagePath": {}}
    fields = in_server(**server, **{"f:ports": {HTTP: {".": {}, "f:containerPort": {}, "f:protocol": {}}}})
    fields["f:template"]["f:spec"] |= {
        f"f:{name}": {} for name in ("dnsPolicy", "restartPolicy", "serviceAccount", "schedulerName")
    }
    made = a_deployment(an_entry("kubectl-create", "Update", fields))

    assert ["spec.template.spec.schedulerName (set by kubectl-create)"] == foreign_fields(made | {"spec": spec}, WANTED)


def test_a_restart_changes_nothing_that_runs() -> None:
    """`kubectl rollout restart` writes a time into the template."""
    restart = an_entry(
        "kubectl-rollout",
        "Update",
        {"f:template": {"f:metadata": {"f:annotations": {"f:kubectl.kubernetes.io/restartedAt": {}}}}},
    )

    assert [] == foreign_fields(a_deployment(OURS, restart), WANTED)


def test_the_specification_becomes_ours_but_for_the_number_of_pods() -> None:
    """What others own elsewhere stays theirs; what is handed over is not changed where it was read."""
    command = in_server(**{"f:command": {}})
    patched = an_entry("kubectl-patch", "Update", {**command, "f:replicas": {}})
    patched["fieldsV1"]["f:metadata"] = {"f:labels": {"f:theirs": {}}}
    found = a_deployment(OURS, patched, SCALER, STATUS)
    before = json.dumps(found)

    ours, theirs, scaler, status = owned_by_us(found)

    assert before == json.dumps(found)
    assert {".", "f:name", "f:image", "f:ports", "f:command"} == set(
        ours["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"][SERVER]
    )
    assert {"f:metadata": {"f:labels": {"f:theirs": {}}}, "f:spec": {"f:replicas": {}}} == theirs["fieldsV1"]
    assert [SCALER, STATUS] == [scaler, status]


def test_a_deployment_that_somebody_else_made_becomes_ours() -> None:
    """There is no part of ours yet, and none of theirs is left where they own nothing else."""
    (ours,) = owned_by_us(a_deployment(an_entry("helm", "Update", in_server(**{"f:command": {}}))))

    assert ("promotion-layer", "Apply", "apps/v1") == (ours["manager"], ours["operation"], ours["apiVersion"])
    assert in_server(**{"f:command": {}}) == ours["fieldsV1"]["f:spec"]
