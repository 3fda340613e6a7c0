"""Rows for the store: what real SDKs sent, with generated chats and agents, again and again under fresh ids.

Every copy is other traces at other times, so that keys sort and merge as those of live traffic do. Texts come again in
each copy, where other rows lie between: what compression gains from that is little.
"""

import json
import time
from collections.abc import Iterator
from gzip import decompress
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.payloads import Generator
from benchmarks.stages import map_requests
from pipelines.batch import Batch, Kind
from pipelines.blocks import join
from pipelines.ingest import Request
from pipelines.schema import TABLES

COPY_ROWS: Final = 16384
"""Observations of one copy."""

_CORPUS: Final = Path(__file__).parent.parent / "tests" / "data" / "corpus"
_CHATS: Final = 8192
# Whose ids a column has: equal ids stay equal, within a copy, in all columns of one kind.
_IDS: Final[dict[Kind, dict[str, str]]] = {
    "observations": {"trace_id": "trace", "id": "span", "parent_observation_id": "span", "response_id": "response"},
    "traces": {"id": "trace"},
}
_TRACE: Final[dict[Kind, str]] = {"observations": "trace_id", "traces": "id"}
_ID_BYTES: Final = {"trace": 16, "span": 8, "response": 16}
_TIMES: Final = ("start_time", "end_time", "completion_start_time", "timestamp")
_LONGEST_NS: Final = 3600 * 10**9


def seed() -> list[Batch]:
    """Observations and traces: every recorded request, then chats, then agents, `COPY_ROWS` spans in all."""
    now_ns, generator = time.time_ns(), Generator()
    entries = json.loads((_CORPUS / "index.json").read_text("utf-8"))
    recorded = map_requests([_recorded(entry, now_ns) for entry in entries if entry["signal"] == "traces"])
    spans = {"chat": _CHATS, "agent": COPY_ROWS - _CHATS - _observations(recorded)}
    made = [Request(generator.request(shape, count), "protobuf", "default", now_ns) for shape, count in spans.items()]
    return [batch for batch in join([*recorded, *map_requests(made)]) if batch.kind in _IDS]


def _recorded(entry: dict[str, str], received_at_ns: int) -> Request:
    body = (_CORPUS / entry["file"]).read_bytes()
    plain = decompress(body) if entry.get("content_encoding") == "gzip" else body
    is_json = entry.get("content_type") == "application/json"
    return Request(plain, "json" if is_json else "protobuf", "default", received_at_ns)


def _observations(batches: list[Batch]) -> int:
    return sum(batch.rows for batch in batches if batch.kind == "observations")


class Replay:
    """Copies of a seed, each of other ids than all before."""

    def __init__(self, batches: list[Batch]) -> None:
        self._batches = batches
        self._random = np.random.default_rng(1)
        self._known = {kind: _distinct(batches, kind) for kind in _ID_BYTES}
        self._places = {batch.kind: _places(batch, self._known) for batch in batches}
        self._starts_ns = {
            batch.kind: _starts(batch, self._places[batch.kind], len(self._known["trace"])) for batch in batches
        }

    def copies(self, count: int, first_ns: int, last_ns: int) -> Iterator[list[Batch]]:
        """So many copies, a batch a kind each, whose traces start one copy after the other between two times."""
        bounds_ns = np.linspace(first_ns, last_ns, count + 1).astype(np.int64)
        for lower_ns, upper_ns in pairwise(bounds_ns):
            fresh = {kind: self._fresh(kind) for kind in self._known}
            starts_ns = self._random.integers(lower_ns, upper_ns, len(self._known["trace"]))
            yield [self._changed(batch, fresh, starts_ns) for batch in self._batches]

    def _fresh(self, kind: str) -> pa.Array:
        known, size = self._known[kind], _ID_BYTES[kind]
        digits = self._random.bytes(len(known) * size).hex()
        ids = [digits[start : start + 2 * size] for start in range(0, len(digits), 2 * size)]
        return pc.if_else(pc.equal(known, ""), "", pa.array(ids, pa.string()))

    def _changed(self, batch: Batch, fresh: dict[str, pa.Array], starts_ns: npt.NDArray[np.int64]) -> Batch:
        records, places = batch.records, self._places[batch.kind]
        changed = {name: fresh[kind].take(places[name]) for name, kind in _IDS[batch.kind].items()}
        moved_ns = starts_ns[places[_TRACE[batch.kind]].to_numpy()] - self._starts_ns[batch.kind]
        for name in set(_TIMES).intersection(records.schema.names):
            changed[name] = _moved(records.column(name), moved_ns)
        columns = [changed.get(name, records.column(name)) for name in records.schema.names]
        return Batch(batch.kind, pa.RecordBatch.from_arrays(columns, schema=records.schema), batch.received_at_ns)


def _distinct(batches: list[Batch], kind: str) -> pa.Array:
    columns = [batch.records.column(name) for batch in batches for name, of in _IDS[batch.kind].items() if of == kind]
    return pc.unique(pa.chunked_array(columns))


def _places(batch: Batch, known: dict[str, pa.Array]) -> dict[str, pa.Array]:
    """Of each column with ids, where among those of its kind they are."""
    names = _IDS[batch.kind]
    return {name: pc.index_in(batch.records.column(name), known[kind]) for name, kind in names.items()}


def _starts(batch: Batch, places: dict[str, pa.Array], traces: int) -> npt.NDArray[np.int64]:
    """For each row the first start of its trace; the rest of an hour where it is further: copies stay in a day."""
    times_ns = batch.records.column(TABLES[batch.kind].time_column).cast(pa.int64()).to_numpy()
    trace = places[_TRACE[batch.kind]].to_numpy()
    first_ns = np.full(traces, np.iinfo(np.int64).max)
    np.minimum.at(first_ns, trace, times_ns)
    return np.asarray(times_ns - (times_ns - first_ns[trace]) % _LONGEST_NS)


def _moved(times: pa.Array, by_ns: npt.NDArray[np.int64]) -> pa.Array:
    return pc.add(times.cast(pa.int64()), pa.array(by_ns)).cast(times.type)
