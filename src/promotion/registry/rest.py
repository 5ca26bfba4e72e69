"""The registry behind an MLflow server, over MLflow's REST API 2.0, because importing MLflow takes longer than asking.

Only endpoints that exist since MLflow 2.3, the first release with aliases, are used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import quote

from promotion.errors import PromotionError, RegistryBroken
from promotion.registry.contract import (
    NO_NAME,
    NO_VERSION,
    ModelVersion,
    RegisteredModel,
    TrackedRun,
    as_logged,
    from_milliseconds,
    origin_deleted,
    search_literal,
    served_artifact_uri,
)
from promotion.registry.http import Json, MlflowServer
from promotion.registry.searched import NotThere, SearchedRegistry
from promotion.registry.stages import Stage

_TOGETHER = 20  # runs from which on it is quicker to ask for many at once, which takes a listing of all experiments
PAGE = 1000  # largest page that `registered-models/search` grants

Record = TypeVar("Record")


class RestRegistry(SearchedRegistry):
    """An MLflow server's model registry."""

    def __init__(self, uri: str, tracking_uri: str | None = None) -> None:
        super().__init__(uri, tracking_uri)
        self._server = MlflowServer(uri)

    def run(self, run_id: str) -> TrackedRun | None:
        """The run that made a version; None when there is none of this id."""
        if not self._tracking_uri.startswith(("http://", "https://")):
            from promotion.registry.client import ClientRegistry

            return ClientRegistry(self.uri, self._tracking_uri).run(run_id)
        try:
            answer = self._tracking.get("runs/get", run_id=run_id)
        except NotThere:
            return None
        return self._parsed(answer, "run", _run)

    def runs(self, run_ids: Iterable[str]) -> dict[str, TrackedRun]:
        """Those of many runs that the server tells at once, by their ids; any other is to be asked for by itself."""
        wanted, found = list(dict.fromkeys(run_ids)), dict[str, TrackedRun]()
        if len(wanted) < _TOGETHER or not self._tracking_uri.startswith(("http://", "https://")):
            return found
        server = self._tracking
        with suppress(PromotionError):
            experiments = self._pages(
                server.get,
                "experiments/search",
                "experiments",
                lambda item: str(item["experiment_id"]),
                view_type="ALL",
            )
            for start in range(0, len(wanted), PAGE):
                condition = f"attributes.run_id IN ({', '.join(map(search_literal, wanted[start : start + PAGE]))})"
                asked = {"filter": condition, "experiment_ids": experiments, "run_view_type": "ALL"}
                found.update(
                    self._pages(
                        server.ask,
                        "runs/search",
                        "runs",
                        lambda item: (str(item["info"]["run_id"]), _run(item)),
                        **asked,
                    )
                )
        return found

    def keeps_logged_model(self, model_id: str) -> bool:
        """Whether there is such a logged model that nobody deleted."""
        if not self._tracking_uri.startswith(("http://", "https://")):
            from promotion.registry.client import ClientRegistry

            return ClientRegistry(self.uri, self._tracking_uri).keeps_logged_model(model_id)
        try:
            self._tracking.get(f"logged-models/{quote(model_id, safe='')}")
        except NotThere:
            return False
        return True

    def artifact_uri(self, version: ModelVersion) -> str:
        """Where the artifact's files are, resolved down to a storage location."""
        # What is examined must be what consumers are sent to, whatever the version says of its source.
        with self._about(version.model, version.number):
            answer = self._server.get(
                "model-versions/get-download-uri", name=version.model, version=str(version.number)
            )
        uri = str(answer.get("artifact_uri") or version.source)
        try:
            return served_artifact_uri(self._storage(uri), self._tracking_uri)
        except NotThere as error:
            raise origin_deleted(version, uri) from error

    def set_stage(self, name: str, number: int, stage: Stage) -> None:
        """Move one version; other versions stay where they are."""
        self._write("model-versions/transition-stage", name, number, stage=stage.value, archive_existing_versions=False)

    def set_alias(self, name: str, alias: str, number: int) -> None:
        """Point an alias at a version."""
        self._write("registered-models/alias", name, number, alias=alias)

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; removing an absent one is no error."""
        try:
            self._server.send("DELETE", "registered-models/alias", name=name, alias=alias)
        except NotThere:
            self.model(name)

    def set_tag(self, name: str, number: int, key: str, value: str) -> None:
        """Write one version tag."""
        self._write("model-versions/set-tag", name, number, key=key, value=value)

    def delete_tag(self, name: str, number: int, key: str) -> None:
        """Remove one version tag; removing an absent one is no error."""
        try:
            self._server.send("DELETE", "model-versions/delete-tag", name=name, version=str(number), key=key)
        except NotThere:
            self.version(name, number)

    def set_description(self, name: str, number: int, text: str) -> None:
        """Replace what is noted about a version."""
        self._write("model-versions/update", name, number, method="PATCH", description=text)

    def delete_version(self, name: str, number: int) -> None:
        """Remove one version with its tags and aliases for good; removing an absent one is no error."""
        try:
            self._server.send("DELETE", "model-versions/delete", name=name, version=str(number))
        except NotThere:
            self.model(name)

    def require_rights(self, name: str, *, deletes: bool) -> None:
        """Find out whether a registered model may be written; writes nothing."""
        version = {"name": name, "version": str(NO_VERSION)}
        writes: list[tuple[str, str, dict[str, str | bool]]] = [
            ("POST", "model-versions/transition-stage", {"stage": NO_NAME, "archive_existing_versions": False}),
            ("POST", "registered-models/alias", {"alias": NO_NAME}),
            ("POST", "model-versions/set-tag", {"key": "stage", "value": ""}),
            ("PATCH", "model-versions/update", {"description": ""}),
        ]
        if deletes:
            writes += [
                ("DELETE", "registered-models/alias", {"alias": NO_NAME}),
                ("DELETE", "model-versions/delete-tag", {"key": "stage"}),
                ("DELETE", "model-versions/delete", {}),
            ]
        for method, endpoint, fields in writes:
            if not self._server.require_right(method, endpoint, **version, **fields):
                return

    @cached_property
    def _tracking(self) -> MlflowServer:
        """The server that keeps runs, which is mostly the registry's own."""
        return self._server if self._tracking_uri == self.uri else MlflowServer(self._tracking_uri)

    def _write(self, endpoint: str, name: str, number: int, *, method: str = "POST", **fields: str | bool) -> None:
        with self._about(name, number):
            self._server.send(method, endpoint, name=name, version=str(number), **fields)

    def _listed(self) -> list[RegisteredModel]:
        return self._pages(self._server.get, "registered-models/search", "registered_models", self._model)

    def _found(self, name: str) -> RegisteredModel:
        answer = self._server.get("registered-models/get", name=name)
        return self._parsed(answer, "registered_model", self._model)

    def _opened(self, name: str, number: int) -> ModelVersion:
        answer = self._server.get("model-versions/get", name=name, version=str(number))
        return self._parsed(answer, "model_version", self._version)

    def _search(self, condition: str) -> list[ModelVersion]:
        return self._pages(self._server.get, "model-versions/search", "model_versions", self._version, filter=condition)

    def _pages(
        self, ask: Callable[..., Json], endpoint: str, field: str, read: Callable[[Json], Record], **query: Any
    ) -> list[Record]:
        records: list[Record] = []
        tokens = {""}
        while True:
            answer = ask(endpoint, max_results=PAGE, **query)
            records += self._parsed(answer, field, lambda items: [read(item) for item in items], missing=[])
            token = str(answer.get("next_page_token") or "")
            if not token:
                return records
            if token in tokens:
                raise RegistryBroken(f"{self._shown}: {endpoint} hands out the same page for ever")
            tokens.add(token)
            query["page_token"] = token

    def _parsed(self, answer: Json, field: str, read: Callable[[Any], Record], missing: object = None) -> Record:
        try:
            return read(answer.get(field, missing))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RegistryBroken(
                f"{self._shown}: the answer's {field!r} is not what MLflow documents ({error!r}): "
                "is this an MLflow server?"
            ) from error

    def _model(self, item: Json) -> RegisteredModel:
        versions = [self._version(version) for version in item.get("latest_versions", [])]
        return RegisteredModel(
            name=item["name"],
            versions=sorted(versions, key=lambda version: -version.number),
            aliases={alias["alias"]: int(alias["version"]) for alias in item.get("aliases", [])},
        )

    def _version(self, item: Json) -> ModelVersion:
        created = int(item["creation_timestamp"])
        return ModelVersion(
            model=item["name"],
            number=int(item["version"]),
            stage=Stage.parse(item.get("current_stage") or Stage.NONE),
            status=item.get("status", "READY"),
            source=item.get("source", ""),
            run_id=item.get("run_id") or None,
            created_at=from_milliseconds(created),
            updated_at=from_milliseconds(int(item.get("last_updated_timestamp", created))),
            tags={tag["key"]: tag.get("value", "") for tag in item.get("tags", [])},
            description=item.get("description") or "",
        )

    def _storage(self, uri: str) -> str:
        """Follow `models:/m-…` and `runs:/…`, which servers keep when the version was registered from them."""
        scheme, _, path = uri.partition(":/")
        if scheme not in {"models", "runs"} or not self._tracking_uri.startswith(("http://", "https://")):
            return uri
        identifier, _, rest = path.strip("/").partition("/")
        server = self._tracking
        try:
            if scheme == "models":
                root = server.get(f"logged-models/{quote(identifier, safe='')}")["model"]["info"]["artifact_uri"]
            else:
                root = server.get("runs/get", run_id=identifier)["run"]["info"]["artifact_uri"]
        except (KeyError, TypeError) as error:
            raise RegistryBroken(f"{server.shown}: cannot say where {uri} is stored: {error}") from error
        return f"{root}/{rest}" if rest else str(root)


def _run(item: Json) -> TrackedRun:
    data = item.get("data", {})
    tags = {tag["key"]: tag.get("value", "") for tag in data.get("tags", [])}
    return TrackedRun(
        user=tags.get("mlflow.user") or item["info"].get("user_id") or None,
        tags=tags,
        metrics=as_logged({metric["key"]: metric["value"] for metric in data.get("metrics", [])}),
        datasets=[
            (found["dataset"]["name"], found["dataset"]["digest"])
            for found in item.get("inputs", {}).get("dataset_inputs", [])
        ],
        is_deleted=item["info"].get("lifecycle_stage") == "deleted",
    )
