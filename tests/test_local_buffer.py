"""The local buffer: what goes in comes out, each cursor on its own, and space stays bounded."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from structlog.testing import capture_logs

from pipelines.batch import Batch
from pipelines.buffers import LocalBuffer, Statistics
from pipelines.buffers.payload import encode
from pipelines.errors import BufferFull, Permanent
from tests.support.buffers import ALL, batches, file_of, local_buffer, moved, sql
from tests.support.processes import append_some, running
from tests.support.records import ids, observations, scores, traces

Opened = Callable[..., LocalBuffer]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Opens buffers in the test's directory and closes them at its end."""
    buffers: list[LocalBuffer] = []

    def open_one(*cursors: str, max_size_mib: int = 64) -> LocalBuffer:
        buffers.append(local_buffer(tmp_path, *cursors, max_size_mib=max_size_mib))
        return buffers[-1]

    yield open_one
    for buffer in buffers:
        buffer.close()


def appended(buffer: LocalBuffer, *row_counts: int) -> LocalBuffer:
    """Appends one batch per count, ids from 0 on."""
    first = 0
    for rows in row_counts:
        buffer.append([observations(rows, first=first, text_bytes=100)])
        first += rows
    return buffer


def positions(buffer: LocalBuffer, cursor: str) -> list[int]:
    return [entry.position for entry in buffer.read(cursor, *ALL)]


def times_until_full(attempt: Callable[[], None]) -> int:
    """How often it is done before the buffer is full."""
    for number in range(1000):
        try:
            attempt()
        except BufferFull:
            return number
    raise AssertionError("the buffer is never full")


class TestReading:
    """What goes in comes out."""

    def test_returns_batches_of_every_kind_as_appended(self, opened: Opened) -> None:
        """Rows, order, kind and receive time survive the way through the file."""
        buffer = opened("a")
        written = [observations(3, received_at_ns=5), traces(2, received_at_ns=6), scores(1, received_at_ns=7)]

        buffer.append(written[:2])
        buffer.append(written[2:])

        entries = buffer.read("a", *ALL)
        assert batches(entries) == written
        assert [(entry.position, entry.rows) for entry in entries] == [(3, 3), (5, 2), (6, 1)]

    def test_stores_only_the_rows_of_a_slice(self, opened: Opened) -> None:
        """A slice shares memory with its whole, but not its place on disk."""
        buffer = opened("a")
        whole = observations(100)

        buffer.append([Batch("observations", whole.records.slice(7, 2), whole.received_at_ns)])

        assert ids(batches(buffer.read("a", *ALL))) == [f"{7:016x}", f"{8:016x}"]

    def test_goes_on_after_a_restart(self, opened: Opened) -> None:
        """Rows, positions and cursors are there again; new rows come after the old."""
        first = appended(opened("a"), 2, 3)
        first.commit("a", 2)
        first.close()

        second = opened("a")
        second.append([observations(1, first=5)])

        entries = second.read("a", *ALL)
        assert [entry.position for entry in entries] == [5, 6]
        assert ids(batches(entries)) == [f"{number:016x}" for number in range(2, 6)]

    def test_never_gives_a_position_twice(self, opened: Opened) -> None:
        """Positions go on after everything was exported and deleted, or new rows would lie before their cursor."""
        for number in range(1, 4):
            buffer = appended(opened("a"), 1)
            assert positions(buffer, "a") == [number]
            buffer.commit("a", number)
            buffer.close()

    def test_is_bounded_by_rows_of_a_kind_and_by_bytes(self, opened: Opened) -> None:
        """A read takes what fits, at least one entry, and goes on after a given position."""
        buffer = opened("a")
        for _ in range(4):
            buffer.append([observations(10), traces(10)])

        assert [entry.position for entry in buffer.read("a", 25, 1 << 30)] == [10, 20, 30, 40]
        assert [entry.position for entry in buffer.read("a", 1, 1 << 30)] == [10]
        assert [entry.position for entry in buffer.read("a", 1 << 30, 1)] == [10]
        assert [entry.position for entry in buffer.read("a", *ALL, after=60)] == [70, 80]

    def test_cuts_large_batches_into_bounded_entries(self, opened: Opened) -> None:
        """A huge group commit does not make a reader hold it all at once."""
        buffer = opened("a")
        many, large = observations(6000, text_bytes=0), observations(5, text_bytes=3 << 20)

        buffer.append([many, large])

        read = batches(buffer.read("a", *ALL))
        assert ids(read) == ids([many, large])
        assert max(batch.rows for batch in read) <= 4096
        assert max(batch.size_bytes for batch in read) <= 8 << 20

    def test_stores_nothing_for_no_rows(self, opened: Opened) -> None:
        """Empty batches leave no entry that a reader would have to deal with."""
        buffer = opened("a")

        buffer.append([observations(0)])
        buffer.append([])

        assert buffer.read("a", *ALL) == []

    def test_refuses_rows_of_another_schema(self, opened: Opened) -> None:
        """A processor that breaks the schema is found at the append, not by unreadable bytes later."""
        broken = Batch("observations", observations(1).records.drop_columns(["output"]), 1)

        with pytest.raises(Permanent, match="observations"):
            opened("a").append([broken])

    def test_reads_what_another_version_wrote(self, opened: Opened, tmp_path: Path) -> None:
        """Columns that did not exist then are null, those that exist no more are dropped."""
        buffer = opened("a")
        old = observations(2).records.drop_columns(["trace_flags"]).append_column("shoe_size", pa.array([1, 2]))
        payload = encode(Batch("observations", old, 7), schema=99)
        sql(tmp_path, "INSERT INTO schemas VALUES (99, 'observations', ?)", old.schema.serialize().to_pybytes())
        row = (2, 99, 2, 7, payload.size, payload.checksum, payload.data)
        sql(tmp_path, "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)", *row)

        (batch,) = batches(buffer.read("a", *ALL))

        assert batch.records.schema == observations(1).records.schema
        assert batch.records.column("trace_flags").null_count == 2
        assert ids([batch]) == ids([observations(2)])


