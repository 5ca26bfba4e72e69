"""What MLflow's search answers, whoever carries the question: HTTP to a server, or MLflow's own client."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from promotion.errors import RegistryBroken
from promotion.registry.contract import (
    ModelVersion,
    RegisteredModel,
    TrackedRun,
    by_name,
    search_literal,
    unknown_model,
    unknown_version,
    with_whole_stages,
    without_password,
)


class NotThere(Exception):
    """MLflow says RESOURCE_DOES_NOT_EXIST: it knows what it was asked for, and has none."""


class SearchedRegistry(ABC):
    """The reads that are a search; a subclass asks, writes, and says `NotThere`.

    Args:
        uri: Of the registry.
        tracking_uri: The store that keeps runs and artifacts; the registry's own unless set apart.
    """

    def __init__(self, uri: str, tracking_uri: str | None = None) -> None:
        self.uri = uri
        self._tracking_uri = tracking_uri or uri
        self._shown = without_password(uri)

    @abstractmethod
    def _listed(self) -> list[RegisteredModel]:
        """Every registered model, as MLflow lists it."""

    @abstractmethod
    def _found(self, name: str) -> RegisteredModel:
        """One registered model, as MLflow lists it; NotThere without one."""

    @abstractmethod
    def _opened(self, name: str, number: int) -> ModelVersion:
        """One version; NotThere without one."""

    @abstractmethod
    def _search(self, condition: str) -> list[ModelVersion]:
        """The versions that meet a condition; all of them for an empty one."""

    def reading(self) -> AbstractContextManager[None]:
        """Read many times; there is nothing to keep open."""
        return nullcontext()

    def models(self) -> list[RegisteredModel]:
        """Every registered model by name, each with the versions that a listing shows."""
        return sorted(with_whole_stages(self._listed(), self._search), key=lambda model: model.name)

    def model(self, name: str) -> RegisteredModel:
        """One registered model."""
        try:
            found = self._found(name)
        except NotThere as error:
            raise unknown_model(name, [model.name for model in self.models()]) from error
        return with_whole_stages([found], self._search)[0]

    def versions(self, name: str) -> list[ModelVersion]:
        """All versions of one registered model, newest first."""
        found = self._search(by_name(name))
        if not found:
            self.model(name)
        return sorted(found, key=lambda version: -version.number)

    def every_version(self) -> list[ModelVersion]:
        """All versions of all registered models, in no order."""
        return self._search("")

    def version(self, name: str, number: int) -> ModelVersion:
        """One version."""
        with self._about(name, number):
            return self._opened(name, number)

    def tagged(self, key: str, value: str) -> list[ModelVersion]:
        """All versions of all models that carry this tag, by name, newest first."""
        found = self._search(f"tags.`{key}` = {search_literal(value)}")
        # MySQL compares without case.
        exact = (version for version in found if version.tags.get(key) == value)
        return sorted(exact, key=lambda version: (version.model, -version.number))

    def runs(self, run_ids: Iterable[str]) -> dict[str, TrackedRun]:  # noqa: ARG002  # as a server is asked
        """None: they cost no less together."""
        return {}

    @contextmanager
    def _about(self, name: str, number: int) -> Iterator[None]:
        """Explain for this version what "does not exist" means."""
        try:
            yield
        except NotThere as error:
            known = [version.number for version in self.versions(name)]
            if number not in known:
                raise unknown_version(name, number, known) from error
            raise RegistryBroken(f"{self._shown}: lists {name} v{number} but cannot open it: {error}") from error
