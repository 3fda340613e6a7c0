"""Recorded spans and log records on real chDB: each observation is complete, whichever of the two came first."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Final

import pytest

from config.conventions import load_conventions
from exporters.chdb_store import ChdbExporter
from otlp_receiver.app import transform
from pipelines.blocks import join
from pipelines.ingest import Request
from tests.support.arrow_rows import Row, table_rows
from tests.support.chdb import arrow, opened
from tests.support.corpus import Recording, recordings
from tests.support.log_reading import recorded_events
from tests.support.mapping import map_export
from tests.support.otlp import START_NS, Event, Export, Span, event

_TRANSFORM: Final = transform(load_conventions())
_COMPLETED: Final = ("input", "output", "tool_calls", "tool_definitions")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChdbExporter]:
    """One store for the file; orders are told apart by project."""
    with opened(tmp_path_factory.mktemp("recordings") / "chdb") as exporter:
        yield exporter


def _comparable(row: Row) -> Row:
    return {name: item for name, item in row.items() if name not in ("project_id", "ingested_at")}


def _groups() -> dict[str, list[Recording]]:
    """Recordings by scenario, of those that have log records."""
    groups: dict[str, list[Recording]] = {}
    for each in recordings():
        if each.signal != "metrics":
            groups.setdefault(str(PurePath(each.file).parent).removesuffix("/logs"), []).append(each)
    return {name: group for name, group in groups.items() if any(each.signal == "logs" for each in group)}


_GROUPS: Final = _groups()


def _store_recordings(store: ChdbExporter, project: str, orders: Sequence[Sequence[Recording]]) -> None:
    """Stores the n-th requests of all scenarios as one block a kind, then the next ones."""
    for turn in range(max(map(len, orders))):
        taken = [order[turn] for order in orders if turn < len(order)]
        requests = [
            Request(each.decompressed(), each.encoding, project, START_NS, each.signal)
            for each in taken
            if each.signal != "metrics"
        ]
        for batch in join(_TRANSFORM(requests)[0]):
            store.export(batch)


@pytest.fixture(scope="module")
def recorded(store: ChdbExporter) -> dict[str, tuple[list[Row], list[Row]]]:
    """Observations and traces of all recordings with log records, stored in four orders."""
    chance = random.Random(4)
    groups = list(_GROUPS.values())
    orders = {
        "spans first": [sorted(group, key=lambda each: each.signal == "logs") for group in groups],
        "logs first": [sorted(group, key=lambda each: each.signal != "logs") for group in groups],
        "again and again": [chance.sample([*group, *group], 2 * len(group)) for group in groups],
    }
    found = {}
    for project, order in orders.items():
        _store_recordings(store, project, order)
        found[project] = (_all(store, "observations", project), _all(store, "traces", project))
    return found


def _all(store: ChdbExporter, view: str, project: str) -> list[Row]:
    key = "trace_id, id" if view == "observations" else "id"
    return table_rows(arrow(store, f"SELECT * FROM {view} WHERE project_id = '{project}' ORDER BY {key}"))


@pytest.mark.parametrize("order", ["logs first", "again and again"])
def test_recordings_in_any_order(recorded: dict[str, tuple[list[Row], list[Row]]], order: str) -> None:
    """Each observation and each trace is the same, whichever came first and however often."""
    for expected, found in zip(recorded["spans first"], recorded[order], strict=True):
        assert [_comparable(row) for row in found] == [_comparable(row) for row in expected]


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("order", ["logs first", "again and again"])
def test_recordings_are_counted_alike(store: ChdbExporter, order: str) -> None:
    """Calls, tokens and cost of every trace and model do not depend on what came first."""
    for view, key in (("trace_totals", "trace_id"), ("model_usage", "day, provider, model")):
        query = f"SELECT * EXCEPT project_id FROM {view} WHERE project_id = '%s' ORDER BY {key}"
        expected = table_rows(arrow(store, query % "spans first"))
        assert table_rows(arrow(store, query % order)) == expected != []


def test_recordings_as_if_the_records_were_events_of_their_spans(
    recorded: dict[str, tuple[list[Row], list[Row]]],
) -> None:
    """Content is what the mapping makes of the same spans when the records are among their events."""
    stored = {(row["trace_id"], row["id"]): row for row in recorded["spans first"][0]}
    compared = 0
    for name, group in _GROUPS.items():
        events = _recorded_events(group)
        for each in group:
            if each.signal == "traces":
                for expected in map_export(_with_events(each, events)).observations:
                    key = expected["trace_id"], expected["id"]
                    wanted = {column: expected[column] for column in _COMPLETED}
                    assert {column: stored[key][column] for column in _COMPLETED} == wanted, (name, key)
                    compared += key in events
    assert compared > 120


def _recorded_events(group: Sequence[Recording]) -> dict[tuple[str, str], list[Event]]:
    """Events by span, in the order of their times."""
    events: dict[tuple[str, str], list[Event]] = {}
    for each in group:
        if each.signal == "logs":
            for sent in recorded_events(each):
                event_of_span = event(sent.name, {**sent.attributes, **sent.body}, time_ns=sent.time_ns)
                events.setdefault((sent.trace_id, sent.span_id), []).append(event_of_span)
    return {key: sorted(found, key=lambda each: each.time_ns) for key, found in events.items()}


def _with_events(each: Recording, events: dict[tuple[str, str], list[Event]]) -> Export:
    def more(sent: Span) -> Span:
        return replace(sent, events=[*sent.events, *events.get((sent.trace_id, sent.span_id), ())])

    return [
        replace(
            resource,
            scopes=[replace(scope, spans=[more(sent) for sent in scope.spans]) for scope in resource.scopes],
        )
        for resource in each.export()
    ]