class TestCursors:
    """Each exporter goes its own way; rows leave when all have passed."""

    def test_slow_cursor_delays_nobody_and_loses_nothing(self, opened: Opened) -> None:
        """One exporter can go on while another stands still; rows stay for the slow one."""
        buffer = appended(opened("fast", "slow"), 1, 1, 1)

        buffer.commit("fast", 2)

        assert positions(buffer, "fast") == [3]
        assert positions(buffer, "slow") == [1, 2, 3]

    def test_rows_are_deleted_once_every_cursor_has_passed(self, opened: Opened) -> None:
        """Deleted is what all have stored, and only that."""
        buffer = appended(opened("a", "b"), 1, 1, 1)

        buffer.commit("a", 3)
        buffer.commit("b", 2)

        assert [entry.position for entry in buffer.read("a", *ALL, after=0)] == [3]

    def test_never_moves_back(self, opened: Opened) -> None:
        """A late commit of an earlier position changes nothing."""
        buffer = appended(opened("a", "b"), 1, 1)

        buffer.commit("a", 2)
        buffer.commit("a", 1)

        assert buffer.statistics("a").rows_behind == 0

    def test_new_cursor_starts_at_the_oldest_row_held(self, opened: Opened) -> None:
        """An exporter added later gets what is still there, and before any exporter is known nothing is deleted."""
        buffer = appended(opened(), 1, 1, 1)
        buffer.keep_cursors(["a", "b"])
        buffer.commit("a", 3)
        buffer.commit("b", 1)

        buffer.keep_cursors(["a", "b", "late"])

        assert positions(buffer, "late") == [2, 3]

    def test_new_cursor_on_an_empty_buffer_misses_nothing(self, opened: Opened) -> None:
        """It starts at the end of what was, before what comes."""
        buffer = appended(opened("a"), 2)
        buffer.commit("a", 2)

        buffer.keep_cursors(["b"])
        appended(buffer, 1)

        assert positions(buffer, "b") == [3]

    def test_forgotten_cursor_holds_nothing_back(self, opened: Opened) -> None:
        """An exporter that is no longer configured is dropped, with a word in the log, and its rows with it."""
        buffer = appended(opened("a", "gone"), *[1] * 1500)
        buffer.commit("a", 1499)

        with capture_logs() as logs:
            buffer.keep_cursors(["a"])

        assert [entry.position for entry in buffer.read("a", *ALL, after=0)] == [1500]
        assert [(log["log_level"], log["exporters"]) for log in logs] == [("warning", ["gone"])]

    def test_unknown_cursor_is_a_mistake(self, opened: Opened) -> None:
        """A cursor that was not announced would hold nothing back, so it may not be used."""
        buffer = opened("a")

        for use in (buffer.statistics, lambda name: buffer.read(name, 1, 1), lambda name: buffer.commit(name, 1)):
            with pytest.raises(KeyError, match="keep_cursors"):
                use("b")


