"""How often two versions were right, key by key, out of the prediction log and the labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from promotion.delivery.canary.records import LabelCounts, VersionName
from promotion.errors import DataError, UsageError
from promotion.export.contract import Contract
from promotion.monitoring.labels.labels import UNKNOWN, Labels
from promotion.monitoring.observe.log_files import find_parts, read
from promotion.monitoring.observe.log_rows import log_schema

_EVER = datetime(1970, 1, 1, tzinfo=UTC)
_KEPT = ["time", "request_id", "row", "family", "model", "version", "role", "key", "class"]
_ROW = ["request_id", "row"]
_GROUP = "group"


@dataclass(frozen=True, slots=True)
class Arms:
    """What both versions did, one value a key, each 1 where the answer was right and 0 where it was wrong.

    Attributes:
        champion: Its version.
        challenger: Its version.
        champion_values: Of the champion's keys; of paired ones the same keys as the challenger's.
        challenger_values: Of the challenger's.
        is_paired: Whether the challenger answered the very rows of the champion, in its shadow.
        champion_groups: The group of each of the champion's keys; None where nobody asks for slices.
        challenger_groups: Of the challenger's.
        left_out: How many were left out, by reason.
    """

    champion: VersionName
    challenger: VersionName
    champion_values: NDArray[np.float64]
    challenger_values: NDArray[np.float64]
    is_paired: bool
    champion_groups: NDArray[np.object_] | None = None
    challenger_groups: NDArray[np.object_] | None = None
    left_out: dict[str, int] = field(default_factory=dict)


def read_arms(source: str, contract: Contract, labels: Labels, column: str | None = None) -> Arms:
    """Read the newest challenger of a log, and the champion beside it.

    Each key counts once, by the first row it ever sent: how often a client comes back decides nothing, and a value that
    counted does not change when somebody looks again. A client that sends no key is its request.

    Args:
        source: The prediction log; see `find_parts`.
        contract: Whose rows, and which columns they have.
        labels: What arrived.
        column: Feature whose values are the slices.

    Raises:
        UsageError: There is no log, or no such column.
        DataError: It has no challenger, or no champion beside it.
    """
    family = contract.family
    if column is not None and column not in contract.columns:
        raise UsageError(f"{family} has no feature {column!r}: expected one of {', '.join(contract.features)}")
    rows = _rows(source, contract, column)
    challengers = rows[rows["role"] != "champion"]
    if challengers.empty:
        raise DataError(
            f"{source}: no challenger of {family} answered: start the server with AB_MODEL and AB_PERCENT, or with "
            "SHADOW_MODEL"
        )
    newest = challengers.iloc[-1]
    challenger = (str(newest["model"]), int(newest["version"]))
    role = str(newest["role"])
    ours = rows[(rows["role"] == role) & _is(rows, challenger)]
    champions = rows["role"] == "champion"
    # A shadow's row says itself which one it is beside.
    beside = rows[champions if role == "shadow" else champions & (rows["time"] >= ours["time"].min())]
    if beside.empty:
        raise DataError(f"{source}: no champion of {family} answered beside {challenger[0]} v{challenger[1]}")
    last = beside.iloc[-1]
    champion = (str(last["model"]), int(last["version"]))
    theirs = beside[_is(beside, champion)]
    others = len(rows) - len(ours) - len(theirs)
    left_out = {"rows of other versions or times": others}
    if role == "shadow":
        return _paired(champion, challenger, theirs, ours, labels, left_out)
    return _disjoint(champion, challenger, theirs, ours, labels, left_out)


def count_wrong(
    source: str, contract: Contract, labels: Labels, versions: tuple[VersionName, VersionName], since: datetime
) -> tuple[LabelCounts, LabelCounts]:
    """How many keys two versions answered, side by side, and how many of these wrongly.

    A key counts once for each version that answered it, by the first row: nothing makes it stay with one of both.

    Args:
        source: The prediction log; see `find_parts`.
        contract: Whose rows.
        labels: What arrived.
        versions: Which two.
        since: Rows before are another time's.

    Raises:
        UsageError: There is no log.
    """
    rows = _rows(source, contract, None, since)
    rows = rows[(rows["role"] != "shadow") & (rows["time"] >= pd.Timestamp(since))]
    one, other = (_known(_right(rows[_is(rows, version)].drop_duplicates("key"), labels)) for version in versions)
    return (len(one), int((one == 0).sum())), (len(other), int((other == 0).sum()))


def _rows(source: str, contract: Contract, column: str | None, earliest: datetime = _EVER) -> pd.DataFrame:
    """Everything the family's versions answered, oldest first."""
    features = [column] if column else []
    schema = log_schema(features, contract.texts).append(pa.field("key", pa.string()))
    blocks = [block.rows for part in find_parts(source, earliest) for block in read(part, features, schema)]
    table = pa.concat_tables(blocks) if blocks else schema.empty_table()
    rows: pd.DataFrame = table.select(_KEPT).to_pandas()
    if column:
        values = pc.struct_field(table["features"], column).to_pandas()
        rows = rows.assign(**{_GROUP: [_group(value) for value in values]})
    rows = rows[(rows["family"] == contract.family) & rows["class"].notna()]
    rows = rows.assign(key=rows["key"].fillna("request " + rows["request_id"]))
    return rows.sort_values(["time", *_ROW], kind="stable")


