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

from otlp_receiver.mapping.arrow_arrays import (
    Indices,
    Mask,
    chosen,
    empty_lists,
    empty_texts,
    fixed_texts,
    has_items,
    has_text,
    signed_time_array,
    take_text,
)
from otlp_receiver.mapping.keys import NOTHING
from otlp_receiver.mapping.plan import LEGACY_RANK
from otlp_receiver.mapping.resolution import Candidates, Resolution
from otlp_receiver.mapping.status import is_true
from pipelines.schema import NO_VALUE_RANK, RANKED, RANKED_MAP, TEXTS, TRACES

EXPLICIT_RANK, ROOT_RANK, OTHER_RANK, FALLBACK_RANK = 0, 1, 2, 3
_SCHEMA: Final = TRACES.arrow_schema
_NAMES: Final = tuple(_SCHEMA.names)
_TEXT_COLUMNS: Final = ("user_id", "environment", "release", "version")
_SPAN_ID_DIGITS: Final = 16
_NO_VALUE: Final = np.iinfo(np.int64).max
_RANK_SHIFT: Final = 32
_PLACE_MASK: Final = (1 << _RANK_SHIFT) - 1
_RANKED_FIELDS: Final = list(RANKED)
_PUBLIC: Final = pa.array(["true", "false", ""])

Ranks = npt.NDArray[np.uint8]
Ranked = tuple[pa.StringArray, Ranks]
"""Texts of the observations, empty for none, with how each counts."""


class _Groups:
    """The observations of a batch by trace, with a fixed order inside each: by start, then span id."""

    def __init__(self, observations: pa.RecordBatch) -> None:
        self.span_ids = observations.column("id")
        self.ids = fixed_texts(self.span_ids, _SPAN_ID_DIGITS)
        self.starts = _nanoseconds(observations, "start_time")
        self.trace = _group(observations)
        self.order = np.lexsort((self.ids, self.starts, self.trace))
        self.heads = np.searchsorted(self.trace[self.order], np.arange(self.trace.max() + 1))

    def reduced(self, values: npt.NDArray[Any], reduce: np.ufunc) -> npt.NDArray[Any]:
        """Values of the observations, which are the last axis, reduced to one a trace."""
        return np.asarray(reduce.reduceat(values[..., self.order], self.heads, axis=-1))

    def ranked(self, columns: dict[str, Ranked]) -> dict[str, pa.StructArray]:
        """RANKED values per trace: of the rows with a value, that with the smallest (rank, start, span id)."""
        present = {name: mask for name, (texts, _) in columns.items() if (mask := has_text(texts)).any()}
        found = dict.fromkeys(columns, _no_values(len(self.heads)))
        if not present:
            return found
        return found | self._chosen({name: columns[name] for name in present}, np.array([*present.values()]))

    def _chosen(self, columns: dict[str, Ranked], present: Mask) -> dict[str, pa.StructArray]:
        """All columns at once: numbers are (column, trace), and Arrow's arrays those one column behind the other."""
        places = np.empty(len(self.order), np.int64)
        places[self.order] = np.arange(len(places))
        ranks = np.array([ranks for _, ranks in columns.values()], np.int64)
        best = self.reduced(np.where(present, (ranks << _RANK_SHIFT) | places, _NO_VALUE), np.minimum)
        missing = best == _NO_VALUE
        rows = np.where(missing, NOTHING, self.order[np.where(missing, 0, best & _PLACE_MASK)])
        shared = [
            pa.array(np.where(missing, NO_VALUE_RANK, best >> _RANK_SHIFT).astype(np.uint8).ravel()),
            signed_time_array(np.where(missing, 0, self.starts[rows]).ravel()),
            take_text(self.span_ids, rows.ravel()),
        ]
        count = len(self.heads)
        return {
            name: pa.StructArray.from_arrays(
                [*(each.slice(at * count, count) for each in shared), take_text(texts, rows[at])],
                fields=_RANKED_FIELDS,
            )
            for at, (name, (texts, _)) in enumerate(columns.items())
        }


def _nanoseconds(observations: pa.RecordBatch, name: str) -> npt.NDArray[np.int64]:
    found: npt.NDArray[np.int64] = observations.column(name).view(pa.int64()).to_numpy()
    return found


def _no_values(count: int) -> pa.StructArray:
    ranks, times = np.full(count, NO_VALUE_RANK, np.uint8), np.zeros(count, np.int64)
    none = empty_texts(count)
    return pa.StructArray.from_arrays([pa.array(ranks), signed_time_array(times), none, none], fields=_RANKED_FIELDS)


