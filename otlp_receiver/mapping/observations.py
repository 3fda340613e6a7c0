"""Resolved spans → rows of `observations`."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from otlp_receiver.decode.span_table import SpanTable
from otlp_receiver.mapping.arrow_arrays import (
    Indices,
    Mask,
    attribute_map,
    chosen,
    empty_lists,
    first_text,
    has_items,
    has_text,
    offsets,
    signed_time_array,
    take_text,
    text_map,
    time_array,
)
from otlp_receiver.mapping.content import content
from otlp_receiver.mapping.costs import cost_columns
from otlp_receiver.mapping.keys import NOTHING
from otlp_receiver.mapping.messages import parse_json, to_json
from otlp_receiver.mapping.metadata import metadata
from otlp_receiver.mapping.plan import FIELD_INDEX, Plan
from otlp_receiver.mapping.resolution import Resolution
from otlp_receiver.mapping.status import first_token_times, is_true, status_columns
from otlp_receiver.mapping.types import Types, observation_types
from otlp_receiver.mapping.usage import usage_columns
from pipelines.ingest import Request
from pipelines.schema import EVENTS, LINKS, OBSERVATIONS, TEXT_MAP, TEXTS

_SPAN_KINDS: Final = pa.array(["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"])
_STATUS_CODES: Final = pa.array(["UNSET", "OK", "ERROR"])
_PLAIN_FIELDS: Final = (
    "operation", "request_model", "response_id", "user_id", "session_id", "environment", "release",
    "version", "trace_name", "tool_name", "tool_call_id", "agent_name", "prompt_name", "prompt_version",
)  # fmt: skip


def observations(plan: Plan, table: SpanTable, resolution: Resolution, requests: Sequence[Request]) -> pa.RecordBatch:
    """One row per span, with the schema of `OBSERVATIONS`."""
    columns = resolution.shown_texts(*_PLAIN_FIELDS, "response_model")
    columns["provider"] = _providers(plan, resolution)
    columns |= _identity(table, resolution, requests)
    columns |= usage_columns(plan, resolution, columns["provider"])
    columns |= cost_columns(resolution, columns["total_tokens"])
    columns["finish_reasons"] = _text_lists(resolution, "finish_reasons")
    columns["tags"] = _text_lists(resolution, "tags", separator=",")
    columns["model"] = first_text(columns.pop("response_model"), columns["request_model"])
    types = observation_types(plan, table, resolution, columns)
    columns["type"] = types.texts()
    columns |= _content(plan, table, resolution, types)
    columns["finish_reasons"] = _with_reasons_of_messages(columns, types)
    columns["name"] = _names(table, resolution, columns, types)
    columns["completion_start_time"] = first_token_times(plan, table, resolution)
    columns["model_parameters"] = _parameters(resolution)
    columns["convention"] = _dialects(plan, resolution)
    columns |= status_columns(table, resolution) | _origin(table, resolution)
    columns["events"], columns["links"] = _events(table), _links(table)
    columns["metadata"] = metadata(table, resolution)
    return pa.RecordBatch.from_arrays([columns[name] for name in _NAMES], schema=_SCHEMA)


_SCHEMA: Final = OBSERVATIONS.arrow_schema
_NAMES: Final = tuple(_SCHEMA.names)


def _identity(table: SpanTable, resolution: Resolution, requests: Sequence[Request]) -> dict[str, pa.Array]:
    spans = table.spans
    request = spans.column("request")
    received = np.array([each.received_at_ns for each in requests], np.int64)[request.to_numpy()]
    parent = spans.column("parent_span_id")
    return {
        "project_id": pa.array([request.project_id for request in requests], pa.string()).take(request),
        "ingested_at": signed_time_array(received),
        "trace_id": spans.column("trace_id"),
        "id": spans.column("span_id"),
        "parent_observation_id": parent,
        "is_root": pa.array(~has_text(parent) | _root_marks(resolution)),
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


def _root_marks(resolution: Resolution) -> Mask:
    """Spans that the application says are roots; what else it says there stays in metadata."""
    if not resolution.is_filled("is_root"):
        return np.zeros(resolution.spans, bool)
    marked = is_true(resolution.text("is_root"))
    resolution.show(resolution.rows("is_root")[marked])
    return marked


def _providers(plan: Plan, resolution: Resolution) -> pa.StringArray:
    """Providers under one name; one that was renamed is in metadata as sent."""
    texts = resolution.text("provider")
    if not resolution.is_filled("provider"):
        return texts
    texts = texts.dictionary_encode()
    names = pa.array(
        [plan.provider_names.get(name.lower(), name) for name in texts.dictionary.to_pylist()], pa.string()
    )
    as_sent = pc.equal(names, texts.dictionary).take(texts.indices)
    resolution.show(resolution.rows("provider")[as_sent.to_numpy(zero_copy_only=False)])
    return names.take(texts.indices)


def _enum_names(numbers: pa.Int32Array, names: pa.StringArray) -> pa.StringArray:
    """Names of enum members; one that is newer than this code reads as the first, as protobuf's rules have it."""
    values = numbers.to_numpy()
    return names.take(pa.array(np.where((values >= 0) & (values < len(names)), values, 0)))


