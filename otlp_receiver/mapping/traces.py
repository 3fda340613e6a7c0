"""Observations → partial rows of `traces`, one per trace of the batch.

Every value travels with what decides between two of its kind: (rank, start time, span id), smallest first. What the
application said of the trace beats the root span, the root beats the earliest span that has a value. A session that a
framework may have made up (an agent's run, LangGraph's thread) comes last, wherever it is.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from otlp_receiver.mapping.arrow_arrays import Indices, Mask, chosen, empty_lists, has_text
from otlp_receiver.mapping.plan import LEGACY_RANK
from otlp_receiver.mapping.resolution import Resolution
from otlp_receiver.mapping.status import is_true
from pipelines.schema import NO_VALUE_RANK, RANKED, RANKED_MAP, TEXTS, TIME, TRACES

EXPLICIT_RANK, ROOT_RANK, OTHER_RANK, FALLBACK_RANK = 0, 1, 2, 3
_SCHEMA: Final = TRACES.arrow_schema
_TEXT_COLUMNS: Final = ("user_id", "environment", "release", "version")
Ranks = npt.NDArray[np.uint8]


class _Groups:
    """The observations of a batch by trace, with a fixed order inside each: by start, then span id."""

    def __init__(self, observations: pa.RecordBatch) -> None:
        self.observations = observations
        self.starts = observations.column("start_time").cast(pa.int64()).to_numpy()
        self.ids = np.asarray(observations.column("id").to_numpy(zero_copy_only=False), "S16")
        self.first, self.trace = _group(observations)
        self.order = np.lexsort((self.ids, self.starts))

    def best(self, ranks: Ranks, has_value: npt.NDArray[np.bool_]) -> Indices:
        """Per trace, the row with a value and the smallest (rank, start, span id); -1 where none has a value."""
        rows = self.order[has_value[self.order]]
        rows = rows[np.argsort(ranks[rows], kind="stable")]
        result = np.full(len(self.first), -1, np.int64)
        result[self.trace[rows[::-1]]] = rows[::-1]
        return result

    def ranked(self, values: pa.StringArray, ranks: Ranks) -> pa.StructArray:
        """A RANKED value per trace."""
        present = has_text(values)
        if not present.any():
            return _no_values(len(self.first))
        rows = self.best(ranks, present)
        missing = rows < 0
        index = pa.array(np.maximum(rows, 0))
        fields = [
            pa.array(np.where(missing, NO_VALUE_RANK, ranks[rows]).astype(np.uint8)),
            pa.array(np.where(missing, 0, self.starts[rows])).cast(TIME),
            chosen(missing, pa.repeat("", len(rows)), self.observations.column("id").take(index)),
            chosen(missing, pa.repeat("", len(rows)), values.take(index)),
        ]
        return pa.StructArray.from_arrays(fields, fields=list(RANKED))


def _no_values(count: int) -> pa.StructArray:
    one = pa.array([{"rank": NO_VALUE_RANK, "time": 0, "span": "", "value": ""}], RANKED)
    return one.take(pa.array(np.zeros(count, np.int32)))


def _group(observations: pa.RecordBatch) -> tuple[Indices, Indices]:
    """First row of each (project, trace), and the group of each row."""
    trace = np.asarray(observations.column("trace_id").to_numpy(zero_copy_only=False), "S32")
    project = observations.column("project_id").dictionary_encode().indices.to_numpy()
    _, traces = np.unique(trace, return_inverse=True)
    _, first, group = np.unique(
        traces.astype(np.int64) * (project.max() + 1) + project, return_index=True, return_inverse=True
    )
    return first, group


@dataclass(frozen=True, slots=True)
class Said:
    """What the application said of its traces, row by row of the observations; empty where it said nothing.

    Attributes:
        input: of the trace.
        output: of the trace.
        public: whether others may see it, as text.
        metadata: row, name and value of each entry.
        has_fallback_session: rows whose session is but an id that a framework may have made up.
    """

    input: pa.StringArray
    output: pa.StringArray
    public: pa.StringArray
    metadata: list[tuple[int, str, str]]
    has_fallback_session: Mask


def said_of_traces(resolution: Resolution) -> Said:
    """Read it from the spans; it stays in their metadata too, where each span's own word is kept."""
    found = resolution.candidates
    rows = np.flatnonzero(np.isin(found.code, list(found.keys.trace_entries)) & has_text(found.values))
    entries = [
        (int(found.owner[row]), found.keys.trace_entries[found.code[row]], found.values[row].as_py())
        for row in rows.tolist()
    ]
    asked, answered, public = (resolution.text(name) for name in ("trace_input", "trace_output", "public"))
    return Said(asked, answered, public, entries, _has_fallback_session(resolution))


