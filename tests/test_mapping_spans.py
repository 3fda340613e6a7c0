"""What every span has, GenAI or not: identity, times, status, events, links, resource, scope."""

from typing import Any

import pytest

from tests.support.mapping import map_bodies, map_export, observation
from tests.support.otlp import START_NS, Link, Resource, Scope, Span, event, export, span, to_protobuf


@pytest.mark.parametrize(
    ("code", "message", "level", "status", "stored"),
    [
        (0, "", "DEFAULT", "UNSET", ""),
        (1, "", "DEFAULT", "OK", ""),
        (2, "rate limit", "ERROR", "ERROR", "rate limit"),
        (2, "", "ERROR", "ERROR", ""),
        (7, "of tomorrow", "DEFAULT", "UNSET", "of tomorrow"),
    ],
)
def test_status(code: int, message: str, level: str, status: str, stored: str) -> None:
    """Status becomes level and message."""
    row = observation(span(status_code=code, status_message=message))
    assert (row["level"], row["status_code"], row["status_message"]) == (level, status, stored)


_EXCEPTION = event("exception", {"exception.type": "ValueError", "exception.message": "no such city"})


@pytest.mark.parametrize(
    ("code", "message", "events", "level", "stored"),
    [
        (2, "", [_EXCEPTION], "ERROR", "no such city"),
        (2, "failed", [_EXCEPTION], "ERROR", "failed"),
        (1, "", [_EXCEPTION], "ERROR", "no such city"),
        (0, "", [_EXCEPTION], "DEFAULT", ""),
        (2, "", [event("exception", {"exception.type": "ValueError"}), _EXCEPTION], "ERROR", "ValueError"),
        (2, "", [event("exception")], "ERROR", "exception"),
        (2, "", [event("other", {"exception.message": "no"})], "ERROR", ""),
    ],
)
def test_exceptions(code: int, message: str, events: list[Any], level: str, stored: str) -> None:
    """An exception explains an error that has no message, and shows an error that the SDK calls OK (LangSmith)."""
    row = observation(span(status_code=code, status_message=message, events=events))
    assert (row["level"], row["status_message"]) == (level, stored)
    assert len(row["events"]) == len(events)


def test_identity_times_and_counts() -> None:
    """Ids, nanoseconds, kind, trace state, flags and what the SDK cut are stored as sent."""
    sent = Span(
        trace_id="ab" * 16,
        span_id="cd" * 8,
        parent_id="ef" * 8,
        kind=3,
        start_ns=START_NS + 1,
        end_ns=START_NS + 2,
        trace_state="vendor=1",
        flags=0x301,
        dropped=(1, 2, 3),
    )
    row = observation(sent)
    expected = {
        "project_id": "default",
        "trace_id": "ab" * 16,
        "id": "cd" * 8,
        "parent_observation_id": "ef" * 8,
        "is_root": False,
        "span_kind": "CLIENT",
        "start_time": START_NS + 1,
        "end_time": START_NS + 2,
        "trace_state": "vendor=1",
        "trace_flags": 0x301,
        "dropped_attributes_count": 1,
        "dropped_events_count": 2,
        "dropped_links_count": 3,
        "ingested_at": START_NS,
    }
    assert {name: row[name] for name in expected} == expected
    assert observation(span())["is_root"] is True


def test_events_and_links() -> None:
    """Events and links keep their order, nanoseconds, names and attributes as text."""
    row = observation(
        span(
            events=[event("first", {"n": 1}, time_ns=START_NS + 1), event("second", {"list": [1]}, time_ns=0)],
            links=[Link(trace_id="ab" * 16, span_id="cd" * 8, trace_state="a=b", attributes=[("why", "retry")])],
        )
    )
    assert row["events"] == [
        {"time": START_NS + 1, "name": "first", "attributes": {"n": "1"}},
        {"time": 0, "name": "second", "attributes": {"list": "[1]"}},
    ]
    assert row["links"] == [
        {"trace_id": "ab" * 16, "span_id": "cd" * 8, "trace_state": "a=b", "attributes": {"why": "retry"}}
    ]


def test_resource_and_scope() -> None:
    """Each span carries its own resource and scope; resource values serve where the span has none of its own."""
    resources = [
        Resource(
            attributes=[("service.name", f"service {index}"), ("user.id", "from resource"), ("host.cpu", index)],
            scopes=[
                Scope(
                    name=f"scope {index}",
                    version="1.2",
                    attributes=[("s", True)],
                    spans=[span(), span({"user.id": "own"})],
                )
            ],
        )
        for index in range(2)
    ]
    rows = map_export(resources).observations
    assert [row["service_name"] for row in rows] == ["service 0"] * 2 + ["service 1"] * 2
    assert [row["user_id"] for row in rows] == ["from resource", "own"] * 2
    assert rows[2]["resource_attributes"] == {"service.name": "service 1", "user.id": "from resource", "host.cpu": "1"}
    assert (rows[2]["scope_name"], rows[2]["scope_version"]) == ("scope 1", "1.2")
    assert rows[2]["scope_attributes"] == {"s": "true"}
    assert rows[0]["metadata"] == rows[1]["metadata"] == {}


def test_rows_of_many_requests() -> None:
    """Spans of several requests are mapped together and keep their own resource, project and order."""
    bodies = [to_protobuf(export(span(name=name), resource={"service.name": name})) for name in ("a", "b")]
    rows = map_bodies([bodies[0], to_protobuf([]), bodies[1]]).observations
    assert [(row["name"], row["service_name"]) for row in rows] == [("a", "a"), ("b", "b")]


def test_nothing_maps_to_no_batch() -> None:
    """An empty request makes no rows of any kind."""
    mapped = map_export([])
    assert (mapped.observations, mapped.traces, mapped.scores) == ([], [], [])
