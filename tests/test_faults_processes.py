"""The production shape when its own processes end, at the worst moment or in order, and when clocks are wrong."""

import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import pyarrow as pa
import pytest

from config.models import BlockSettings, RetrySettings
from exporters.clickhouse_native import ClickHouseExporter
from pipelines.batch import Batch
from pipelines.buffers import LocalBuffer
from pipelines.export import ExportLoop
from tests.support.buffers import local_buffer
from tests.support.clickhouse import count, exporter_at, settings_at
from tests.support.clickhouse_front import clickhouse_front
from tests.support.fault_service import EXPORT_BOUND_BYTES, Shape, kill, metric, settle, shape, under_load
from tests.support.load import ids_of, new_spans, senders
from tests.support.memory import MIB, Memory
from tests.support.otlp import Span, export, span, to_protobuf
from tests.support.processes import running
from tests.support.records import from_rows
from tests.support.reporting import Report
from tests.support.senders import post
from tests.support.waiting import wait_until

_ROWS: Final = 80
_SECOND_NS: Final = 10**9
_CLOCKS_NS: Final = {
    "no time at all": 0,
    "1970": 3 * _SECOND_NS,
    "1999": 941_111_111 * _SECOND_NS,
    "2100": 4_102_444_800 * _SECOND_NS,
    "2262, the last moment that fits": 2**63 - 1,
    "2262, the first that does not": 2**63,
    "2554": 2**64 - 1,
}


@pytest.fixture(scope="module")
def started() -> Iterator[Shape]:
    """A service before its server, running."""
    with shape() as made:
        made.service.start()
        yield made
        assert made.service.stop() == 0, made.service.log()


@pytest.fixture
def playing(started: Shape) -> Iterator[Shape]:
    """The same, sound again at the end of each test."""
    yield started
    started.heal()


# --- kill -9 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kills", "enough"),
    [
        pytest.param(6, 6_000, id="6 kills"),
        pytest.param(60, 200_000, id="60 kills", marks=pytest.mark.nightly),
    ],
)
def test_kill_at_random_moments(playing: Shape, report: Report, kills: int, enough: int) -> None:
    """Kill -9 of ingest and of export, at random moments under load, loses nothing and doubles nothing."""
    chance = random.Random(kills)
    with under_load(playing, report, f"{kills} kills", enough=enough) as load:
        for number in range(kills):
            load.wait_for_acknowledged(int((number + chance.random()) * enough / kills))
            kill(playing.service, ("ingest", "export")[number % 2])


def test_export_killed_between_insert_and_commit(playing: Shape, report: Report) -> None:
    """Blocks that were stored, and not known to be, are stored again by the next process and seen once."""
    with under_load(playing, report, "3 kills between insert and commit"):
        playing.front.fail(withheld=1.0)
        for _ in range(3):
            playing.front.wait_for_withheld()
            kill(playing.service, "export")


def _export_for_ever(ready: Connection, directory: Path, endpoint: str) -> None:
    """The export half alone, which starts in a moment."""
    settings = settings_at(
        endpoint,
        ttl_days=0,
        block=BlockSettings(flush_interval=0.0),
        retry_on_failure=RetrySettings(initial_interval=0.01, max_interval=0.05),
    )
    buffer = local_buffer(directory, "clickhouse")
    exporter = ClickHouseExporter("clickhouse", settings)
    ExportLoop("clickhouse", exporter, buffer, settings, buffer.dead_letters).start()
    ready.send("ready")
    signal.pause()


@pytest.mark.parametrize("kills", [10, pytest.param(250, marks=pytest.mark.nightly)])
def test_export_killed_many_times(tmp_path: Path, report: Report, kills: int) -> None:
    """The same for one loop, after a random one of the inserts of a block: all rows are seen once."""
    with clickhouse_front() as front, exporter_at(front.endpoint) as reader, _buffer(tmp_path) as buffer:
        front.fail(withheld=0.5)
        for number in range(kills):
            buffer.append([*_of_trace(number)])
            with running(_export_for_ever, tmp_path, front.endpoint) as process:
                front.wait_for_withheld(unless=lambda: _is_empty(buffer))
                process.kill()
        front.fail()
        with running(_export_for_ever, tmp_path, front.endpoint):
            wait_until(lambda: _is_empty(buffer), 60)
        seen, copies = count(reader, "observations"), count(reader, "observation_rows")
        report(
            f"{kills} kills, {front.withheld()} of them between insert and commit: {kills * _ROWS} rows sent, "
            f"{seen} seen, {copies - seen} copies not merged yet"
        )
        assert (seen, count(reader, "traces")) == (kills * _ROWS, kills)


