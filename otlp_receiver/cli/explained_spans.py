"""What became of each span of a request, for `explain`.

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

from otlp_receiver.cli.explained_columns import ORDER, column_of
from otlp_receiver.cli.explained_usage import usage_notes
from otlp_receiver.decode.span_table import SpanTable
from otlp_receiver.mapping.keys import NOTHING
from otlp_receiver.mapping.numbers import parse_number
from otlp_receiver.mapping.plan import COUNT_FIELDS, FIELD_INDEX, FIELDS, Plan
from otlp_receiver.mapping.resolution import Resolution

_STATUS_ERROR: Final = 2
_NAME_PARTS: Final = ("bare_name", "name_object")
_TYPE_WITHOUT_RULE: Final = {"TOOL": "a tool is named", "GENERATION": "a model is named"}


@dataclass(frozen=True, slots=True)
class Filled:
    """A column, what filled it, and its value as text."""

    column: str
    sources: tuple[str, ...]
    value: str


@dataclass(frozen=True, slots=True)
class Lost:
    """What could have filled a column that something better filled."""

    column: str
    source: str
    value: str


@dataclass(frozen=True, slots=True)
class SpanExplanation:
    """What became of one span, or of one log record that is a GenAI event.

    Attributes:
        trace_id: 32 hex digits; empty for a log record without a span.
        id: 16 hex digits; empty for a log record without a span.
        parent_id: 16 hex digits, empty for a root.
        span_name: as sent.
        convention: title of the dialect that was recognised, empty for none.
        recognised_by: scope or attribute that it was known by.
        also: titles of the other dialects that it speaks, with what they were known by.
        filled: columns in the order of the record.
        lost: values that another one was preferred to; they are in metadata.
        usage: how tokens became disjoint buckets, in sentences.
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
    recognised_by: str
    also: tuple[str, ...]
    filled: tuple[Filled, ...]
    lost: tuple[Lost, ...]
    usage: tuple[str, ...]
    copies: tuple[str, ...]
    metadata: dict[str, str]
    resource: dict[str, str]
    events: tuple[tuple[str, dict[str, str]], ...]
    links: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explainer:
    """The mapped spans, and how they came to be what they are."""

    plan: Plan
    table: SpanTable
    resolution: Resolution
    records: pa.RecordBatch

    def explain(self, span: int) -> SpanExplanation:
        """One span, by its row."""
        spoken = self._spoken(span)
        name = self._text("convention", span)
        filled = self._filled(span)
        return SpanExplanation(
            trace_id=self._text("trace_id", span),
            id=self._text("id", span),
            parent_id=self._text("parent_observation_id", span),
            span_name=self.table.spans.column("name")[span].as_py(),
            convention=self._title(name),
            recognised_by=spoken.pop(name, ""),
            also=tuple(f"{self._title(other)} ({why})" for other, why in spoken.items()),
            filled=filled,
            lost=tuple(self._lost(span, {one.column for one in filled})),
            usage=tuple(self._usage(span)),
            copies=self._copies(span),
            metadata=dict(self.records.column("metadata")[span].as_py()),
            resource=dict(self.records.column("resource_attributes")[span].as_py()),
            events=tuple(
                (event["name"].as_py(), dict(event["attributes"].as_py())) for event in self._list("events", span)
            ),
            links=tuple(f"{link['trace_id']} {link['span_id']}" for link in self._list("links", span)),
        )

    def _title(self, name: str) -> str:
        titles = {convention.name: convention.title for convention in self.plan.conventions}
        return titles.get(name, name)

    def _spoken(self, span: int) -> dict[str, str]:
        """Dialects that a span speaks, and what says so: its scope, else its first attribute under their prefixes."""
        found = self.resolution.candidates
        scope = self.table.scopes.column("name")[self.table.spans.column("scope")[span].as_py()].as_py()
        members = np.flatnonzero(found.members[span]).tolist()
        spoken = {self.plan.conventions[index].name: f"scope {scope}" for index in members}
        for row in self._rows(span):
            dialect = int(found.keys.dialect[found.code[row]])
            if dialect != NOTHING and row < found.attribute_rows:
                spoken.setdefault(self.plan.dialects[dialect], f"attribute {self._key(row)}")
        return spoken

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

    # --- what filled a column ---

    def _filled(self, span: int) -> tuple[Filled, ...]:
        sources: dict[str, list[str]] = {}
        for column, source in self._sources(span):
            sources.setdefault(column, []).append(source)
        found = [
            Filled(column, tuple(dict.fromkeys(names)), self._shown_value(column, span))
            for column, names in sources.items()
        ]
        return tuple(sorted(found, key=lambda one: ORDER.get(one.column.partition("[")[0], len(ORDER))))

    def _sources(self, span: int) -> Iterator[tuple[str, str]]:
        """(column, what filled it); several for a column that is put together."""
        yield "type", self._type_source(span)
        fields = dict(self._field_sources(span))
        yield "name", self._name_source(span, fields)
        for field, source in fields.items():
            if column_of(field) != "name":
                yield column_of(field), source
        if "run_messages" in fields and self._text("output", span):
            yield "output", fields["run_messages"]
        if "request_model" in fields and "response_model" not in fields:
            yield "model", fields["request_model"]
        yield from self._parameters(span)
        yield from self._status_sources(span, fields)
        yield from self._message_events(span, fields)
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
            elif row >= 0 and field == "provider":
                yield field, f"{self._key(row)} = {found.candidates.values[row]}"
            elif row < 0 <= inherited:
                yield field, f"resource {self.table.resource_attributes.column('key')[inherited].as_py()}"

    def _key(self, row: int) -> str:
        found = self.resolution.candidates
        key = str(found.names[found.code[row]])
        return f"{key} (event)" if found.span_rows <= row < found.attribute_rows else key

    def _rows(self, span: int) -> list[int]:
        return [int(row) for row in np.flatnonzero(self.resolution.candidates.owner == span)]

    def _type_source(self, span: int) -> str:
        found = self.resolution.candidates
        kind = self._text("type", span)
        rules = [
            (rule, f"{self._key(row)} = {found.values[row]}")
            for row in self._rows(span)
            if (rule := found.keys.rule[found.code[row]]) >= 0
            and self.plan.types.type_by_value(rule, found.values[row].as_py()) == kind
        ]
        name = self.table.spans.column("name")[span].as_py()
        rules += [
            (rule, f"span name {name}")
            for convention, rule in self.plan.types.rule_of_scope.items()
            if found.members[span, convention] and self.plan.types.type_by_name(rule, name) == kind
        ]
        return min(rules)[1] if rules else _TYPE_WITHOUT_RULE.get(kind, "nothing says more")

    def _name_source(self, span: int, fields: dict[str, str]) -> str:
        own = {"TOOL": "tool_name", "AGENT": "agent_name"}.get(self._text("type", span), "")
        if own in fields or "display_name" in fields:
            return fields.get(own) or fields["display_name"]
        row = self.resolution.winners[span, FIELD_INDEX["name_object"]]
        is_longer = self._text("name", span) != self.table.spans.column("name")[span].as_py()
        return f"span name + {self._key(row)}" if is_longer and row >= 0 else "span name"

    def _parameters(self, span: int) -> Iterator[tuple[str, str]]:
        found = self.resolution.candidates
        told: set[str] = set()
        for row in self._rows(span):
            name = found.keys.parameters.get(int(found.code[row]), "")
            is_of_event = found.span_rows <= row < found.attribute_rows
            if name and self.resolution.shown[row] and not (is_of_event and name in told):
                told.add(name)
                yield f"model_parameters[{name}]", self._key(row)

    def _status_sources(self, span: int, fields: dict[str, str]) -> Iterator[tuple[str, str]]:
        if self._text("level", span) == "DEFAULT" or "level" in fields:
            return
        status = self.table.spans.column("status_code")[span].as_py() == _STATUS_ERROR
        yield "level", "status" if status else "event exception"
        if self._text("status_message", span) and not {"status_message", "error"} & fields.keys():
            has_message = bool(self.table.spans.column("status_message")[span].as_py())
            yield "status_message", "status" if has_message else "event exception"

    def _message_events(self, span: int, fields: dict[str, str]) -> Iterator[tuple[str, str]]:
        """Halves that came as one event a message."""
        names = {event["name"].as_py() for event in self._list("events", span)}
        taken = {column_of(field) for field in fields}
        for convention in self.plan.conventions:
            for name, meaning in convention.message_events.items():
                if name in names and meaning.side not in taken and self._text(meaning.side, span):
                    yield meaning.side, f"event {name}"

    def _shown_value(self, column: str, span: int) -> str:
        name, _, key = column.rstrip("]").partition("[")
        if name == "trace":
            return self._raw("public" if key == "public" else f"trace_{key}", span)
        if key:
            return str(dict(self.records.column(name)[span].as_py()).get(key, "0"))  # a bucket of none is not kept
        return self._text(name, span) if name in ORDER else self._raw(name, span)

    def _raw(self, field: str, span: int) -> str:
        """Of a field that fills a trace's column and no observation's."""
        row = self.resolution.winners[span, FIELDS.index(field)]
        return str(self.resolution.candidates.values[row]) if row >= 0 else ""

    # --- what did not ---

    def _lost(self, span: int, columns: set[str]) -> Iterator[Lost]:
        """Candidates of filled columns whose own value no column shows."""
        found = self.resolution.candidates
        for row in self._rows(span):
            field, value = int(found.keys.field[found.code[row]]), found.values[row].as_py()
            if field == NOTHING or FIELDS[field] in _NAME_PARTS or self.resolution.shown[row] or not value:
                continue
            column, winner = column_of(FIELDS[field]), self.resolution.winners[span, field]
            is_told = FIELDS[field] == "provider" and value == found.values[winner].as_py()  # under its other name
            if column in columns and not is_told:
                yield Lost(column, self._key(row), value)

    def _copies(self, span: int) -> tuple[str, ...]:
        found = self.resolution.candidates
        winners = set(self.resolution.winners[span, :].tolist())
        fields, parameters = found.keys.field, found.keys.parameters
        return tuple(
            self._key(row)
            for row in self._rows(span)
            if self.resolution.shown[row] and row not in winners and not found.span_rows <= row < found.attribute_rows
            and fields[found.code[row]] >= 0 and int(found.code[row]) not in parameters
        )  # fmt: skip

    # --- tokens ---

    def _usage(self, span: int) -> Iterator[str]:
        found = self.resolution
        sent: dict[str, tuple[str, int]] = {}
        for field in COUNT_FIELDS:
            row = found.winners[span, field]
            number = parse_number(found.candidates.values[row].as_py()) if row >= 0 else None
            if number is not None:
                sent[FIELDS[field]] = self._key(row), int(number)
        given = found.winners[span, FIELD_INDEX["usage_details"]]
        shown = self._key(given) if given >= 0 and found.shown[given] else ""
        buckets = dict(self.records.column("usage_details")[span].as_py())
        inclusive = {name: self.records.column(name)[span].as_py() for name in ("input_tokens", "output_tokens")}
        return usage_notes(buckets, inclusive, sent, shown)
