"""Resolved spans → rows of `observations`."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from otlp_receiver.decode.span_table import SpanTable
from otlp_receiver.mapping.arrow_arrays import (
    attribute_map,
    chosen,
    empty_lists,
    first_text,
    has_text,
    offsets,
    text_map,
    time_array,
)
from otlp_receiver.mapping.content import content, event_attributes
from otlp_receiver.mapping.messages import parse_json, to_json
from otlp_receiver.mapping.plan import FIELD_INDEX, NOTHING, Plan
from otlp_receiver.mapping.resolution import Resolution
from otlp_receiver.mapping.usage import cost_columns, given_numbers, usage_columns
from pipelines.ingest import Request
from pipelines.schema import EVENTS, LINKS, OBSERVATIONS, TEXTS, TIME

_SPAN_KINDS: Final = pa.array(["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"])
_STATUS_CODES: Final = pa.array(["UNSET", "OK", "ERROR"])
_STATUS_OK, _STATUS_ERROR = 1, 2
_MOST_SECONDS: Final = 10**6
_PLAIN_FIELDS: Final = (
    "operation", "provider", "request_model", "response_id", "user_id", "session_id", "environment", "release",
    "version", "trace_name", "tool_name", "tool_call_id", "agent_name", "prompt_name", "prompt_version",
    "tool_definitions",
)  # fmt: skip


def observations(plan: Plan, table: SpanTable, resolution: Resolution, requests: Sequence[Request]) -> pa.RecordBatch:
    """One row per span, with the schema of `OBSERVATIONS`."""
    columns = {name: resolution.shown_text(name) for name in _PLAIN_FIELDS}
    columns |= _identity(table, requests)
    columns |= usage_columns(resolution) | cost_columns(resolution)
    columns |= _content(plan, table, resolution)
    columns |= {name: _text_lists(resolution, name) for name in ("finish_reasons", "tags")}
    columns["model"] = first_text(resolution.shown_text("response_model"), columns["request_model"])
    columns["type"] = _types(plan, resolution, columns)
    columns["name"] = _names(table, columns)
    columns["completion_start_time"] = _first_token_times(table, resolution)
    columns["model_parameters"] = _parameters(resolution)
    columns["convention"] = _dialects(plan, resolution)
    columns |= _status(table) | _origin(table, resolution)
    columns["events"], columns["links"] = _events(table), _links(table)
    columns["metadata"] = _metadata(table, resolution)
    return pa.RecordBatch.from_arrays([columns[name] for name in _SCHEMA.names], schema=_SCHEMA)


_SCHEMA: Final = OBSERVATIONS.arrow_schema


def _identity(table: SpanTable, requests: Sequence[Request]) -> dict[str, pa.Array]:
    spans = table.spans
    request = spans.column("request")
    parent = spans.column("parent_span_id")
    return {
        "project_id": pa.array([request.project_id for request in requests], pa.string()).take(request),
        "ingested_at": pa.array([request.received_at_ns for request in requests], pa.int64()).take(request).cast(TIME),
        "trace_id": spans.column("trace_id"),
        "id": spans.column("span_id"),
        "parent_observation_id": parent,
        "is_root": pa.array(~has_text(parent)),
        "start_time": time_array(spans.column("start_time_unix_nano")),
        "end_time": time_array(spans.column("end_time_unix_nano")),
        "span_name": spans.column("name"),
        "trace_state": spans.column("trace_state"),
        "trace_flags": spans.column("flags"),
        "dropped_attributes_count": spans.column("dropped_attributes_count"),
        "dropped_events_count": spans.column("dropped_events_count"),
        "dropped_links_count": spans.column("dropped_links_count"),
        "span_kind": _enum_names(spans.column("kind"), _SPAN_KINDS),
        "status_code": _enum_names(spans.column("status_code"), _STATUS_CODES),
    }


def _enum_names(numbers: pa.Int32Array, names: pa.StringArray) -> pa.StringArray:
    """Names of enum members; one that is newer than this code reads as the first, as protobuf's rules have it."""
    values = numbers.to_numpy()
    return names.take(pa.array(np.where((values >= 0) & (values < len(names)), values, 0)))


