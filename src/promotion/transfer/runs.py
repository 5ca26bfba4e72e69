"""The run that made a version, read from one server and written to another: parameters, metrics, tags, data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promotion.registry.contract import search_literal
from promotion.registry.tracking import open_experiment, readable_failures

KEY_TAG = "promotion.transfer"
"""On the target's run: which transfer it belongs to, so that one that was interrupted finds it again."""

_LONGEST_TAG = 5000
"""Characters that every MLflow from 2.9 on takes."""
_BATCH = 500
_LEFT_OUT = ("mlflow.parentRunId", "mlflow.log-model.history", KEY_TAG)
"""Tags that name things of the server they were written on."""


@dataclass(frozen=True, slots=True)
class CarriedRun:
    """A run as it is carried.

    Attributes:
        experiment: Name of its experiment.
        params: By name.
        tags: By name.
        metrics: Every value that was ever logged, as MLflow's own records.
        inputs: Data sets, as MLflow's own records.
        status: How it ended.
        start: When it began, milliseconds since 1970; None when nobody knows.
        end: When it ended.
        model_description: What people wrote about the registered model that it gave a version; empty when nobody did.
    """

    experiment: str
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[Any] = ()
    inputs: Sequence[Any] = ()
    status: str = "FINISHED"
    start: int | None = None
    end: int | None = None
    model_description: str = ""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What of it is not written whole, and why."""
        cut = sorted(name for name, text in self.tags.items() if len(text) > _LONGEST_TAG)
        return tuple(
            f"the run's tag {name!r} is cut to {_LONGEST_TAG:,} characters, what every MLflow takes" for name in cut
        )


def read_run(uri: str, run_id: str | None, experiment: str) -> CarriedRun:
    """Read a run whole; one that is gone is carried as an empty one.

    Args:
        uri: The tracking server.
        run_id: Which run; None for a version that has none.
        experiment: Where an empty run goes.

    Raises:
        RegistryError: The server does not answer.
    """
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.exceptions import MlflowException

    if run_id is None:
        return CarriedRun(experiment)
    with readable_failures(uri):
        client = MlflowClient(uri, uri)
        try:
            run = client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return CarriedRun(experiment)
            raise
        history = [item for name in run.data.metrics for item in client.get_metric_history(run_id, name)]
        return CarriedRun(
            experiment=client.get_experiment(run.info.experiment_id).name,
            params=dict(run.data.params),
            tags={name: text for name, text in run.data.tags.items() if name not in _LEFT_OUT},
            # Without the logged model that MLflow 3 ties them to: the target has no such model, and may refuse them.
            metrics=[Metric(item.key, item.value, item.timestamp, item.step) for item in history],
            inputs=list(run.inputs.dataset_inputs) if run.inputs else [],
            status=run.info.status,
            start=run.info.start_time,
            end=run.info.end_time,
        )


@dataclass(frozen=True, slots=True)
class TargetRuns:
    """Writes runs on a server.

    Attributes:
        uri: The tracking server.
        artifacts: Where files go when it is a SQLite file; None for a server, which decides itself.
    """

    uri: str
    artifacts: Path | None

    def write(self, run: CarriedRun, key: str, added: Mapping[str, str]) -> tuple[str, str]:
        """Write a run, or finish one that an interrupted transfer began.

        Args:
            run: As it was read.
            key: Of the transfer.
            added: Tags that say where it comes from.

        Returns:
            Its id there, and the address of its files.

        Raises:
            RegistryError: The server does not answer, or refuses.
        """
        from mlflow import MlflowClient
        from mlflow.entities import Param

        with readable_failures(self.uri):
            client = MlflowClient(self.uri, self.uri)
            experiment = open_experiment(client, run.experiment, self.artifacts)
            condition = f"tags.`{KEY_TAG}` = {search_literal(key)}"
            found = client.search_runs([experiment], condition, max_results=1)
            tags = {name: text[:_LONGEST_TAG] for name, text in {**run.tags, **added, KEY_TAG: key}.items()}
            begun = found[0] if found else client.create_run(experiment, run.start, tags)
            run_id = begun.info.run_id
            params = [Param(name, text) for name, text in run.params.items() if begun.data.params.get(name) != text]
            for start in range(0, len(params), 100):
                client.log_batch(run_id, params=params[start : start + 100])
            missing = _unlogged(client, run_id, run.metrics) if found else list(run.metrics)
            for start in range(0, len(missing), _BATCH):
                client.log_batch(run_id, metrics=missing[start : start + _BATCH])
            if run.inputs:
                client.log_inputs(run_id, run.inputs)
            if begun.info.end_time is None:
                client.set_terminated(run_id, run.status if run.end else "FINISHED", run.end)
            return run_id, str(begun.info.artifact_uri)


def _unlogged(client: Any, run_id: str, metrics: Sequence[Any]) -> list[Any]:
    """Values that an interrupted transfer had not written yet: not every store leaves out what it has."""
    known = {
        (item.key, item.step, item.timestamp, str(item.value))
        for name in {item.key for item in metrics}
        for item in client.get_metric_history(run_id, name)
    }
    return [item for item in metrics if (item.key, item.step, item.timestamp, str(item.value)) not in known]