def _group(value: object) -> str:
    if value is None or value != value:  # noqa: PLR0124  # NaN is not itself
        return "missing"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is(rows: pd.DataFrame, version: VersionName) -> pd.Series[bool]:
    return (rows["model"] == version[0]) & (rows["version"] == version[1])


def _right(rows: pd.DataFrame, labels: Labels) -> pd.Series[float]:
    """1 where a row's answer is its label, 0 where it is not, missing where there is no label."""
    known = labels.of(pa.array(rows["request_id"], pa.string()), pa.array(rows["row"], pa.int32()))
    right = (rows["class"].to_numpy() == known).astype(np.float64)
    return pd.Series(np.where(known == UNKNOWN, np.nan, right), index=rows.index)


def _disjoint(
    champion: VersionName,
    challenger: VersionName,
    theirs: pd.DataFrame,
    ours: pd.DataFrame,
    labels: Labels,
    left_out: dict[str, int],
) -> Arms:
    both = set(theirs["key"]) & set(ours["key"])
    first = [rows[~rows["key"].isin(both)].drop_duplicates("key") for rows in (theirs, ours)]
    right = [_right(rows, labels) for rows in first]
    values = [_known(each) for each in right]
    groups = [_groups(rows[each.notna()]) for rows, each in zip(first, right, strict=True)]
    unlabelled = sum(int(each.isna().sum()) for each in right)
    return Arms(
        champion,
        challenger,
        values[0],
        values[1],
        is_paired=False,
        champion_groups=groups[0],
        challenger_groups=groups[1],
        left_out=left_out | {"keys that both answered": len(both), "keys without a label yet": unlabelled},
    )


def _known(right: pd.Series[float]) -> NDArray[np.float64]:
    return np.asarray(right.dropna(), dtype=np.float64)


def _groups(rows: pd.DataFrame) -> NDArray[np.object_] | None:
    return rows[_GROUP].to_numpy(dtype=object) if _GROUP in rows.columns else None


def _paired(
    champion: VersionName,
    challenger: VersionName,
    theirs: pd.DataFrame,
    ours: pd.DataFrame,
    labels: Labels,
    left_out: dict[str, int],
) -> Arms:
    first = theirs.drop_duplicates("key").merge(ours[[*_ROW, "class"]], on=_ROW, suffixes=("", "_shadow"))
    right = _right(first, labels)
    shadow = _right(first.assign(**{"class": first["class_shadow"]}), labels)
    groups = _groups(first[right.notna()])
    return Arms(
        champion,
        challenger,
        _known(right),
        _known(shadow),
        is_paired=True,
        champion_groups=groups,
        challenger_groups=groups,
        left_out=left_out | {"keys without a label yet": int(right.isna().sum())},
    )
