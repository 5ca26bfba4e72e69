"""The YAML error of MLflow's file store, raised here by PyYAML itself."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import yaml
from yaml.representer import RepresenterError

from promotion.errors import RegistryBroken, RegistryForbidden, RegistryUnreachable
from promotion.registry.failures import registry_error
from promotion.registry.retry import is_representer_error, retry_projection


class RepresentationError(Exception):
    """The name older documents give it."""


def write_metric() -> None:
    """What the affected file store does: dump an object YAML has no form for."""
    yaml.safe_dump({"metrics": [object()]})


def failing(times: int, error: Callable[[], Exception]) -> tuple[Callable[[], str], list[float]]:
    """A call that fails so many times, then answers; and when it was made."""
    calls: list[float] = []

    def call() -> str:
        calls.append(time.monotonic())
        if len(calls) <= times:
            raise error()
        return "done"

    return call, calls


def test_the_real_class_is_recognised() -> None:
    """PyYAML's own exception is recognised, directly and as the cause of one of ours."""
    with pytest.raises(RepresenterError) as caught:
        write_metric()
    assert is_representer_error(caught.value)
    ours = registry_error("file:///srv/mlruns", caught.value)
    assert isinstance(ours, RegistryBroken)
    assert is_representer_error(ours)
    assert "MLFLOW-WORKAROUND.md" in str(ours)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RepresentationError("cannot represent"), True),
        (
            RegistryBroken("server answered 500 (yaml.representer.RepresenterError: ('cannot represent an object',))"),
            True,
        ),
        (RuntimeError("RepresentationError"), True),
        (RegistryBroken("server answered 500 (Internal Server Error)"), False),
        (RuntimeError("MyRepresenterErrors are different"), False),
    ],
)
def test_the_name_is_recognised_wherever_it_stands(error: Exception, *, expected: bool) -> None:
    """By class name or inside a server's answer, as a whole word."""
    assert expected is is_representer_error(error)


def test_a_cause_is_found_below_other_exceptions() -> None:
    """Wrapping hides nothing."""
    outer = RuntimeError("outer")
    with pytest.raises(RepresenterError) as caught:
        write_metric()
    outer.__cause__ = caught.value
    assert is_representer_error(outer)


@pytest.mark.system
def test_the_real_error_is_tried_three_times_then_broken() -> None:
    """The same call cannot succeed, so after three tries in seconds the caller is told to fall back."""
    calls: list[float] = []

    def call() -> None:
        calls.append(time.monotonic())
        write_metric()

    with pytest.raises(RegistryBroken, match=r"3 times with RepresenterError.*MLFLOW-WORKAROUND") as caught:
        retry_projection(call)
    assert 3 == len(calls)
    assert calls[-1] - calls[0] < 10
    assert calls[2] - calls[1] > calls[1] - calls[0] > 0.1
    assert isinstance(caught.value.__cause__, RepresenterError)


@pytest.mark.system
def test_a_translated_error_keeps_its_words() -> None:
    """An error that already says what to do is raised as it is."""
    call, calls = failing(9, lambda: RegistryBroken("file store: RepresenterError: known"))
    with pytest.raises(RegistryBroken, match=r"^file store: RepresenterError: known$"):
        retry_projection(call)
    assert 3 == len(calls)


def test_two_writers_of_one_new_alias_both_succeed() -> None:
    """A collision is over at the next try."""
    call, calls = failing(1, lambda: RegistryBroken("(sqlite3.IntegrityError) UNIQUE constraint failed"))
    assert "done" == retry_projection(call)
    assert 2 == len(calls)


@pytest.mark.parametrize(
    "error", [RegistryUnreachable("down"), RegistryForbidden("no"), RegistryBroken("500"), KeyError("x")]
)
def test_other_failures_are_not_repeated(error: Exception) -> None:
    """What the registry has retried itself, or what does not change, comes straight through."""
    call, calls = failing(9, lambda: error)
    with pytest.raises(type(error)) as caught:
        retry_projection(call)
    assert error is caught.value
    assert 1 == len(calls)
