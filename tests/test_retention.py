"""Rows of projects that keep them for fewer days than the tables do, on chDB and on a ClickHouse server."""

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from exporters.clickhouse_sql import quoted
from exporters.retention import _TABLES, Keeper, order_deletions
from pipelines.errors import Retryable
from tests.support.chdb import call_in_thread, opened
from tests.support.clickhouse import exporter_at, server
from tests.support.processes import running
from tests.support.retention import (
    ROWS,
    Store,
    all_of,
    database,
    execute_on,
    export_rows,
    left,
    mutations,
    order_and_wait,
    store_at,
    store_days_ago,
    store_two_projects,
)
from tests.support.waiting import wait_until

_NUMBERS: Final = count(1)


@pytest.fixture(scope="module", params=["chdb", "clickhouse"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for the file; tests tell their rows from others' by project."""
    if request.param == "chdb":
        with opened(tmp_path_factory.mktemp("retention") / "chdb", ttl_days=0) as embedded:
            yield embedded
    else:
        with server() as endpoint, exporter_at(endpoint) as exporter:
            yield exporter


@pytest.fixture
def project() -> str:
    """One that no other test has; its name is not harmless in SQL."""
    return f"project's {next(_NUMBERS)}"


def _ordered(store: Store, keep_days: dict[str, int]) -> list[str]:
    assert isinstance(store, Keeper)
    return [deletion.table.partition(".")[2] for deletion in store.delete_expired(keep_days)]


def test_rows_go_from_every_table(store: Store, project: str) -> None:
    """What a project has kept for long enough goes from all tables; its later rows and other projects' stay."""
    young, other, endless = f"{project} young", f"{project} other", f"{project} endless"
    store_days_ago(store, project, 9)
    store_days_ago(store, young, 6)
    store_days_ago(store, other, 40)
    store_days_ago(store, endless, 4000)

    deletions = list(store.delete_expired({project: 7, young: 7, other: 100}))

    assert [each.table for each in deletions] == [f"{database(store)}.{name}" for name in _TABLES]
    assert {each.projects for each in deletions} == {1}
    assert {each.rows >= ROWS for each in deletions} == {True}
    wait_until(lambda: left(store, project) == all_of(0))
    assert [left(store, each) for each in (young, other, endless)] == [all_of(ROWS)] * 3


def test_nothing_due_is_no_mutation(store: Store, project: str) -> None:
    """Once rows are gone, and while none are due, the server has nothing to do."""
    store_days_ago(store, project, 9)
    _ordered(store, {project: 7})
    wait_until(lambda: left(store, project) == all_of(0))
    export_rows(store, project)
    before = mutations(store)

    assert _ordered(store, {project: 1}) == []
    assert _ordered(store, {}) == []
    assert mutations(store) == before


def test_days_are_whole(store: Store, project: str) -> None:
    """What was stored on one day (UTC) goes together: the last second of a day goes, the first of the next stays."""
    first, last = f"{project} first", f"{project} last"
    boundary = "toStartOfDay(now('UTC'), 'UTC') - toIntervalDay(7)"
    for name, stored_at in ((first, boundary), (last, f"{boundary} - toIntervalSecond(1)")):
        store_at(store, name, stored_at)

    _ordered(store, {first: 7, last: 7})

    wait_until(lambda: left(store, last) == all_of(0))
    assert left(store, first) == all_of(ROWS)


def test_rows_sent_again_live_again(store: Store, project: str) -> None:
    """A redelivery after the deletion is as old as when it was stored, whatever its spans say."""
    store_days_ago(store, project, 9)
    _ordered(store, {project: 7})
    wait_until(lambda: left(store, project) == all_of(0))

    export_rows(store, project)
    _ordered(store, {project: 7})
    assert left(store, project) == all_of(ROWS)


def test_the_later_copy_counts(store: Store, project: str) -> None:
    """Of a row that was stored twice the later stays as long as that one is young enough, with what the views show."""
    store_days_ago(store, project, 9)
    export_rows(store, project)

    _ordered(store, {project: 7})
    wait_until(lambda: not _ordered(store, {project: 7}))

    assert left(store, project) == all_of(ROWS)
    shown = f"FROM {database(store)}.trace_totals WHERE project_id = {quoted(project)}"
    totals = execute_on(store)(f"SELECT count(), sum(model_call_count) {shown}")
    assert [int(each) for each in totals[0]] == [ROWS, ROWS]


@pytest.mark.parametrize("days", [20_000, 2**31 - 1])
def test_days_before_1970(store: Store, project: str, days: int) -> None:
    """More days than there have been delete nothing, instead of all by an overflow."""
    store_days_ago(store, project, 9)

    assert _ordered(store, {project: days}) == []
    assert left(store, project) == all_of(ROWS)


def test_a_running_mutation_is_waited_for(store: Store, project: str) -> None:
    """While a table is still being mutated nothing more is ordered for it; the others are done."""
    store_days_ago(store, project, 9)
    table = f"{database(store)}.trace_rows"
    execute_on(store)(f"SYSTEM STOP MERGES {table}")
    try:
        assert _ordered(store, {project: 7}) == list(_TABLES)
        assert _ordered(store, {project: 7}).count("trace_rows") == 0
    finally:
        execute_on(store)(f"SYSTEM START MERGES {table}")
    wait_until(lambda: left(store, project) == all_of(0))


def test_a_failing_mutation_is_told(store: Store, project: str) -> None:
    """When a table's mutation fails again and again its reason is raised, after the other tables were done."""
    store_days_ago(store, project, 9)
    table, execute = f"{database(store)}.score_rows", execute_on(store)
    failing = f"throwIf(project_id = {quoted(project)}, 'on purpose') = 1 SETTINGS mutations_sync = 0"
    failed = "SELECT count() FROM system.mutations WHERE latest_fail_reason != '' AND NOT is_done"
    try:
        execute(f"ALTER TABLE {table} DELETE WHERE {failing}")
        wait_until(lambda: int(execute(failed)[0][0]))
        with pytest.raises(Retryable, match=r"score_rows fails.*on purpose"):
            _ordered(store, {project: 7})
        wait_until(lambda: left(store, project) == {**all_of(0), "score_rows": ROWS})
    finally:
        execute(f"KILL MUTATION WHERE database = '{database(store)}' AND table = 'score_rows'")


def test_several_at_once(store: Store, project: str) -> None:
    """Processes that serve one store may all do it at the same time: it is done, and nothing else."""
    other = f"{project} other"
    store_days_ago(store, project, 9)
    export_rows(store, other)
    calls = [call_in_thread(lambda: _ordered(store, {project: 7, other: 7})) for _ in range(4)]
    for each in calls:
        each.join()

    assert [each.error for each in calls] == [None] * 4
    wait_until(lambda: left(store, project) == all_of(0))
    assert left(store, other) == all_of(ROWS)


def test_many_projects(store: Store, project: str) -> None:
    """More projects than one statement may name are told in several."""
    names = {f"{project} {number}": 1 + number % 300 for number in range(2500)}
    store_days_ago(store, f"{project} 2400", 9)

    assert _ordered(store, {**names, f"{project} 2400": 7}) == list(_TABLES)
    wait_until(lambda: left(store, f"{project} 2400") == all_of(0))


def test_an_order_survives_a_kill(tmp_path: Path) -> None:
    """A mutation that was ordered before `kill -9` is done after the next start of the embedded store."""
    with running(store_two_projects, tmp_path) as first:
        assert first.next() == "stored"
        first.join()
    with running(order_and_wait, tmp_path, {"old": 30, "new": 30}) as second:
        assert second.next() == ([f"otel.{name}" for name in _TABLES], all_of(ROWS))
    with running(_what_is_left, tmp_path) as third:
        assert third.next() == (all_of(0), all_of(ROWS))
        third.join()


def _what_is_left(done: Any, path: Path) -> None:
    with opened(path, ttl_days=0) as store:
        wait_until(lambda: left(store, "old") == all_of(0))
        done.send((left(store, "old"), left(store, "new")))


def test_a_cluster_is_asked_and_told_as_one() -> None:
    """Rows are found through the Distributed table, mutations on all replicas; the shards are what is changed."""
    said: list[str] = []

    def execute(statement: str) -> Sequence[Sequence[Any]]:
        said.append(statement)
        if "toUnixTimestamp" in statement:
            return [[20_000 * 86_400]]
        if "system.mutations" in statement:
            return [["call_rows_shard", ""]]
        return [["a", 3]] if "FROM otel.trace_rows" in statement else []

    (deletion,) = order_deletions(execute, "otel", {"a": 30, "b": 30}, "main")

    due = "stored_at < toDateTime(1725408000)"
    assert (deletion.table, deletion.projects, deletion.rows) == ("otel.trace_rows", 1, 3)
    assert "clusterAllReplicas('main', system.mutations)" in said[1]
    assert "'observation_rows_shard'" in said[1]
    assert (
        said[3] == f"SELECT project_id, count() FROM otel.trace_rows WHERE (project_id IN ('a', 'b') AND {due}) "
        "GROUP BY project_id"
    )
    assert said[4] == f"ALTER TABLE otel.trace_rows_shard ON CLUSTER main DELETE WHERE (project_id IN ('a') AND {due})"
    assert not [statement for statement in said if "otel.call_rows " in statement]