def _content(plan: Plan, table: SpanTable, resolution: Resolution, types: Types) -> dict[str, pa.Array]:
    found = content(plan, table, resolution, types)
    return {name: getattr(found, name) for name in ("input", "output", "tool_calls", "tool_definitions")}


def _text_lists(resolution: Resolution, name: str, *, separator: str = "") -> pa.ListArray:
    """Lists that came as an array, as its JSON, or as one plain text; one that was split is in metadata as sent."""
    if not resolution.is_filled(name):
        return empty_lists(TEXTS, resolution.spans)
    texts = resolution.text(name).dictionary_encode()
    split = [_split(text, separator) for text in texts.dictionary.to_pylist()]
    found = [
        _as_list(text) if items is None else items
        for text, items in zip(texts.dictionary.to_pylist(), split, strict=True)
    ]
    whole = np.array([items is None for items in split], bool)
    resolution.show(resolution.rows(name)[whole[texts.indices.to_numpy()]])
    resolution.show_copies(name, lambda span, text: _as_list(text) == found[texts.indices[span].as_py()])
    return pa.array(found, TEXTS).take(texts.indices)


def _split(text: str, separator: str) -> list[str] | None:
    if not separator or separator not in text or parse_json(text) is not None:
        return None
    return [item for each in text.split(separator) if (item := each.strip())]


def _with_reasons_of_messages(columns: dict[str, pa.Array], types: Types) -> pa.ListArray:
    """finish_reasons, of a model call that has none from its answer's messages (streams, message events)."""
    reasons = columns["finish_reasons"]
    silent = np.flatnonzero(~has_items(reasons) & types.are("GENERATION")).tolist()
    said = {span: found for span in silent if (found := _reasons_in(columns["output"][span].as_py()))}
    if not said:
        return reasons
    return pa.array([said.get(span, given) for span, given in enumerate(reasons.to_pylist())], TEXTS)


def _reasons_in(output: str) -> list[str]:
    messages = parse_json(output) if '"finish_reason"' in output else None
    if not isinstance(messages, list):
        return []
    reasons = [message.get("finish_reason") for message in messages if isinstance(message, dict)]
    return [reason for reason in reasons if reason and isinstance(reason, str)]


def _as_list(text: str) -> list[str]:
    parsed = parse_json(text) if text.startswith(("[", '"')) else None
    if isinstance(parsed, list):
        return [item if isinstance(item, str) else to_json(item) or text for item in parsed if item is not None]
    if isinstance(parsed, str):
        return [parsed]
    return [text] if text else []


def _names(table: SpanTable, resolution: Resolution, columns: dict[str, pa.Array], types: Types) -> pa.StringArray:
    given = resolution.text("display_name")
    names = first_text(given, _with_objects(resolution, table.spans.column("name")))
    for of_type, own in ((types.are("TOOL"), "tool_name"), (types.are("AGENT"), "agent_name")):
        names = chosen(of_type & has_text(columns[own]), columns[own], names)
    if resolution.is_filled("display_name"):
        resolution.show(resolution.rows("display_name")[pc.equal(names, given).to_numpy(zero_copy_only=False)])
    return names