def _has_fallback_session(resolution: Resolution) -> Mask:
    found, winners = resolution.candidates, resolution.rows("session_id")
    has = winners >= 0
    has[has] = found.keys.rank[found.code[winners[has]]] >= LEGACY_RANK
    return has


def trace_rows(observations: pa.RecordBatch, said: Said) -> pa.RecordBatch:
    """Partial rows with the schema of `TRACES`; `observations` must not be empty."""
    groups = _Groups(observations)
    ranks = np.where(observations.column("is_root").to_numpy(zero_copy_only=False), ROOT_RANK, OTHER_RANK).astype(
        np.uint8
    )
    first = pa.array(groups.first)
    columns: dict[str, pa.Array] = {
        "project_id": observations.column("project_id").take(first),
        "id": observations.column("trace_id").take(first),
        "timestamp": _extreme(groups, groups.starts, np.minimum, np.iinfo(np.int64).max),
        "end_time": _extreme(groups, observations.column("end_time").cast(pa.int64()).to_numpy(), np.maximum, 0),
        "name": _trace_names(groups, observations, ranks),
        "public": _public(groups, said.public),
        "tags": _tags(groups, observations),
        "metadata": _metadata(groups, said.metadata),
    }
    columns |= {name: groups.ranked(observations.column(name), ranks) for name in _TEXT_COLUMNS}
    session_ranks = np.where(said.has_fallback_session, FALLBACK_RANK, ranks).astype(np.uint8)
    columns["session_id"] = groups.ranked(observations.column("session_id"), session_ranks)
    for name, explicit in (("input", said.input), ("output", said.output)):
        columns[name] = _given_first(groups, explicit, observations.column(name), ranks)
    return pa.RecordBatch.from_arrays([columns[name] for name in _SCHEMA.names], schema=_SCHEMA)


def _extreme(groups: _Groups, times: npt.NDArray[np.int64], reduce: np.ufunc, start: int) -> pa.TimestampArray:
    result = np.full(len(groups.first), start, np.int64)
    reduce.at(result, groups.trace, times)
    return pa.array(result).cast(TIME)


def _trace_names(groups: _Groups, observations: pa.RecordBatch, ranks: Ranks) -> pa.StructArray:
    return _given_first(groups, observations.column("trace_name"), observations.column("name"), ranks)


def _given_first(groups: _Groups, explicit: pa.StringArray, own: pa.StringArray, ranks: Ranks) -> pa.StructArray:
    given = has_text(explicit)
    return groups.ranked(chosen(given, explicit, own), np.where(given, EXPLICIT_RANK, ranks).astype(np.uint8))


def _public(groups: _Groups, said: pa.StringArray) -> pa.StructArray:
    """One span that says yes is enough."""
    yes = is_true(said)
    texts = chosen(yes, pa.repeat("true", len(yes)), chosen(has_text(said), pa.repeat("false", len(yes)), said))
    return groups.ranked(texts, np.where(yes, EXPLICIT_RANK, OTHER_RANK).astype(np.uint8))


def _metadata(groups: _Groups, entries: list[tuple[int, str, str]]) -> pa.Array:
    """Per trace and name the entry that comes first, with what decides between it and those of other batches."""
    if not entries:
        return empty_lists(RANKED_MAP, len(groups.first))
    maps: list[dict[str, dict[str, Any]]] = [{} for _ in range(len(groups.first))]
    for row, key, value in entries:
        span, time = groups.ids[row].decode(), int(groups.starts[row])
        entry = {"rank": EXPLICIT_RANK, "time": time, "span": span, "value": value}
        known = maps[groups.trace[row]].setdefault(key, entry)
        if (time, span, value) < (known["time"], known["span"], known["value"]):
            maps[groups.trace[row]][key] = entry
    return pa.array([sorted(found.items()) for found in maps], RANKED_MAP)


def _tags(groups: _Groups, observations: pa.RecordBatch) -> pa.ListArray:
    tags = observations.column("tags")
    sets: list[set[Any]] = [set() for _ in range(len(groups.first))]
    for row in np.flatnonzero(pc.list_value_length(tags).to_numpy(zero_copy_only=False) > 0).tolist():
        sets[groups.trace[row]].update(tags[row].as_py())
    return pa.array([sorted(found) for found in sets], TEXTS)
