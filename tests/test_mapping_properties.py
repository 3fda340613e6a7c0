"""What holds for every span, whatever its attributes say: it becomes a row, and nothing of it is lost."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.conventions import load_conventions
from otlp_receiver.decode import decode
from otlp_receiver.mapping import map_spans
from pipelines.schema import TABLES
from tests.support.accounting import unaccounted
from tests.support.mapping import PLAN, map_export
from tests.support.otlp import START_NS, Event, Export, Span, Value, export, to_protobuf
from tests.support.span_tables import kind_and_text, request
from tests.support.strategies import exports, genai_attributes, spans

_calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
_KEYS = {
    key
    for convention in load_conventions()
    for key in [
        *convention.types,
        *convention.parameters.keys,
        *(source.key for sources in convention.fields.values() for source in sources),
    ]
}
_EVENT_NAMES = sorted(
    {
        name
        for convention in load_conventions()
        for name in [*convention.lifted_events, *convention.message_events, *convention.score_events, "exception"]
    }
)


def _times(**fields: Any) -> Span:
    return Span(start_ns=START_NS, end_ns=START_NS + 10**9, **fields)


_GENAI_SPANS = st.builds(_times, attributes=genai_attributes(_KEYS), status_code=st.integers(0, 2))


@_calm
@given(_GENAI_SPANS)
def test_no_attribute_is_lost(span: Span) -> None:
    """Every non-empty attribute of a span is in metadata, or its value is visible in another column."""
    distinct = dict(span.attributes)
    (row,) = map_export(export(_times(attributes=tuple(distinct.items())))).observations
    assert unaccounted(row, [(key, *kind_and_text(value)) for key, value in distinct.items()]) == []


@_calm
@given(
    st.lists(
        st.builds(
            _times,
            attributes=genai_attributes(_KEYS),
            events=st.lists(
                st.builds(Event, name=st.sampled_from(_EVENT_NAMES), attributes=genai_attributes(_KEYS)), max_size=3
            ),
        ),
        max_size=4,
    )
)
def test_any_genai_span_becomes_a_row(generated: list[Span]) -> None:
    """Whatever the values under known keys and in known events: no error, and one row a span, in order."""
    assert [row["id"] for row in map_export(export(*generated)).observations] == [span.span_id for span in generated]


@_calm
@given(exports)
def test_any_export_becomes_rows(resources: Export) -> None:
    """Arbitrary spans give batches that are schema-true, with identity, names and times as sent."""
    requests = [request(to_protobuf(resources))]
    table, _ = decode(requests)
    for batch in map_spans(PLAN, table, requests):
        assert batch.records.schema == TABLES[batch.kind].arrow_schema
        batch.records.validate(full=True)
    sent = [span for resource in resources for scope in resource.scopes for span in scope.spans]
    stored = map_export(resources).observations
    assert [(row["trace_id"], row["id"], row["parent_observation_id"], row["name"]) for row in stored] == [
        (span.trace_id, span.span_id, span.parent_id, span.name) for span in sent
    ]
    last = 2**63 - 1
    assert [(row["start_time"], row["end_time"]) for row in stored] == [
        (min(span.start_ns, last), min(span.end_ns, last)) for span in sent
    ]


@_calm
@given(st.lists(spans(), max_size=3))
def test_events_and_links_are_kept(generated: list[Span]) -> None:
    """Events and links keep their order, time, name, ids and every attribute."""
    for row, span in zip(map_export(export(*generated)).observations, generated, strict=True):
        assert [(event["name"], event["attributes"].keys()) for event in row["events"]] == [
            (event.name, dict(event.attributes).keys()) for event in span.events
        ]
        assert [(link["trace_id"], link["span_id"], link["trace_state"]) for link in row["links"]] == [
            (link.trace_id, link.span_id, link.trace_state) for link in span.links
        ]


@_calm
@given(genai_attributes(_KEYS).map(dict))
def test_structured_values_equal_their_json(attributes: dict[str, Value]) -> None:
    """A list or map as attribute value gives the same row as the same thing sent as a JSON string."""
    as_text = {
        key: json.dumps(value) if isinstance(value, list | dict) and _is_plain_json(value) else value
        for key, value in attributes.items()
    }
    structured = map_export(export(_times(attributes=tuple(attributes.items())))).observations
    texts = map_export(export(_times(attributes=tuple(as_text.items())))).observations
    assert _opened(structured) == _opened(texts)


def _is_plain_json(value: Value) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain_json, value.values()))
    if isinstance(value, list):
        return all(map(_is_plain_json, value))
    return isinstance(value, str | int | None)


def _opened(value: Any) -> Any:
    """Every JSON text parsed, however deep: the writing of JSON is not part of the promise."""
    if isinstance(value, dict):
        return {key: _opened(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_opened(item) for item in value]
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return _opened(json.loads(value))
        except (ValueError, RecursionError):
            return value
    return value