def _content(plan: Plan, table: SpanTable, resolution: Resolution) -> dict[str, pa.Array]:
    found = content(plan, table, resolution)
    return {"input": found.input, "output": found.output, "tool_calls": found.tool_calls}


def _text_lists(resolution: Resolution, name: str) -> pa.ListArray:
    """Lists that came as an array, as its JSON, or as one plain text."""
    texts = resolution.shown_text(name).dictionary_encode()
    lists = pa.array([_as_list(text) for text in texts.dictionary.to_pylist()], TEXTS)
    return lists.take(texts.indices)


def _as_list(text: str) -> list[str]:
    parsed = parse_json(text) if text.startswith(("[", '"')) else None
    if isinstance(parsed, list):
        return [item if isinstance(item, str) else to_json(item) or text for item in parsed if item is not None]
    if isinstance(parsed, str):
        return [parsed]
    return [text] if text else []


def _types(plan: Plan, resolution: Resolution, columns: dict[str, pa.Array]) -> pa.StringArray:
    """The first rule that knows its attribute's value; else a tool, else a model call, else a plain span."""
    found = resolution.candidates
    types = np.full(resolution.spans, "", object)
    types[has_text(columns["model"])] = "GENERATION"
    types[has_text(columns["tool_name"]) | has_text(columns["tool_call_id"])] = "TOOL"
    rules = found.keys.rule[found.code]
    for rule in sorted(set(rules.tolist()) - {NOTHING}, reverse=True):
        rows = np.flatnonzero(rules == rule)
        values = found.values.take(pa.array(rows)).dictionary_encode()
        names = np.array([plan.type_rules[rule].get(value, "") for value in values.dictionary.to_pylist()], object)
        named = names[values.indices.to_numpy()]
        known = named != ""
        types[found.owner[rows[known]]] = named[known]
    types[types == ""] = "SPAN"
    return pa.array(types, pa.string())


def _names(table: SpanTable, columns: dict[str, pa.Array]) -> pa.StringArray:
    names = table.spans.column("name")
    for kind, own in (("TOOL", "tool_name"), ("AGENT", "agent_name")):
        named = has_text(columns[own]) & pc.equal(columns["type"], kind).to_numpy(zero_copy_only=False)
        names = chosen(named, columns[own], names)
    return names


def _first_token_times(table: SpanTable, resolution: Resolution) -> pa.TimestampArray:
    waits = given_numbers(resolution, "seconds_to_first_token", _nanoseconds)
    starts = table.spans.column("start_time_unix_nano").to_numpy()
    times = [None if wait is None else int(start) + wait for start, wait in zip(starts, waits, strict=True)]
    return pa.array([time if time is not None and time < 2**63 else None for time in times], pa.int64()).cast(TIME)


def _nanoseconds(seconds: Decimal) -> int | None:
    return int(seconds * 10**9) if 0 <= seconds <= _MOST_SECONDS else None


def _parameters(resolution: Resolution) -> pa.MapArray:
    """Of two spellings of one parameter the one sent first; the other stays in metadata."""
    found = resolution.candidates
    number_of = {name: number for number, name in enumerate(dict.fromkeys(found.keys.parameters.values()))}
    numbers = np.full(len(found.names), NOTHING, np.int64)
    for code, name in found.keys.parameters.items():
        numbers[code] = number_of[name]
    rows = np.flatnonzero((numbers[found.code] >= 0) & has_text(found.values))
    parameters, first = np.unique(
        found.owner[rows].astype(np.int64) * len(number_of) + numbers[found.code[rows]], return_index=True
    )
    rows = rows[first]
    resolution.shown[rows] = True
    keys = pa.array(list(number_of), pa.string()).take(pa.array(parameters % max(len(number_of), 1)))
    return text_map(found.owner[rows], keys, found.values.take(pa.array(rows)), resolution.spans)


