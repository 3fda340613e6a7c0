"""The ClickHouse exporter while the server fails: what may pass is tried again, what never will is set aside."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from config.models import BlockSettings, ClickHouseExporterSettings, RetrySettings
from exporters.clickhouse_native import ClickHouseExporter
from exporters.clickhouse_pressure import Pressure
from pipelines.batch import Batch
from pipelines.buffers import LocalBuffer
from pipelines.errors import Permanent, Retryable
from pipelines.export import ExportLoop
from tests.support.buffers import local_buffer
from tests.support.clickhouse import count, exporter_at, settings_at
from tests.support.clickhouse_front import Front, clickhouse_front
from tests.support.records import from_rows, ids, observations
from tests.support.service import free_ports
from tests.support.waiting import wait_until

_WAIT = RetrySettings(initial_interval=0.01, max_interval=0.05)


@pytest.fixture(scope="module")
def running() -> Iterator[Front]:
    """One server for the file."""
    with clickhouse_front() as front:
        yield front


@pytest.fixture
def front(running: Front) -> Iterator[Front]:
    """The server, sound again at the end."""
    yield running
    running.fail()


def _settings(front: Front, **settings: Any) -> ClickHouseExporterSettings:
    return settings_at(
        front.endpoint,
        ttl_days=0,
        retry_on_failure=_WAIT,
        block=BlockSettings(max_rows=100, flush_interval=0.0),
        **settings,
    )


@contextmanager
def _exporting(front: Front, buffer: LocalBuffer) -> Iterator[ClickHouseExporter]:
    settings = _settings(front, timeout=10.0)
    exporter = ClickHouseExporter("clickhouse", settings)
    loop = ExportLoop("clickhouse", exporter, buffer, settings, buffer.dead_letters)
    loop.start()
    try:
        yield exporter
    finally:
        assert loop.shutdown(30)
        exporter.close()


def _move_all(front: Front, buffer: LocalBuffer) -> None:
    with _exporting(front, buffer):
        wait_until(lambda: buffer.statistics("clickhouse").rows_behind == 0, 60)


@contextmanager
def _buffer(directory: Path, *batches: Batch) -> Iterator[LocalBuffer]:
    buffer = local_buffer(directory, "clickhouse")
    buffer.append(list(batches))
    try:
        yield buffer
    finally:
        buffer.close()


def _of(project: str, rows: int) -> list[Batch]:
    return [
        from_rows(
            "observations",
            [{"project_id": project, "trace_id": str(n), "id": str(n)} for n in range(first, first + 100)],
        )
        for first in range(0, rows, 100)
    ]


def _stored(front: Front, project: str) -> int:
    with exporter_at(front.endpoint) as exporter:
        return count(exporter, "observations", f"project_id = '{project}'")


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (60, "UNKNOWN_TABLE"),
        (159, "TIMEOUT_EXCEEDED"),
        (164, "READONLY"),
        (202, "TOO_MANY_SIMULTANEOUS_QUERIES"),
        (241, "MEMORY_LIMIT_EXCEEDED"),
        (242, "TABLE_IS_READ_ONLY"),
        (243, "NOT_ENOUGH_SPACE"),
        (252, "TOO_MANY_PARTS"),
        (319, "UNKNOWN_STATUS_OF_INSERT"),
        (497, "ACCESS_DENIED"),
        (516, "AUTHENTICATION_FAILED"),
        (999, "KEEPER_EXCEPTION"),
    ],
)
def test_what_may_pass_is_retryable(front: Front, code: int, name: str) -> None:
    """A server that cannot take rows now, for whatever reason, is asked again later; its words are in the message."""
    with exporter_at(front.endpoint) as exporter:
        front.fail(share=1.0, code=code)

        with pytest.raises(Retryable, match=f"Code: {code}"):
            exporter.export(from_rows("observations", [{"project_id": name}]))


@pytest.mark.parametrize(
    ("code", "name"), [(6, "CANNOT_PARSE_TEXT"), (131, "TOO_LARGE_STRING_SIZE"), (117, "INCORRECT_DATA")]
)
def test_what_never_will_is_permanent(front: Front, code: int, name: str) -> None:
    """Rows that the server will never take are told apart from a server that is in trouble."""
    with exporter_at(front.endpoint) as exporter:
        front.fail(share=1.0, code=code)

        with pytest.raises(Permanent, match=f"Code: {code}"):
            exporter.export(from_rows("observations", [{"project_id": name}]))


def test_nobody_listens() -> None:
    """A server that is down is Retryable from the start on, and the message says where it should be."""
    (port,) = free_ports(1)
    exporter = ClickHouseExporter("clickhouse", settings_at(f"clickhouse://user:secret@127.0.0.1:{port}"))

    with pytest.raises(Retryable, match=rf"127\.0\.0\.1:{port}") as caught:
        exporter.open()

    assert "secret" not in str(caught.value)


def test_a_server_that_never_answers() -> None:
    """One that takes the connection and stays silent is given up after the timeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"clickhouse://127.0.0.1:{silent.getsockname()[1]}"
        exporter = ClickHouseExporter("clickhouse", settings_at(endpoint, timeout=0.2))

        with pytest.raises(Retryable):
            exporter.open()


