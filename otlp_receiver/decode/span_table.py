"""The shape of decoded OTLP: generic, columnar, nothing lost, nothing known of GenAI.

A `SpanTable` holds the spans of many requests. Whatever has attributes (spans, events, links, resources, scopes) has
them in a flat table of one shape: `owner` (row of the thing), `key`, `type` and `value` as text. The text is exact:
integers in decimal, doubles in their shortest round-trip form, bytes in base64, arrays and maps as JSON.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Final

import numpy as np
import pyarrow as pa

from otlp_receiver.decode.refusals import too_many_spans

MOST_SPANS: Final = 2**18
"""In one table: a span that is nothing but its ids has 30 bytes on the wire, and takes 1,300 on its way."""

# Kinds of AnyValue, in the order of the fields of its `oneof`; EMPTY has no field at all.
EMPTY, STRING, BOOL, INT, DOUBLE, ARRAY, KVLIST, BYTES = range(8)

ATTRIBUTES: Final = pa.schema(
    [
        pa.field("owner", pa.int32()),
        pa.field("key", pa.dictionary(pa.int32(), pa.string())),
        pa.field("type", pa.uint8()),
        pa.field("value", pa.string()),
    ]
)
SPANS: Final = pa.schema(
    [
        pa.field("request", pa.int32()),
        pa.field("resource", pa.int32()),
        pa.field("scope", pa.int32()),
        pa.field("trace_id", pa.string()),
        pa.field("span_id", pa.string()),
        pa.field("parent_span_id", pa.string()),
        pa.field("trace_state", pa.string()),
        pa.field("flags", pa.uint32()),
        pa.field("name", pa.string()),
        pa.field("kind", pa.int32()),
        pa.field("start_time_unix_nano", pa.uint64()),
        pa.field("end_time_unix_nano", pa.uint64()),
        pa.field("dropped_attributes_count", pa.uint32()),
        pa.field("dropped_events_count", pa.uint32()),
        pa.field("dropped_links_count", pa.uint32()),
        pa.field("status_code", pa.int32()),
        pa.field("status_message", pa.string()),
    ]
)
_RESOURCE, _SCOPE = SPANS.get_field_index("resource"), SPANS.get_field_index("scope")
EVENTS: Final = pa.schema(
    [
        pa.field("span", pa.int32()),
        pa.field("time_unix_nano", pa.uint64()),
        pa.field("name", pa.string()),
        pa.field("dropped_attributes_count", pa.uint32()),
    ]
)
LINKS: Final = pa.schema(
    [
        pa.field("span", pa.int32()),
        pa.field("trace_id", pa.string()),
        pa.field("span_id", pa.string()),
        pa.field("trace_state", pa.string()),
        pa.field("flags", pa.uint32()),
        pa.field("dropped_attributes_count", pa.uint32()),
    ]
)
RESOURCES: Final = pa.schema([pa.field("schema_url", pa.string()), pa.field("dropped_attributes_count", pa.uint32())])
SCOPES: Final = pa.schema(
    [
        pa.field("name", pa.string()),
        pa.field("version", pa.string()),
        pa.field("schema_url", pa.string()),
        pa.field("dropped_attributes_count", pa.uint32()),
    ]
)


SCHEMAS: Final = {
    "spans": SPANS,
    "span_attributes": ATTRIBUTES,
    "events": EVENTS,
    "event_attributes": ATTRIBUTES,
    "links": LINKS,
    "link_attributes": ATTRIBUTES,
    "resources": RESOURCES,
    "resource_attributes": ATTRIBUTES,
    "scopes": SCOPES,
    "scope_attributes": ATTRIBUTES,
}
"""By table of a `SpanTable`."""


@dataclass(frozen=True, slots=True)
class SpanTable:
    """Decoded spans of many requests.

    Attributes:
        spans: one row per usable span; `request` is the index of its request, ids are lower-case hex.
        span_attributes: `ATTRIBUTES`, owner = row of `spans`; like all attribute tables sorted by owner, in the
            order sent.
        events: `EVENTS`, in the order sent.
        event_attributes: owner = row of `events`.
        links: `LINKS`.
        link_attributes: owner = row of `links`.
        resources: `RESOURCES`.
        resource_attributes: owner = row of `resources`.
        scopes: `SCOPES`.
        scope_attributes: owner = row of `scopes`.
    """

    spans: pa.RecordBatch
    span_attributes: pa.RecordBatch
    events: pa.RecordBatch
    event_attributes: pa.RecordBatch
    links: pa.RecordBatch
    link_attributes: pa.RecordBatch
    resources: pa.RecordBatch
    resource_attributes: pa.RecordBatch
    scopes: pa.RecordBatch
    scope_attributes: pa.RecordBatch


@cache
def empty_batch(schema: pa.Schema) -> pa.RecordBatch:
    """No rows: most requests have no events, no links and no scope attributes."""
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


def text_array(values: Sequence[bytes | str]) -> pa.StringArray:
    """Arrow text of UTF-8 bytes and strings; what is not UTF-8 becomes U+FFFD, never an error."""
    try:
        return pa.array(values, pa.string())
    except pa.ArrowInvalid:
        return pa.array([_replace_invalid(value) for value in values], pa.string())


def _replace_invalid(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


class _Codes(dict[bytes | str, int]):
    """Key → dense code, given out at first sight; a hit costs one dictionary look-up. `sizes`: code → length."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __missing__(self, key: bytes | str) -> int:
        code = self[key] = len(self)
        self.sizes.append(len(key))
        return code

    def forget(self) -> None:
        """Drop the keys whose sizes are gone."""
        while len(self) > len(self.sizes):
            self.popitem()


