"""Recognises MLflow's RepresenterError wherever it surfaces, and bounds how long we try against it.

MLflow 3.0.0 to 3.5.0 raise PyYAML's `RepresenterError` in the file store whenever a version that has metrics changes
its stage (mlflow#18352). Repeating the call cannot help there, so the retry is short and the caller falls back to
alias and tag.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from promotion.errors import RegistryBroken

if TYPE_CHECKING:
    from tenacity import Retrying

HINT = (
    "file stores of MLflow 3.0.0 to 3.5.0 raise it on stage transitions, repeating does not help; "
    "see MLFLOW-WORKAROUND.md"
)
TRIES = 3
WITHIN_SECONDS = 10.0
# PyYAML's class, and what people and older documents call it.
_REPRESENTER = re.compile(r"\b(RepresenterError|RepresentationError)\b")
# Two writers created the same new alias or tag at once; the second call finds it there.
_COLLISION = re.compile(r"\b(IntegrityError|UniqueViolation|UNIQUE constraint failed)\b")

_Result = TypeVar("_Result")


def is_representer_error(error: BaseException) -> bool:
    """Whether this error, or one that caused it, is the YAML representer's, here or inside a server's answer."""
    return any(
        any(_REPRESENTER.fullmatch(base.__name__) for base in type(one).__mro__) or _REPRESENTER.search(str(one))
        for one in _chain(error)
    )


def bounded_retrying(may_pass: Callable[[BaseException], bool], *, first: float, longest: float) -> Retrying:
    """Three attempts, the last one starting within 10 s, the waits growing from `first` to `longest` seconds."""
    # Imported here because whoever reads alone needs only the recognition above.
    from tenacity import (
        Retrying,
        retry_if_exception,
        stop_after_attempt,
        stop_before_delay,
        wait_exponential,
        wait_random,
    )

    return Retrying(
        retry=retry_if_exception(may_pass),
        stop=stop_after_attempt(TRIES) | stop_before_delay(WITHIN_SECONDS),
        wait=wait_exponential(multiplier=first, max=longest) + wait_random(0, 0.2),
        reraise=True,
    )


def retry_projection(call: Callable[[], _Result]) -> _Result:
    """Make one write to MLflow, again at most twice within 10 s when it failed in a way that may pass.

    Only a RepresenterError and the collision of two writers are repeated: time-outs and 5xx answers have been retried
    by the registry itself, other refusals do not change.

    Raises:
        RegistryBroken: It failed each time; the caller writes alias and tag instead.
    """
    try:
        return bounded_retrying(_may_pass, first=0.2, longest=2.0)(call)
    except Exception as error:
        if isinstance(error, RegistryBroken) or not _may_pass(error):
            raise
        summary = " ".join(str(error).split())
        hint = HINT if is_representer_error(error) else "another writer was faster each time: try again"
        raise RegistryBroken(f"MLflow failed {TRIES} times with {type(error).__name__}: {summary}; {hint}") from error


def _may_pass(error: BaseException) -> bool:
    return is_representer_error(error) or any(_COLLISION.search(f"{type(one).__name__} {one}") for one in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__
