"""What an affected MLflow does on a file store when nothing of ours is around it; prints one JSON object.

Runs under the affected MLflow, after representer_training.py: `python representer_probe.py TRACKING_URI`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import mlflow

mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()


def outcome(call: Callable[[], object]) -> str:
    """The class of what `call` raises, with its module, or `done`."""
    try:
        call()
    except Exception as error:  # noqa: BLE001  # whatever comes is the finding
        return f"{type(error).__module__}.{type(error).__name__}"
    return "done"


def move(*, archive: bool) -> object:
    """The stage transition of the version that has a metric."""
    return client.transition_model_version_stage("churn", "2", "Production", archive_existing_versions=archive)


def production() -> list[int]:
    """Numbers of the versions in Production."""
    versions = client.search_model_versions("name = 'churn'")
    return [int(version.version) for version in versions if version.current_stage == "Production"]


found = {
    "plain": outcome(lambda: move(archive=False)),
    "production after plain": production(),
    "repeated": outcome(lambda: move(archive=False)),
    "archiving": outcome(lambda: move(archive=True)),
    "production after archiving": production(),
    "description": outcome(lambda: client.update_model_version("churn", "2", "text")),
    "alias": outcome(lambda: client.set_registered_model_alias("churn", "production", "2")),
    "tag": outcome(lambda: client.set_model_version_tag("churn", "2", "stage", "Production")),
    "rename": outcome(lambda: client.rename_registered_model("churn", "attrition")),
    "search after rename": outcome(client.search_registered_models),
}
sys.stdout.write(json.dumps(found))
