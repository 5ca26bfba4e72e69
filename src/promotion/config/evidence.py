"""What a family's file says where its models come from elsewhere: rows to score them on, and how they may be run."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, field_validator

from promotion.config.values import Duration, Name, Strict

ERRORS = frozenset({"rmspe", "rmse", "mse", "mae", "mape", "pinball", "log_loss", "brier"})
"""Metrics that measure an error; a scorer of scikit-learn that does is negated, and called `neg_…`."""
_TABLES = (".csv", ".parquet")


def is_error(metric: str) -> bool:
    """Whether less of a metric is better; `pinball_0.9` is the pinball loss of the 90 % quantile."""
    return metric in ERRORS or metric.startswith("pinball_")


class HoldoutRows(Strict):
    """Rows that no model of the family was trained on; every one of them is scored.

    Attributes:
        path: CSV or Parquet file: relative to the project's home, or an address that fsspec knows, such as
            `s3://bucket/holdout.parquet`.
        target: The column to predict.
        positive: In a binary task the value of the target that is looked for; the greater of the two by default, such
            as 1, true or `yes`.
        sha256: Digest the file must have.
        id: Column that names a row, and is no feature of a model without signature.
        group: Column of what belongs together, such as a patient: intervals are drawn by group, not by row.
        time: Column that says when, and is no feature of a model without signature.
    """

    path: Name
    target: Name
    positive: str | bool | int | float | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    id: Name | None = None
    group: Name | None = None
    time: Name | None = None

    @field_validator("path")
    @classmethod
    def _is_a_table(cls, path: str) -> str:
        if not path.partition("?")[0].lower().endswith(_TABLES):
            message = "expected a file that ends in .csv or .parquet"
            raise ValueError(message)
        return path


class RunLimits(Strict):
    """What is done with models that run code of their own when they are loaded: pickles, pyfunc, `code_paths`.

    Attributes:
        code: `refuse`: such a model is never loaded. `sandbox`: it is scored, in a process without network, home,
            secrets and write access.
        memory_mb: Memory of all processes of a model being scored, 10^6 bytes.
        disk_mb: Room in the only folder that a model can write to, 10^6 bytes.
        timeout: How long scoring may take, loading included.
    """

    code: Literal["refuse", "sandbox"] = "refuse"
    memory_mb: Annotated[int, Field(ge=64)] = 4096
    disk_mb: Annotated[int, Field(ge=1)] = 512
    timeout: Duration = timedelta(minutes=10)


class SliceRule(Strict):
    """A metric held within each group of rows, so that none is served badly behind a good average.

    Attributes:
        column: The column whose values, or ranges of a number, are the groups; of more than ten days the months,
            quarters or years. It need not be a feature.
        metric: Any that the family is scored by.
        minimum: Smallest value of the metric in a group.
        maximum: Largest value of the metric in a group.
        max_gap: Largest difference of the metric between two groups.
        minimum_rows: Groups with fewer rows are shown and not judged.
        bins: Where a numeric column is cut; without it at its quartiles, when it has more than ten values.
    """

    column: Name
    metric: Name
    minimum: float | None = None
    maximum: float | None = None
    max_gap: Annotated[float, Field(ge=0)] | None = None
    minimum_rows: Annotated[int, Field(ge=1)] = 30
    bins: list[float] = []


class ExportRules(Strict):
    """What an exported folder, and with it an image, may hold of the family's data.

    Attributes:
        rows: `generated`: the rows that a deployment is asked are drawn inside the contract, and are nobody's; the
            default with `approvals`. `held-out`: they are rows of the data. The translation is proven on these in
            either case.
    """

    rows: Literal["generated", "held-out"] | None = None


class CustomGate(Strict):
    """A rule of the owner's own: a command that reads the evidence as JSON and answers in JSON.

    Attributes:
        name: Of the gate.
        command: Program and arguments, started in the project's home without a shell.
        timeout: How long it may take.
    """

    name: Name
    command: Annotated[list[Name], Field(min_length=1)]
    timeout: Duration = timedelta(minutes=1)
