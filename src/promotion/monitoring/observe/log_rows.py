"""Turn the bytes of a prediction log into rows; what cannot be read is counted and never ends a run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from numpy.typing import NDArray

from promotion.config.printable import printable
from promotion.data.arrays import IntArray

_SMALL = 128 << 10
_PIECES = 8
_BATCH = 131_072
_MOMENT = pa.timestamp("us", "UTC")
Hashes = NDArray[np.uint64]
_ODD = np.uint64(0x9E3779B97F4A7C15)
"""By which one hash is mixed with the next."""
_REQUIRED = ("time", "request_id", "model", "version", "role")
_CONTAINER = re.compile(rb"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d) std(out|err) ([FP]) ")
"""What a container runtime (CRI) puts before each line of an output; of a long line only the last piece is `F`."""
_LOCAL = re.compile(rb'"time": ?"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)"')
_EXCERPT = 80


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of a log, and what was odd about its lines.

    Attributes:
        rows: That could be read.
        bad_lines: How many lines beside them could not.
        problem: Why not, of the first of these; empty without any.
        local_times: Rows whose time has no zone, which are read as UTC; counted where a block begins or ends with one.
        local_time: One of these times.
    """

    rows: pa.Table
    bad_lines: int
    problem: str = ""
    local_times: int = 0
    local_time: str = ""


def log_schema(features: Sequence[str], texts: Collection[str] = (), *, is_regression: bool = False) -> pa.Schema:
    """The columns of a log; a feature is missing where it is null.

    Args:
        features: By name; numbers.
        texts: Those that are none.
        is_regression: Whether a number is predicted, instead of a class.
    """
    answer = [("prediction", pa.float64())] if is_regression else [("class", pa.int32()), ("probability", pa.float64())]
    kinds = [(name, pa.string() if name in texts else pa.float64()) for name in features]
    return pa.schema(
        [
            ("time", _MOMENT),
            ("request_id", pa.string()),
            ("row", pa.int32()),
            ("family", pa.string()),
            ("model", pa.string()),
            ("version", pa.int32()),
            ("role", pa.string()),
            ("features", pa.struct(kinds)),
            *answer,
            ("latency_ms", pa.float64()),
        ]
    )


def parse_lines(block: bytes, schema: pa.Schema) -> Block:
    """The rows of some JSON lines, also as a container runtime wrote them down.

    Args:
        block: Whole lines.
        schema: See `log_schema`.
    """
    block = _without_prefix(block)
    # No copy of tens of megabytes for a look at two lines.
    end = len(block) - 1 if block.endswith(b"\n") else len(block)
    local = _LOCAL.findall(block, 0, block.find(b"\n") + 1 or end) or _LOCAL.findall(
        block, block.rfind(b"\n", 0, end) + 1
    )
    found = _checked(_tables(block, schema), schema)
    return replace(found, local_times=len(_LOCAL.findall(block)), local_time=local[0].decode()) if local else found


def is_whole(line: bytes) -> bool:
    """Whether a line without its end is written to its end, whatever it says."""
    try:
        return isinstance(json.loads(_without_prefix(line)), dict)
    except (ValueError, RecursionError):
        return False


def goes_on(block: bytes, *, is_open: bool = False) -> bool:
    """Whether the last line that a container put out goes on after the block, as long ones do.

    Args:
        block: Whole lines of the file.
        is_open: Whether one did before the block, which may put out nothing.
    """
    end = len(block)
    while end > 0:
        start = block.rfind(b"\n", 0, end - 1) + 1
        prefix = _CONTAINER.match(block, start)
        if prefix is None or prefix[1] == b"out":
            return prefix is not None and prefix[2] == b"P"
        end = start
    return is_open


def parse_parquet(file: BinaryIO, schema: pa.Schema) -> Iterator[Block]:
    """Rows of a Parquet file: features as a struct like the lines', or each in a column of its own name."""
    import pyarrow.parquet as pq

    features = [field.name for field in schema.field("features").type]
    whole = pq.ParquetFile(file)
    present = set(whole.schema_arrow.names)
    wanted = [name for name in (*schema.names, *features) if name in present]
    for batch in whole.iter_batches(_BATCH, columns=wanted):
        yield _checked(iter([Block(_cast(pa.Table.from_batches([batch]), schema), 0)]), schema)