@contextmanager
def _buffer(directory: Path) -> Iterator[LocalBuffer]:
    buffer = local_buffer(directory, "clickhouse", max_size_mib=1024)
    yield buffer
    buffer.close()


def _of_trace(number: int) -> list[Batch]:
    spans = [{"trace_id": str(number), "id": str(row), "type": "GENERATION"} for row in range(_ROWS)]
    return [from_rows("observations", spans), from_rows("traces", [{"id": str(number)}])]


def _is_empty(buffer: LocalBuffer) -> bool:
    return buffer.statistics("clickhouse").rows_behind == 0


# --- in order --------------------------------------------------------------------------------------------------------


def test_sigterm_under_load(playing: Shape, report: Report) -> None:
    """An end in order, with requests and blocks on their way, has exit code 0; senders go on with the next start."""
    with under_load(playing, report, "SIGTERM under load") as load:
        assert playing.service.stop() == 0, playing.service.log()
        acknowledged = len(load.acknowledged)
        playing.service.start()
        load.wait_for_acknowledged(acknowledged + 100)


def test_sigterm_without_the_store(playing: Shape, report: Report) -> None:
    """An end in order while ClickHouse is away does not wait for it: the rest stays, and the next start stores it."""
    load = playing.load()
    with senders(load, playing.service):
        playing.between.refuses = True
        playing.between.cut()
        load.allow(500)
        load.wait_for_acknowledged(500)
        assert playing.service.stop() == 0, playing.service.log()
    assert "the rest stays in the buffer for the next start" in playing.service.log()
    playing.heal()
    playing.service.start()
    report(f"SIGTERM without the store: {settle(playing, load)}")


# --- what spans may be like ------------------------------------------------------------------------------------------


def _at(time_ns: int) -> list[Span]:
    """A new trace with that start; its end is a moment later where there is one."""
    return [
        span(dict(each.attributes), trace_id=each.trace_id, span_id=each.span_id, start_ns=time_ns,
             end_ns=min(time_ns + 1_000, 2**64 - 1))
        for each in new_spans()
    ]  # fmt: skip


def test_wrong_clocks_under_load(playing: Shape, report: Report) -> None:
    """Spans of 1970, 2100 and beyond what a time can hold are stored like all others, and cost the others nothing."""
    with under_load(playing, report, f"clocks that say {', '.join(_CLOCKS_NS)}") as load:
        for time_ns in _CLOCKS_NS.values():
            spans = _at(time_ns)
            load.note(ids_of(spans), acknowledged=False)
            assert post(playing.service, to_protobuf(export(*spans))).ok
            load.note(ids_of(spans), acknowledged=True)

    assert metric(playing.service, "otlp_receiver_dead_letter_rows") == 0


def test_memory_of_dense_blocks(tmp_path: Path, report: Report) -> None:
    """A full block of tiny attributes, many times its size as Python's values, keeps the process within its bound."""
    dense = _dense(2_600)
    with clickhouse_front() as front, exporter_at(front.endpoint) as reader, _buffer(tmp_path) as buffer:
        buffer.append([dense])
        with running(_export_for_ever, tmp_path, front.endpoint) as process:
            process.next()
            memory = Memory(process.seen)
            wait_until(lambda: _is_empty(buffer), 120)
            peak_bytes = memory.peak_bytes()
        report(
            f"{dense.rows} rows of 2,000 attributes, {dense.records.nbytes // MIB} MiB, "
            f"{count(reader, 'observations')} seen; peak RSS {peak_bytes // MIB} of {EXPORT_BOUND_BYTES // MIB} MiB"
        )
        assert count(reader, "observations") == dense.rows
    assert peak_bytes < EXPORT_BOUND_BYTES


def _dense(rows: int) -> Batch:
    """Rows of 2,000 attributes each; making one costs more than storing many."""
    attributes = {f"{key:03}": f"{key % 97:02}" for key in range(2_000)}
    one = from_rows("observations", [{"metadata": attributes}])
    records = one.records.take(pa.array([0] * rows))
    ids = pa.array([f"{row:016x}" for row in range(rows)])
    index = records.schema.get_field_index("id")
    return Batch(one.kind, records.set_column(index, records.schema.field(index), ids), one.received_at_ns)