def test_the_next_host_is_taken(front: Front) -> None:
    """Of several hosts one that answers is enough."""
    (port,) = free_ports(1)
    endpoint = front.endpoint.replace("//", f"//127.0.0.1:{port},")

    with exporter_at(endpoint) as exporter:
        exporter.export(from_rows("observations", [{"project_id": "hosts"}]))

        assert count(exporter, "observations", "project_id = 'hosts'") == 1


def test_a_replica_that_is_read_only_is_left(front: Front) -> None:
    """Of several hosts one that answers, but takes nothing, is not asked again at once."""
    with clickhouse_front() as other:
        for each in (front, other):
            with exporter_at(each.endpoint):
                pass
        front.fail(share=1.0, code=242)
        endpoint = f"clickhouse://127.0.0.1:{front.port},127.0.0.1:{other.port}/otel"
        with exporter_at(endpoint) as exporter:
            row = from_rows("observations", [{"project_id": "read-only"}])
            with pytest.raises(Retryable, match="Code: 242"):
                exporter.export(row)

            exporter.export(row)

        with exporter_at(other.endpoint) as reader:
            assert count(reader, "observations", "project_id = 'read-only'") == 1


def test_refusing_most_inserts(front: Front, tmp_path: Path) -> None:
    """A server that refuses 70 % of the inserts gets every row in the end, each once, and nothing is set aside."""
    front.fail(share=0.7, code=243)
    with _buffer(tmp_path, *_of("refusing", 2000)) as buffer:
        _move_all(front, buffer)

        stored = _stored(front, "refusing")
        print(f"refusing 70 %: 2000 sent, {stored} stored, {len(buffer.dead_letters.names())} dead letters")  # noqa: T201 - figures for who reads the log
        assert stored == 2000
        assert buffer.dead_letters.names() == []


def test_answers_lost_after_storing(front: Front, tmp_path: Path) -> None:
    """Blocks that were stored, but whose answers were lost with the connection, are sent again and seen once."""
    front.fail(dropped=100_000)
    with _buffer(tmp_path, *_of("lost", 500)) as buffer:
        with _exporting(front, buffer):
            wait_until(lambda: _stored(front, "lost") > 0, 60)
            front.fail()
            wait_until(lambda: buffer.statistics("clickhouse").rows_behind == 0, 60)

        print(f"answers lost: 500 sent, {_stored(front, 'lost')} seen")  # noqa: T201 - figures for who reads the log
        assert _stored(front, "lost") == 500


