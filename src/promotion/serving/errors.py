"""What ends the server, and what refuses a request.

ServingError                 exit 1
├── ConfigurationError       exit 2   an environment variable
└── ExportRefused            exit 3   the exported folder is not what its manifest says

Refusal                      an HTTP status with one line and, for values, what is wrong with each
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus


class ServingError(Exception):
    """The server cannot run.

    Attributes:
        exit_code: Of the process.
    """

    exit_code = 1


class ConfigurationError(ServingError):
    """An environment variable is missing, malformed or contradicts another."""

    exit_code = 2


class ExportRefused(ServingError):
    """A file of the exported folder is missing, changed or malformed, or the model answers differently."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Problem:
    """One value that cannot be scored.

    Attributes:
        reason: One word for the metric: `missing`, `unknown`, `type`, `range`, `code` or `null`.
        row: Position of the row in the request, from 0.
        field: Name of the column.
        value: What was sent, shortened.
        allowed: What the column takes, in words.
        hint: The contract's advice, if it has one.
    """

    reason: str
    row: int
    field: str
    value: object
    allowed: str
    hint: str | None = None

    def __str__(self) -> str:
        """One line for people."""
        said = {"missing": "is missing", "unknown": "is not a column"}.get(self.reason, f"is {self.value!r}")
        advice = f" ({self.hint})" if self.hint else ""
        return f"row {self.row}: {self.field} {said}; allowed: {self.allowed}{advice}"


class Refusal(Exception):
    """The request gets this status.

    Args:
        status: HTTP status.
        message: One line; nothing of the server's inside.
        problems: What is wrong with which values.
    """

    def __init__(self, status: HTTPStatus, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.problems = problems