def _dialects(plan: Plan, resolution: Resolution) -> pa.StringArray:
    """Of the dialects that a span speaks, the one that comes first."""
    found = resolution.candidates
    none = len(plan.dialects)
    spoken = found.keys.dialect[found.code]
    best = np.full(resolution.spans, none, np.int16)
    np.minimum.at(best, found.owner, np.where(spoken == NOTHING, none, spoken).astype(np.int16))
    return pa.array([*plan.dialects, ""], pa.string()).take(pa.array(best))


def _status(table: SpanTable) -> dict[str, pa.Array]:
    """ERROR by status, or by an exception on a span whose SDK says OK (LangSmith)."""
    codes = table.spans.column("status_code").to_numpy()
    messages = table.spans.column("status_message")
    failed = codes == _STATUS_ERROR
    exceptions = _exception_messages(table)
    if exceptions:
        spans = np.fromiter(exceptions, np.int64, len(exceptions))
        failed[spans] |= codes[spans] == _STATUS_OK
        texts = pa.array([exceptions.get(span, "") for span in range(len(codes))], pa.string())
        messages = first_text(messages, chosen(failed, texts, pa.repeat("", len(codes))))
    levels = pa.array(["DEFAULT", "ERROR"]).take(pa.array(failed.astype(np.int8)))
    return {"level": levels, "status_message": messages}


def _exception_messages(table: SpanTable) -> dict[int, str]:
    """Message, else type, of each span's first exception."""
    names = table.events.column("name")
    if not len(names):
        return {}
    wanted = pc.equal(names, "exception").to_numpy(zero_copy_only=False)
    if not wanted.any():
        return {}
    spans = table.events.column("span").to_numpy()
    found: dict[int, str] = {}
    for row, values in event_attributes(table, wanted).items():
        text = values.get("exception.message") or values.get("exception.type") or "exception"
        found.setdefault(int(spans[row]), text)
    return found


def _origin(table: SpanTable, resolution: Resolution) -> dict[str, pa.Array]:
    """Resource and scope: mapped once each, then handed to their spans."""
    resource, scope = table.spans.column("resource"), table.spans.column("scope")
    service_rows = resolution.resource_winners[:, FIELD_INDEX["service_name"]]
    services = resolution.resource_values.take(pa.array(service_rows, mask=service_rows < 0))
    return {
        "service_name": pc.fill_null(services.take(resource), ""),
        "resource_attributes": attribute_map(table.resource_attributes, table.resources.num_rows).take(resource),
        "scope_attributes": attribute_map(table.scope_attributes, table.scopes.num_rows).take(scope),
        "scope_name": table.scopes.column("name").take(scope),
        "scope_version": table.scopes.column("version").take(scope),
    }


def _structs(owners: npt.NDArray[Any], count: int, kind: pa.ListType, fields: list[pa.Array]) -> pa.ListArray:
    structs = pa.StructArray.from_arrays(fields, fields=list(kind.value_type))
    return pa.ListArray.from_arrays(offsets(owners, count), structs).cast(kind)


def _events(table: SpanTable) -> pa.ListArray:
    events = table.events
    if not events.num_rows:
        return empty_lists(EVENTS, table.spans.num_rows)
    fields = [
        time_array(events.column("time_unix_nano")),
        events.column("name"),
        attribute_map(table.event_attributes, events.num_rows),
    ]
    return _structs(events.column("span").to_numpy(), table.spans.num_rows, EVENTS, fields)


def _links(table: SpanTable) -> pa.ListArray:
    links = table.links
    if not links.num_rows:
        return empty_lists(LINKS, table.spans.num_rows)
    fields = [links.column(name) for name in ("trace_id", "span_id", "trace_state")]
    fields.append(attribute_map(table.link_attributes, links.num_rows))
    return _structs(links.column("span").to_numpy(), table.spans.num_rows, LINKS, fields)


def _metadata(table: SpanTable, resolution: Resolution) -> pa.MapArray:
    """Every span attribute that no column shows."""
    resolution.show_copies()
    keep = ~resolution.shown[: resolution.candidates.span_rows]
    return attribute_map(table.span_attributes, table.spans.num_rows, keep)