def test_poison_rows_are_isolated(front: Front, tmp_path: Path) -> None:
    """Rows that the server never takes end in the dead letters with its reason; all others are stored."""
    rows = [
        {"project_id": "poison", "id": str(n), "input": "POISON" if n in (17, 170, 299) else "water"}
        for n in range(300)
    ]
    front.fail(poison="POISON")
    with _buffer(tmp_path, from_rows("observations", rows)) as buffer:
        _move_all(front, buffer)

        letters = [buffer.dead_letters.read(name) for name in buffer.dead_letters.names()]
        dead = ids(letter.content for letter in letters if isinstance(letter.content, Batch))
        stored = _stored(front, "poison")
        print(f"poison: 300 sent, {stored} stored, {len(dead)} dead-lettered")  # noqa: T201 - figures for who reads the log
        assert (stored, sorted(dead)) == (297, ["17", "170", "299"])
        assert all("TOO_LARGE_STRING_SIZE" in letter.reason for letter in letters)


def test_killed_and_back(front: Front, tmp_path: Path) -> None:
    """A server that is killed under load and comes back has every row once."""
    with _buffer(tmp_path, *_of("killed", 3000)) as buffer, _exporting(front, buffer):
        front.fail(slow_seconds=0.02)
        wait_until(lambda: buffer.statistics("clickhouse").rows_behind < 2500, 60)
        front.kill()
        threading.Event().wait(0.3)
        behind = buffer.statistics("clickhouse").rows_behind
        front.start()
        wait_until(lambda: buffer.statistics("clickhouse").rows_behind == 0, 60)

    stored = _stored(front, "killed")
    print(f"killed with {behind} of 3000 rows behind: {stored} stored, none twice")  # noqa: T201 - figures for who reads the log
    assert behind > 0
    assert stored == 3000


def test_slow_server_is_waited_for(front: Front) -> None:
    """A server that is slow, but answers within the timeout, is no failure."""
    front.fail(slow_seconds=0.5)
    with exporter_at(front.endpoint, timeout=20.0) as exporter:
        exporter.export(from_rows("observations", [{"project_id": "slow"}]))

        assert count(exporter, "observations", "project_id = 'slow'") == 1


def test_too_many_parts_leaves_the_server_in_peace(front: Front) -> None:
    """After TOO_MANY_PARTS the server is not asked at all for a while."""
    with exporter_at(front.endpoint) as exporter:
        front.fail(share=1.0, code=252)
        with pytest.raises(Retryable, match="Code: 252"):
            exporter.export(observations(1))
        front.fail()

        with pytest.raises(Retryable, match="left to merge them"):
            exporter.export(observations(1))


def test_rests_grow_and_end() -> None:
    """Each refusal for parts doubles the rest up to a minute; an accepted insert ends that."""
    now = [0.0]
    pressure = Pressure(clock=lambda: now[0])
    rests = []
    for _ in range(6):
        pressure.refused(252, 100)
        rests.append(_rest_seconds(pressure, now))
    pressure.accepted()
    pressure.refused(252, 100)

    assert rests == [5, 10, 20, 40, 60, 60]
    assert _rest_seconds(pressure, now) == 5


def _rest_seconds(pressure: Pressure, now: list[float]) -> int:
    for seconds in range(100):
        try:
            pressure.check()
        except Retryable:
            now[0] += 1
        else:
            return seconds
    raise AssertionError("it never ends")


def test_memory_limit_halves_the_inserts(front: Front) -> None:
    """After MEMORY_LIMIT_EXCEEDED the same rows come in smaller inserts, which grow again."""
    with exporter_at(front.endpoint) as exporter:
        front.fail(share=1.0, code=241)
        rows = from_rows("observations", [{"project_id": "memory", "id": str(n)} for n in range(2000)])
        sizes = []
        for _ in range(4):
            with pytest.raises(Retryable):
                exporter.export(rows)
            sizes.append(exporter._pressure.most_rows)
        front.fail()
        exporter.export(rows)

        assert sizes == [1000, 500, 256, 256]
        assert exporter._pressure.most_rows > 256
        assert count(exporter, "observations", "project_id = 'memory'") == 2000
