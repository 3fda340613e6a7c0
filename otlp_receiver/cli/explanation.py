"""What the receiver makes of a recorded request: which attribute filled which column, and what was left.

Asks the mapping itself, so it shows what the service does, not what a second implementation believes.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from config.conventions import load_conventions
from otlp_receiver.decode import decode
from otlp_receiver.decode.span_table import SpanTable
from otlp_receiver.mapping.observations import observations
from otlp_receiver.mapping.plan import FIELDS, Plan
from otlp_receiver.mapping.resolution import Resolution, resolve
from pipelines.ingest import Accepted, BadRequest, Encoding, Request
from pipelines.schema import OBSERVATIONS

# Fields of the conventions that are not called like the column which they fill.
_COLUMN_OF_FIELD: Final = {
    "response_model": "model",
    "system_instructions": "input",
    "input_messages": "input",
    "tool_input": "input",
    "retrieval_input": "input",
    "output_messages": "output",
    "tool_output": "output",
    "retrieval_output": "output",
    "cache_read_tokens": "usage_details[input_cached_tokens]",
    "cache_creation_tokens": "usage_details[input_cache_creation]",
    "reasoning_tokens": "usage_details[output_reasoning_tokens]",
    "input_audio_tokens": "usage_details[input_audio_tokens]",
    "output_audio_tokens": "usage_details[output_audio_tokens]",
    "seconds_to_first_token": "completion_start_time",
}
_ORDER: Final = {column.name: index for index, column in enumerate(OBSERVATIONS.columns)}


@dataclass(frozen=True, slots=True)
class Filled:
    """A column, what filled it, and its value as text."""

    column: str
    sources: tuple[str, ...]
    value: str


@dataclass(frozen=True, slots=True)
class SpanExplanation:
    """What became of one span.

    Attributes:
        trace_id: 32 hex digits.
        id: 16 hex digits.
        parent_id: 16 hex digits, empty for a root.
        span_name: as sent.
        convention: title of the dialect that was recognised, empty for none.
        filled: columns in the order of the record.
        copies: attributes that say again, in the same words, what another one already filled.
        metadata: attributes that no column shows.
        resource: resource attributes, kept as they are.
        events: name and attributes of the span's events, in the order sent.
        links: trace and span ids that it links to.
    """

    trace_id: str
    id: str
    parent_id: str
    span_name: str
    convention: str
    filled: tuple[Filled, ...]
    copies: tuple[str, ...]
    metadata: dict[str, str]
    resource: dict[str, str]
    events: tuple[tuple[str, dict[str, str]], ...]
    links: tuple[str, ...]


def explain_request(body: bytes, encoding: Encoding) -> tuple[list[SpanExplanation], Accepted]:
    """Explain every usable span, and say what was rejected; raises BadRequest when the body cannot be decoded."""
    requests = [Request(body, encoding, "explain", 0)]
    table, outcomes = decode(requests)
    if isinstance(outcomes[0], BadRequest):
        raise outcomes[0]
    if not table.spans.num_rows:
        return [], outcomes[0]
    plan = Plan(load_conventions())
    resolution = resolve(plan, table)
    records = observations(plan, table, resolution, requests)
    explainer = _Explainer(plan, table, resolution, records)
    return [explainer.explain(span) for span in range(table.spans.num_rows)], outcomes[0]


@dataclass(frozen=True, slots=True)
class _Explainer:
    """The mapped spans, and how they came to be what they are."""

    plan: Plan
    table: SpanTable
    resolution: Resolution
    records: pa.RecordBatch

    def explain(self, span: int) -> SpanExplanation:
        titles = {convention.name: convention.title for convention in self.plan.conventions}
        convention = self._text("convention", span)
        return SpanExplanation(
            trace_id=self._text("trace_id", span),
            id=self._text("id", span),
            parent_id=self._text("parent_observation_id", span),
            span_name=self.table.spans.column("name")[span].as_py(),
            convention=titles.get(convention, convention),
            filled=self._filled(span),
            copies=self._copies(span),
            metadata=dict(self.records.column("metadata")[span].as_py()),
            resource=dict(self.records.column("resource_attributes")[span].as_py()),
            events=tuple(
                (event["name"].as_py(), dict(event["attributes"].as_py())) for event in self._list("events", span)
            ),
            links=tuple(f"{link['trace_id']} {link['span_id']}" for link in self._list("links", span)),
        )

    def _list(self, column: str, span: int) -> list[Any]:
        return list(self.records.column(column)[span].values or ())

    def _text(self, column: str, span: int) -> str:
        """A value of the record, empty when it has none."""
        values = self.records.column(column).slice(span, 1)
        if pa.types.is_timestamp(values.type):
            values = pc.cast(values, pa.string())
        value = values[0].as_py()
        if isinstance(value, str) or value is None:
            return value or ""
        if isinstance(value, Decimal):
            return f"{value:f}"
        return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else str(value)

    def _filled(self, span: int) -> tuple[Filled, ...]:
        sources: dict[str, list[str]] = {}
        for column, source in self._sources(span):
            sources.setdefault(column, []).append(source)
        found = [Filled(column, tuple(names), self._shown_value(column, span)) for column, names in sources.items()]
        return tuple(sorted(found, key=lambda one: _ORDER.get(one.column.partition("[")[0], len(_ORDER))))

    def _sources(self, span: int) -> Iterator[tuple[str, str]]:
        """(column, what filled it); several for a column that is put together."""
        yield "type", self._type_source(span)
        fields = dict(self._field_sources(span))
        yield "name", self._name_source(span, fields)
        for field, source in fields.items():
            yield _COLUMN_OF_FIELD.get(field, field), source
        if "request_model" in fields and "response_model" not in fields:
            yield "model", fields["request_model"]
        yield from self._parameters(span)
        yield from self._status_sources(span)
        yield from self._message_events(span)
        if len(self.records.column("tool_calls")[span]):
            yield "tool_calls", "calls in the output"

    def _field_sources(self, span: int) -> Iterator[tuple[str, str]]:
        """The attribute that won each field, where a column really shows it."""
        found = self.resolution
        resource = found.resource_of_span[span]
        for index, field in enumerate(FIELDS):
            row, inherited = found.winners[span, index], found.resource_winners[resource, index]
            if row >= 0 and found.shown[row]:
                yield field, self._key(row)
            elif row < 0 <= inherited:
                yield field, f"resource {self.table.resource_attributes.column('key')[inherited].as_py()}"

    def _key(self, row: int) -> str:
        found = self.resolution.candidates
        key = str(found.names[found.code[row]])
        return key if row < found.span_rows else f"{key} (event)"

    def _rows(self, span: int) -> list[int]:
        return [int(row) for row in np.flatnonzero(self.resolution.candidates.owner == span)]

    def _type_source(self, span: int) -> str:
        found = self.resolution.candidates
        kind = self._text("type", span)
        rules = [
            (rule, f"{self._key(row)} = {found.values[row]}")
            for row in self._rows(span)
            if (rule := found.keys.rule[found.code[row]]) >= 0
            and self.plan.type_rules[rule].get(found.values[row].as_py()) == kind
        ]
        return min(rules)[1] if rules else _TYPE_WITHOUT_RULE.get(kind, "nothing says more")

    def _name_source(self, span: int, fields: dict[str, str]) -> str:
        own = {"TOOL": "tool_name", "AGENT": "agent_name"}.get(self._text("type", span), "")
        return fields.get(own, "span name")

    def _parameters(self, span: int) -> Iterator[tuple[str, str]]:
        found = self.resolution.candidates
        for row in self._rows(span):
            name = found.keys.parameters.get(int(found.code[row]))
            if name is not None:
                yield f"model_parameters[{name}]", self._key(row)

    def _status_sources(self, span: int) -> Iterator[tuple[str, str]]:
        if self._text("level", span) == "DEFAULT":
            return
        status = self.table.spans.column("status_code")[span].as_py() == _STATUS_ERROR
        yield "level", "status" if status else "event exception"
        if self._text("status_message", span):
            has_message = bool(self.table.spans.column("status_message")[span].as_py())
            yield "status_message", "status" if has_message else "event exception"

    def _message_events(self, span: int) -> Iterator[tuple[str, str]]:
        """Halves that came as one event a message."""
        names = {event["name"].as_py() for event in self._list("events", span)}
        taken = {_COLUMN_OF_FIELD.get(field, field) for field, _ in self._field_sources(span)}
        for convention in self.plan.conventions:
            for name, meaning in convention.message_events.items():
                if name in names and meaning.side not in taken:
                    yield meaning.side, f"event {name}"

    def _shown_value(self, column: str, span: int) -> str:
        name, _, key = column.rstrip("]").partition("[")
        if key:
            return str(dict(self.records.column(name)[span].as_py()).get(key, "0"))  # a bucket of none is not kept
        return self._text(name, span) if name in _ORDER else self._raw(name, span)

    def _raw(self, field: str, span: int) -> str:
        """Of a field that fills a trace's column and no observation's."""
        row = self.resolution.winners[span, FIELDS.index(field)]
        return str(self.resolution.candidates.values[row]) if row >= 0 else ""

    def _copies(self, span: int) -> tuple[str, ...]:
        found = self.resolution
        winners = set(found.winners[span].tolist())
        fields, parameters = found.candidates.keys.field, found.candidates.keys.parameters
        return tuple(
            self._key(row)
            for row in self._rows(span)
            if row < found.candidates.span_rows and found.shown[row] and row not in winners
            and fields[found.candidates.code[row]] >= 0 and int(found.candidates.code[row]) not in parameters
        )  # fmt: skip


_STATUS_ERROR: Final = 2
_TYPE_WITHOUT_RULE: Final = {"TOOL": "a tool is named", "GENERATION": "a model is named"}