def _with_objects(resolution: Resolution, names: pa.StringArray) -> pa.StringArray:
    """Names of spans; what is named by a verb alone (HTTP clients) with its object behind it, without its query."""
    if not resolution.is_filled("name_object"):
        return names
    objects = pc.replace_substring_regex(resolution.text("name_object"), r"[?#].*", "")
    bare = has_text(objects) & pc.equal(names, resolution.text("bare_name")).to_numpy(zero_copy_only=False)
    return chosen(bare, pc.binary_join_element_wise(names, objects, " "), names)


def _parameters(resolution: Resolution) -> pa.MapArray:
    """Of two spellings of one parameter the one sent first; the other stays in metadata if it says something else."""
    found = resolution.candidates
    if not found.keys.parameters:
        return empty_lists(TEXT_MAP, resolution.spans)
    number_of = {name: number for number, name in enumerate(dict.fromkeys(found.keys.parameters.values()))}
    numbers = np.full(len(found.names), NOTHING, np.int64)
    for code, name in found.keys.parameters.items():
        numbers[code] = number_of[name]
    rows = np.flatnonzero((numbers[found.code] >= 0) & found.has_value)
    parameters, first, group = np.unique(
        found.owner[rows].astype(np.int64) * len(number_of) + numbers[found.code[rows]],
        return_index=True,
        return_inverse=True,
    )
    _show_equal(resolution, rows, rows[first][group])
    rows = rows[first]
    keys = pa.array(list(number_of), pa.string()).take(pa.array(parameters % len(number_of)))
    return text_map(found.owner[rows], keys, found.values.take(pa.array(rows)), resolution.spans)


def _show_equal(resolution: Resolution, rows: Indices, winners: Indices) -> None:
    """Say that the winners' column shows them, and those that say the same."""
    resolution.shown[winners] = True
    lost = rows != winners
    if not lost.any():
        return
    values = resolution.candidates.values
    equal = pc.equal(values.take(pa.array(rows[lost])), values.take(pa.array(winners[lost])))
    resolution.shown[rows[lost][equal.to_numpy(zero_copy_only=False)]] = True


def _dialects(plan: Plan, resolution: Resolution) -> pa.StringArray:
    """The dialect of a span's scope; else, of those that its attributes speak, the one that comes first.

    An empty attribute speaks none: OpenInference's processor sets a span kind without a value on spans not its own.
    """
    found = resolution.candidates
    none = len(plan.dialects)
    spoken = found.keys.dialect[found.code]
    spoken = np.where((spoken == NOTHING) | ~found.has_value, none, spoken).astype(np.int16)
    best = np.full(resolution.spans, none, np.int16)
    np.minimum.at(best, found.owner, spoken)
    by_scope = found.members.any(axis=1)
    best[by_scope] = plan.dialect_of_convention[found.members[by_scope].argmax(axis=1)]
    return plan.dialect_names.take(pa.array(best))


def _origin(table: SpanTable, resolution: Resolution) -> dict[str, pa.Array]:
    """Resource and scope: mapped once each, then handed to their spans."""
    resource, scope = table.spans.column("resource"), table.spans.column("scope")
    services = resolution.resource_winners[resolution.resource_of_span, FIELD_INDEX["service_name"]]
    return {
        "service_name": take_text(resolution.resource_values, services),
        "resource_attributes": _handed_down(table.resource_attributes, table.resources.num_rows, resource),
        "scope_attributes": _handed_down(table.scope_attributes, table.scopes.num_rows, scope),
        "scope_name": table.scopes.column("name").take(scope),
        "scope_version": table.scopes.column("version").take(scope),
    }


def _handed_down(attributes: pa.RecordBatch, owners: int, owner_of_span: pa.Int32Array) -> pa.MapArray:
    if not attributes.num_rows:
        return empty_lists(TEXT_MAP, len(owner_of_span))
    return attribute_map(attributes, owners).take(owner_of_span)


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