class AttributeColumns:
    """Growing columns of one attribute table; `counts` has one entry per owner, in owner order."""

    __slots__ = ("codes", "counts", "keys", "types", "values")

    def __init__(self) -> None:
        self.codes = _Codes()
        self.counts: list[int] = []
        self.keys: list[int] = []
        self.types: list[int] = []
        self.values: list[bytes | str] = []

    def lists(self) -> Iterable[list[Any]]:
        """The growing lists, for a roll-back."""
        return (self.counts, self.keys, self.types, self.values, self.codes.sizes)

    def repeated_size(self, times: Mapping[int, int]) -> int:
        """Length of the keys and values of some of the last owners, each taken so many times."""
        total, end = 0, len(self.values)
        for owner in range(len(self.counts) - 1, min(times, default=len(self.counts)) - 1, -1):
            start = end - self.counts[owner]
            size = sum(map(len, self.values[start:end])) + sum(self.codes.sizes[key] for key in self.keys[start:end])
            total += times.get(owner, 0) * size
            end = start
        return total

    def finish(self) -> pa.RecordBatch:
        """The table so far."""
        if not self.keys:
            return empty_batch(ATTRIBUTES)
        owners = np.repeat(np.arange(len(self.counts), dtype=np.int32), np.asarray(self.counts, dtype=np.int64))
        keys = pa.DictionaryArray.from_arrays(pa.array(self.keys, pa.int32()), text_array(list(self.codes)))
        columns = [pa.array(owners), keys, pa.array(self.types, pa.uint8()), text_array(self.values)]
        return pa.RecordBatch.from_arrays(columns, schema=ATTRIBUTES)


class Columns:
    """Growing columns of one plain table; rows are appended as tuples in the order of its schema."""

    __slots__ = ("rows", "schema")

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.rows: list[tuple[Any, ...]] = []

    def lists(self) -> Iterable[list[Any]]:
        """The growing lists, for a roll-back."""
        return (self.rows,)

    def finish(self) -> pa.RecordBatch:
        """The table so far."""
        if not self.rows:
            return empty_batch(self.schema)
        columns = zip(*self.rows, strict=True)
        arrays = [
            text_array(column) if pa.types.is_string(field.type) else pa.array(column, field.type)
            for field, column in zip(self.schema, columns, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


class SpanTableBuilder:
    """Growing `SpanTable`; a request that turns out to be undecodable is rolled back to its `mark`."""

    __slots__ = (
        "_attributes",
        "_first_span",
        "_lists",
        "event_attributes",
        "events",
        "link_attributes",
        "links",
        "resource_attributes",
        "resources",
        "scope_attributes",
        "scopes",
        "span_attributes",
        "spans",
    )

    def __init__(self) -> None:
        self.spans = Columns(SPANS)
        self.span_attributes = AttributeColumns()
        self.events = Columns(EVENTS)
        self.event_attributes = AttributeColumns()
        self.links = Columns(LINKS)
        self.link_attributes = AttributeColumns()
        self.resources = Columns(RESOURCES)
        self.resource_attributes = AttributeColumns()
        self.scopes = Columns(SCOPES)
        self.scope_attributes = AttributeColumns()
        self._lists = [column for field in fields(SpanTable) for column in getattr(self, field.name).lists()]
        self._attributes = [getattr(self, name) for name, schema in SCHEMAS.items() if schema is ATTRIBUTES]
        self._first_span = 0

    def mark(self) -> list[int]:
        """Where the lists end now, and a request begins."""
        self._first_span = len(self.spans.rows)
        return [len(column) for column in self._lists]

    def require_room(self, spans: int) -> None:
        """Raises BadRequest when the request has too many spans with so many more."""
        if len(self.spans.rows) - self._first_span + spans > MOST_SPANS:
            raise too_many_spans(MOST_SPANS)

    def ends(self) -> tuple[int, int, int, int, int]:
        """Rows of spans, events, links, resources and scopes so far."""
        plain = (self.spans, self.events, self.links, self.resources, self.scopes)
        spans, events, links, resources, scopes = (len(columns.rows) for columns in plain)
        return spans, events, links, resources, scopes

    def entries(self) -> int:
        """Length of all lists, a measure of the memory that they take."""
        return sum(map(len, self._lists))

    def roll_back(self, mark: list[int]) -> None:
        """Forget what came after `mark`."""
        for column, length in zip(self._lists, mark, strict=True):
            del column[length:]
        for attributes in self._attributes:
            attributes.codes.forget()

    def repeated_size(self, first_span: int) -> int:
        """Length of the resource and scope attributes of the spans from `first_span` on, which each row will carry."""
        spans = self.spans.rows[first_span:]
        owners = zip((self.resource_attributes, self.scope_attributes), (_RESOURCE, _SCOPE), strict=True)
        return sum(attributes.repeated_size(Counter(span[column] for span in spans)) for attributes, column in owners)

    def finish(self) -> SpanTable:
        """The table of all requests so far."""
        return SpanTable(**{field.name: getattr(self, field.name).finish() for field in fields(SpanTable)})