def _tables(block: bytes, schema: pa.Schema) -> Iterator[Block]:
    """A block's rows; where a line is bad, the lines around it are halved off until it is found."""
    if not block or block.isspace():
        return
    try:
        yield Block(_arrow(block, schema), 0)
    except pa.ArrowException:
        pieces = list(_pieces(block))
        if len(block) <= _SMALL or len(pieces) == 1:
            rows, problem = _parsed(block, schema)
            yield Block(rows, sum(1 for line in block.splitlines() if line.strip()) - rows.num_rows, problem)
            return
        for piece in pieces:
            yield from _tables(piece, schema)


def _pieces(block: bytes) -> Iterator[bytes]:
    start, step = 0, max(len(block) // _PIECES, _SMALL)
    while start < len(block):
        end = block.find(b"\n", min(start + step, len(block) - 1)) + 1 or len(block)
        yield block[start:end]
        start = end


def _arrow(block: bytes, schema: pa.Schema) -> pa.Table:
    options = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    reading = pj.ReadOptions(use_threads=False, block_size=1 << 20)
    table = pj.read_json(pa.BufferReader(block), read_options=reading, parse_options=options)
    return table.select(schema.names)


def _without_prefix(block: bytes) -> bytes:
    """The lines as they were written; what a container said on its standard error is talk, and no row."""
    if not _CONTAINER.match(block):
        return block
    whole, begun = [], b""
    for line in block.splitlines(keepends=True):
        prefix = _CONTAINER.match(line)
        if prefix is None:
            whole.append(line)
        elif prefix[1] == b"out":
            begun += line[prefix.end() :]
            if prefix[2] == b"P":
                begun = begun.rstrip(b"\r\n")
            else:
                whole.append(begun)
                begun = b""
    return b"".join([*whole, begun])


def _parsed(block: bytes, schema: pa.Schema) -> tuple[pa.Table, str]:
    """The good lines of a block, read one by one, and what is wrong with the first bad one."""
    found, problem = [], ""
    for line in block.splitlines():
        try:
            found.append(_record(json.loads(line), schema))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
            problem = problem or (_problem(line, schema) if line.strip() else "")
    return pa.Table.from_pylist(found, schema=schema), problem


def _problem(line: bytes, schema: pa.Schema) -> str:
    """Why a line is no row, with its beginning."""
    start = printable(line[:_EXCERPT].decode("utf-8", "replace"))
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return f"no JSON: {start}"
    if not isinstance(document, dict):
        return f"no JSON object: {start}"
    answer = "class" if "class" in schema.names else "prediction"
    if missing := [name for name in (*_REQUIRED, "family", "features", answer) if name not in document]:
        return f"without {missing[0]!r}: {start}"
    if str(document["time"]).replace(".", "", 1).isdigit():
        return f"time {document['time']} is a number, an epoch perhaps; expected ISO 8601 with its zone"
    for name, value, read in _values(document, schema):
        try:
            read(value)
        except (ValueError, TypeError, OverflowError):
            return f"{name} {printable(json.dumps(value)[:_EXCERPT])} is not {_KINDS[read]}"
    return f"a value of another kind than expected: {start}"


def _record(document: dict[str, Any], schema: pa.Schema) -> dict[str, Any]:
    found: dict[str, Any] = {name: read(value) for name, value, read in _values(document, schema)}
    return found | {
        "features": {field.name: found[f"features.{field.name}"] for field in schema.field("features").type}
    }


def _values(document: dict[str, Any], schema: pa.Schema) -> Iterator[tuple[str, Any, Callable[[Any], Any]]]:
    """Each value of a line, its name and what reads it; a feature's name begins with `features.`."""
    for name in ("request_id", "family", "model", "role"):
        yield name, document[name], _text
    yield "time", document["time"], _moment
    yield "version", document["version"], _whole
    yield "row", document.get("row") or 0, _whole
    yield "key", document.get("key"), _optional
    is_class = "class" in schema.names
    yield ("class", document["class"], _whole) if is_class else ("prediction", document["prediction"], _number)
    for name in ("probability", "latency_ms"):
        yield name, document.get(name), _number
    for field in schema.field("features").type:
        read = _optional if pa.types.is_string(field.type) else _number
        yield f"features.{field.name}", document["features"].get(field.name), read


def _moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _optional(value: Any) -> str | None:
    return None if value is None else _text(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 1 << 31:
        raise TypeError
    return value


def _number(value: Any) -> float | None:
    if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
        raise TypeError
    return None if value is None else float(value)


_KINDS: dict[Callable[[Any], Any], str] = {
    _moment: "a time in ISO 8601 with its zone",
    _text: "a text",
    _optional: "a text, or null",
    _whole: "a whole number",
    _number: "a number, or null",
}


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = []
    for column in schema:
        if column.name == "features":
            columns.append(_features(table, column.type))
        elif column.name in table.column_names:
            columns.append(table[column.name].cast(column.type))
        else:
            columns.append(pa.nulls(table.num_rows, column.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _features(table: pa.Table, kind: pa.StructType) -> pa.Array:
    is_struct = "features" in table.column_names
    given = table["features"].combine_chunks() if is_struct else None
    arrays = []
    for field in kind:
        if given is not None and given.type.get_field_index(field.name) >= 0:
            arrays.append(pc.struct_field(given, field.name).cast(field.type))
        elif given is None and field.name in table.column_names:
            arrays.append(table[field.name].combine_chunks().cast(field.type))
        else:
            arrays.append(pa.nulls(table.num_rows, field.type))
    return pa.StructArray.from_arrays(arrays, fields=list(kind))


def _checked(blocks: Iterator[Block], schema: pa.Schema) -> Block:
    """One table, without the rows that lack what every row has."""
    found = list(blocks)
    table = pa.concat_tables([block.rows for block in found]) if found else schema.empty_table()
    problem = next((block.problem for block in found if block.problem), "")
    whole = pc.is_valid(table["time"])
    for name in (*_REQUIRED, "class" if "class" in schema.names else "prediction"):
        if table[name].null_count:
            problem = problem or f"a row without {name!r}"
            whole = pc.and_(whole, pc.is_valid(table[name]))
    kept = table.filter(whole)
    return Block(kept, sum(block.bad_lines for block in found) + table.num_rows - kept.num_rows, problem)


class MetRows:
    """The rows that were counted, by a hash of request, row and who answered: eight bytes a row.

    Attributes:
        most: How often the commonest row of a block stands in it, and its request id.
    """

    def __init__(self) -> None:
        # Rising, each more than twice as long as the next, so that few are searched and a row is seldom moved.
        self._parts: list[Hashes] = []
        self.most: tuple[int, str] = (0, "")

    def first(self, rows: Any) -> NDArray[np.bool_]:
        """Which rows are met for the first time; from now on they are known. Without a request's id every row is.

        Args:
            rows: An Arrow table of a log's rows.
        """
        hashes, places, counts = _distinct(_hashes(rows))
        fresh = ~self._know(hashes)
        self._add(hashes[fresh])
        found = np.zeros(rows.num_rows, dtype=np.bool_)
        found[places[fresh]] = True
        if counts.size:
            top = int(counts.argmax())
            self.most = max(self.most, (int(counts[top]), rows["request_id"][int(places[top])].as_py()))
        found |= np.asarray(pc.equal(rows["request_id"], "").to_numpy(), dtype=np.bool_)
        return found

    def add(self, other: MetRows) -> int:
        """Take over what somebody else met; returns how many rows both did."""
        both = 0
        self.most = max(self.most, other.most)
        for part in other._parts:
            known = self._know(part)
            both += int(known.sum())
            self._add(part[~known])
        return both

    @property
    def rows(self) -> int:
        """How many were counted."""
        return sum(map(len, self._parts))

    def _know(self, hashes: Hashes) -> NDArray[np.bool_]:
        known = np.zeros(len(hashes), dtype=np.bool_)
        for part in self._parts:
            known |= part[np.minimum(np.searchsorted(part, hashes), len(part) - 1)] == hashes
        return known

    def _add(self, hashes: Hashes) -> None:
        if not len(hashes):
            return
        self._parts.append(hashes)
        while len(self._parts) > 1 and len(self._parts[-2]) <= 2 * len(self._parts[-1]):
            last = self._parts.pop()
            self._parts[-1] = np.sort(np.concatenate([self._parts[-1], last]))


def _distinct(hashes: Hashes) -> tuple[Hashes, IntArray, IntArray]:
    """What `numpy.unique` says with the index and the counts, which sorts several times as slowly."""
    order = np.argsort(hashes)
    rising = hashes[order]
    starts = np.flatnonzero(np.diff(rising, prepend=~rising[:1]))
    return rising[starts], np.minimum.reduceat(order, starts), np.diff(starts, append=len(order))


def _hashes(rows: Any) -> Hashes:
    found = _hashed(rows["request_id"].to_pylist())
    for name in ("role", "model"):
        texts = rows[name].combine_chunks().dictionary_encode()
        found = found * _ODD + _hashed(texts.dictionary.to_pylist())[texts.indices]
    for name in ("version", "row"):
        found = found * _ODD + np.asarray(pc.fill_null(rows[name], 0).to_numpy(), dtype=np.int64).view(np.uint64)
    return found


def _hashed(texts: Sequence[str]) -> Hashes:
    return np.fromiter(map(hash, texts), np.int64, len(texts)).view(np.uint64)