def _group(observations: pa.RecordBatch) -> Indices:
    """The number of each row's (project, trace)."""
    trace, project = (_codes(observations.column(name)) for name in ("trace_id", "project_id"))
    if not project.any():
        return trace  # one project has them all
    return _codes(pa.array(trace.astype(np.int64) * (project.max() + 1) + project))


def _codes(values: pa.Array) -> Indices:
    """Equal values → equal numbers, from 0 in the order in which they first come."""
    codes: Indices = values.dictionary_encode().indices.to_numpy()
    return codes


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
    asked, answered, public = (resolution.text(name) for name in ("trace_input", "trace_output", "public"))
    return Said(asked, answered, public, _entries(resolution.candidates), _has_fallback_session(resolution))


def _entries(found: Candidates) -> list[tuple[int, str, str]]:
    names = found.keys.trace_entries
    if not names:
        return []
    rows = np.flatnonzero(np.isin(found.code, list(names)) & found.has_value).tolist()
    return [(int(found.owner[row]), names[found.code[row]], found.values[row].as_py()) for row in rows]


def _has_fallback_session(resolution: Resolution) -> Mask:
    found, winners = resolution.candidates, resolution.rows("session_id")
    has = winners >= 0
    has[has] = found.keys.rank[found.code[winners[has]]] >= LEGACY_RANK
    return has


def trace_rows(observations: pa.RecordBatch, said: Said) -> pa.RecordBatch:
    """Partial rows with the schema of `TRACES`; `observations` must not be empty."""
    groups = _Groups(observations)
    first = pa.array(groups.order[groups.heads])
    columns: dict[str, pa.Array] = {
        "project_id": observations.column("project_id").take(first),
        "id": observations.column("trace_id").take(first),
        "timestamp": signed_time_array(groups.reduced(groups.starts, np.minimum)),
        "end_time": signed_time_array(groups.reduced(_nanoseconds(observations, "end_time"), np.maximum)),
        "tags": _tags(groups, observations),
        "metadata": _metadata(groups, said.metadata),
        **groups.ranked(_ranked_columns(observations, said)),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in _NAMES], schema=_SCHEMA)


def _ranked_columns(observations: pa.RecordBatch, said: Said) -> dict[str, Ranked]:
    is_root = observations.column("is_root").to_numpy(zero_copy_only=False)
    ranks = np.where(is_root, ROOT_RANK, OTHER_RANK).astype(np.uint8)
    own = {name: observations.column(name) for name in (*_TEXT_COLUMNS, "session_id", "name", "input", "output")}
    return {
        **{name: (own[name], ranks) for name in _TEXT_COLUMNS},
        "session_id": (own["session_id"], np.where(said.has_fallback_session, FALLBACK_RANK, ranks)),
        "name": _given_first(observations.column("trace_name"), own["name"], ranks),
        "input": _given_first(said.input, own["input"], ranks),
        "output": _given_first(said.output, own["output"], ranks),
        "public": _public(said.public),
    }


def _given_first(explicit: pa.StringArray, own: pa.StringArray, ranks: Ranks) -> Ranked:
    given = has_text(explicit)
    return chosen(given, explicit, own), np.where(given, EXPLICIT_RANK, ranks)


def _public(said: pa.StringArray) -> Ranked:
    """One span that says yes is enough."""
    given, yes = has_text(said), np.zeros(len(said), bool)
    if given.any():
        yes = is_true(said)
        said = _PUBLIC.take(pa.array(np.where(yes, 0, np.where(given, 1, 2))))
    return said, np.where(yes, EXPLICIT_RANK, OTHER_RANK)


def _metadata(groups: _Groups, entries: list[tuple[int, str, str]]) -> pa.Array:
    """Per trace and name the entry that comes first, with what decides between it and those of other batches."""
    if not entries:
        return empty_lists(RANKED_MAP, len(groups.heads))
    maps: list[dict[str, dict[str, Any]]] = [{} for _ in groups.heads]
    for row, key, value in entries:
        span, time = groups.ids[row].decode(), int(groups.starts[row])
        entry = {"rank": EXPLICIT_RANK, "time": time, "span": span, "value": value}
        known = maps[groups.trace[row]].setdefault(key, entry)
        if (time, span, value) < (known["time"], known["span"], known["value"]):
            maps[groups.trace[row]][key] = entry
    return pa.array([sorted(found.items()) for found in maps], RANKED_MAP)


def _tags(groups: _Groups, observations: pa.RecordBatch) -> pa.ListArray:
    tags = observations.column("tags")
    tagged = np.flatnonzero(has_items(tags)).tolist()
    if not tagged:
        return empty_lists(TEXTS, len(groups.heads))
    sets: list[set[Any]] = [set() for _ in groups.heads]
    for row in tagged:
        sets[groups.trace[row]].update(tags[row].as_py())
    return pa.array([sorted(found) for found in sets], TEXTS)