class TestSpace:
    """The size limit holds, and space comes back."""

    def test_statistics_count_rows_bytes_and_age(self, opened: Opened) -> None:
        """They are what the queue metrics and the readiness of the service rest on."""
        buffer = opened("a", max_size_mib=64)
        empty = buffer.statistics("a")
        buffer.append([observations(2, received_at_ns=11, text_bytes=200_000)])
        buffer.append([observations(3, received_at_ns=22), traces(1, received_at_ns=22)])

        full = buffer.statistics("a")
        buffer.commit("a", 2)
        half = buffer.statistics("a")

        assert empty == Statistics(0, None, empty.used_bytes, 48 << 20)
        assert (full.rows_behind, full.oldest_received_at_ns) == (6, 11)
        assert (half.rows_behind, half.oldest_received_at_ns) == (4, 22)
        assert full.used_bytes > empty.used_bytes

    def test_a_full_buffer_says_so_to_who_only_asks(self, opened: Opened) -> None:
        """The readiness of an ingest process that gets no requests rests on it."""
        buffer = opened("a", max_size_mib=2)
        buffer.check()
        times_until_full(lambda: buffer.append([observations(50), traces(1)]))
        with pytest.raises(BufferFull):
            buffer.check()
        moved(buffer, "a")
        buffer.check()

    def test_full_buffer_takes_nothing_until_exporters_catch_up(self, opened: Opened) -> None:
        """BufferFull stores nothing of the append, names place and cure, and ends when the cursor moves."""
        buffer = opened("a", max_size_mib=2)
        number = times_until_full(lambda: buffer.append([observations(50), traces(1)]))
        with pytest.raises(BufferFull, match=r"local\.sqlite.*max_size_mib"):
            buffer.append([observations(50), traces(1)])
        entries = buffer.read("a", *ALL)

        buffer.commit("a", entries[-1].position)
        buffer.append([observations(50)])

        assert len(entries) == 2 * number
        assert number > 10
        assert positions(buffer, "a") == [entries[-1].position + 50]

    def test_files_stay_below_the_limit(self, opened: Opened, tmp_path: Path) -> None:
        """Ten times the limit may flow through: freed space is used again, and the log is cut back."""
        buffer = opened("a", max_size_mib=4)
        block = observations(300, text_bytes=2000)
        largest = flown = 0
        while flown < 40 << 20:
            try:
                buffer.append([block])
            except BufferFull:
                moved(buffer, "a")
            flown += block.size_bytes // 4  # what is left of it after compression, at least
            largest = max(largest, sum(path.stat().st_size for path in tmp_path.glob("local.sqlite*")))

        assert largest <= 4 << 20

    def test_log_that_cannot_shrink_counts(self, opened: Opened, tmp_path: Path) -> None:
        """A stranger's endless read makes the log grow: appends are refused in time, and taken again after it."""
        buffer = opened("a", max_size_mib=4)
        stranger = sqlite3.connect(file_of(tmp_path), isolation_level=None)
        stranger.execute("BEGIN")
        stranger.execute("SELECT count(*) FROM cursors").fetchall()
        block = observations(100, text_bytes=100)

        def pass_through() -> None:
            buffer.append([block])
            moved(buffer, "a")

        times_until_full(pass_through)
        size = sum(path.stat().st_size for path in tmp_path.glob("local.sqlite*"))
        stranger.close()
        buffer.append([block])

        assert size < 5 << 20
        assert sum(path.stat().st_size for path in tmp_path.glob("local.sqlite*")) < 2 << 20

    def test_file_shrinks_when_the_backlog_is_gone(self, opened: Opened, tmp_path: Path) -> None:
        """The disk space of an outage comes back."""
        buffer = opened("a", max_size_mib=256)
        block = observations(500, text_bytes=3000)
        for _ in range(90):
            buffer.append([block])
        buffer.close()
        before = file_of(tmp_path).stat().st_size
        buffer = opened("a", max_size_mib=256)

        while entries := buffer.read("a", 1000, 1 << 30):
            buffer.commit("a", entries[-1].position)
        for _ in range(10):
            appended(buffer, 1)
            moved(buffer, "a")
        buffer.close()

        assert before > 64 << 20
        assert file_of(tmp_path).stat().st_size < 33 << 20


class TestSharing:
    """Several threads and processes use one file."""

    def test_two_writers_and_a_reader_in_three_processes(self, opened: Opened, tmp_path: Path) -> None:
        """Every row arrives once, each writer's rows in order, and the log does not grow without end."""
        buffer = opened("a")
        seen: list[str] = []
        with running(append_some, tmp_path, 0, 400) as one, running(append_some, tmp_path, 1 << 32, 400) as two:
            while one.is_alive() or two.is_alive():
                seen += ids(moved(buffer, "a"))
            acknowledged = [number for ack in one.join() + two.join() for number in ack]
        seen += ids(moved(buffer, "a"))

        assert sorted(seen) == [f"{number:016x}" for number in sorted(acknowledged)]
        for is_second in (False, True):
            of_writer = [identity for identity in seen if (int(identity, 16) >= 1 << 32) is is_second]
            assert of_writer == sorted(of_writer)

    def test_threads_share_one_object(self, opened: Opened) -> None:
        """An append in the writer's thread and questions from others do not disturb each other."""
        buffer = opened("a")
        threads = [threading.Thread(target=appended, args=(buffer, *[3] * 50)) for _ in range(3)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            buffer.statistics("a")
            buffer.read("a", 10, 1 << 20)

        assert buffer.statistics("a").rows_behind == 450
        assert len(buffer.read("a", *ALL)) == 150
