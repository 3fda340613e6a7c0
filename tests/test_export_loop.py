"""The export loop: every row ends in the sink or in the dead letters, whatever the sink does."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from config.models import BlockSettings, ExporterSettings, RetrySettings
from pipelines.batch import Batch
from pipelines.buffers import LocalBuffer
from pipelines.errors import Permanent, Retryable
from pipelines.export import ExportLoop
from tests.support.buffers import local_buffer, sql
from tests.support.processes import append_forever, export_forever, running
from tests.support.records import ids, observations, scores, traces
from tests.support.reporting import Report
from tests.support.sinks import Sink, accept, always, failing_at_random, refusing, slow
from tests.support.waiting import wait_until

FOREVER: Final = 3600.0
KILLS: Final = 12


@pytest.fixture
def buffer(tmp_path: Path) -> Iterator[LocalBuffer]:
    """A buffer with the cursors "sink" and "other"."""
    opened = local_buffer(tmp_path, "sink", "other")
    yield opened
    opened.close()


def settings(
    *, max_rows: int = 1000, flush_interval: float = 0.0, wait: float = 0.001, give_up: float = 0.0
) -> ExporterSettings:
    return ExporterSettings(
        block=BlockSettings(max_rows=max_rows, flush_interval=flush_interval),
        retry_on_failure=RetrySettings(initial_interval=wait, max_interval=max(wait, 0.005), max_elapsed_time=give_up),
    )


@contextmanager
def exporting(buffer: LocalBuffer, sink: Sink, cursor: str = "sink", **options: Any) -> Iterator[ExportLoop]:
    loop = ExportLoop(cursor, sink, buffer, settings(**options), buffer.dead_letters)
    loop.start()
    try:
        yield loop
    finally:
        sink.gate.set()
        sink.verdict = accept
        assert loop.shutdown(30)


def export_all(buffer: LocalBuffer, sink: Sink, **options: Any) -> None:
    with exporting(buffer, sink, **options):
        wait_until(lambda: rows_behind(buffer) == 0)


def rows_behind(buffer: LocalBuffer, cursor: str = "sink") -> int:
    return buffer.statistics(cursor).rows_behind


def dead(buffer: LocalBuffer) -> list[Batch | bytes]:
    return [buffer.dead_letters.read(name).content for name in buffer.dead_letters.names()]


def dead_ids(buffer: LocalBuffer) -> list[str]:
    return ids(content for content in dead(buffer) if isinstance(content, Batch))


def reasons(buffer: LocalBuffer) -> list[str]:
    return [buffer.dead_letters.read(name).reason for name in buffer.dead_letters.names()]


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def name(number: int) -> str:
    return f"{number:016x}"


class TestContract:
    """What holds whatever the sink does: stored and dead letters together are what was appended."""

    @pytest.mark.parametrize("retryable_share", [0.0, 0.5])
    @pytest.mark.parametrize("bad_share", [0.0, 0.01, 0.3])
    def test_every_row_is_stored_once_or_a_dead_letter(
        self, buffer: LocalBuffer, retryable_share: float, bad_share: float
    ) -> None:
        """Good rows are stored exactly once, bad ones dead-lettered exactly once, under any mix of failures."""
        chance = random.Random(3)
        everything = {name(number) for number in range(600)}
        bad = {identity for identity in sorted(everything) if chance.random() < bad_share}
        for first in range(0, 600, 20):
            buffer.append([observations(20, first=first, text_bytes=20)])
        sink = Sink(failing_at_random(retryable_share, refusing(bad)))

        export_all(buffer, sink, max_rows=128)

        assert sorted(ids(sink.stored)) == sorted(everything - bad)
        assert sorted(dead_ids(buffer)) == sorted(bad)

    def test_kinds_are_joined_to_one_block_each(self, buffer: LocalBuffer) -> None:
        """Many small appends become one insert per table, rows in order."""
        for number in range(10):
            buffer.append([observations(3, first=3 * number), traces(1, first=number), scores(1, first=number)])
        sink = Sink()

        export_all(buffer, sink)

        assert [(batch.kind, batch.rows) for batch in sink.stored] == [
            ("observations", 30),
            ("traces", 10),
            ("scores", 10),
        ]
        assert ids(sink.stored[:1]) == [name(number) for number in range(30)]

    def test_blocks_hold_at_most_max_rows(self, buffer: LocalBuffer) -> None:
        """Also when a single append was larger than a block."""
        buffer.append([observations(1000, text_bytes=20)])
        sink = Sink()

        export_all(buffer, sink, max_rows=300)

        assert sink.rows() == 1000
        assert max(batch.rows for batch in sink.stored) <= 300

    def test_slow_sink_delays_no_other(self, buffer: LocalBuffer) -> None:
        """Each exporter has its own cursor."""
        stuck, free = Sink(), Sink()
        stuck.gate.clear()
        buffer.append([observations(5)])

        with exporting(buffer, stuck), exporting(buffer, free, cursor="other"):
            wait_until(lambda: rows_behind(buffer, "other") == 0)

            assert rows_behind(buffer, "sink") == 5
        assert ids(stuck.stored) == ids(free.stored)


class TestRefusal:
    """Rows that the sink will never take."""

    def test_bad_rows_are_kept_with_the_reason(self, buffer: LocalBuffer) -> None:
        """One dead letter a block, with what the sink said about each of its rows."""
        buffer.append([observations(500, text_bytes=20)])
        bad = [name(0), name(17), name(400)]  # the first is one that is probed
        sink = Sink(refusing(set(bad)))

        export_all(buffer, sink)

        assert dead_ids(buffer) == bad
        assert reasons(buffer) == ["\n".join(f"no place for {identity}" for identity in bad)]
        assert sink.rows() == 497

    def test_fault_of_all_rows_is_not_searched_row_by_row(self, buffer: LocalBuffer) -> None:
        """A column missing in the sink costs a few attempts a block, not two a row; all rows are kept."""
        buffer.append([observations(1000, text_bytes=20)])
        sink = Sink(always(Permanent("no such column")))

        export_all(buffer, sink)

        assert sink.attempts < 50
        assert sorted(dead_ids(buffer)) == [name(number) for number in range(1000)]
        assert reasons(buffer) == ["no such column"]

    def test_many_reasons_are_shortened(self, buffer: LocalBuffer) -> None:
        """A client whose every row is wrong in its own way makes one dead letter, not one a row."""
        buffer.append([observations(100, text_bytes=20)])
        sink = Sink(refusing({name(number) for number in range(100)}))

        export_all(buffer, sink)

        (reason,) = reasons(buffer)
        assert reason.splitlines()[-1] == "and 90 more reasons"
        assert len(dead_ids(buffer)) == 100

    def test_search_ends_after_so_many_refusals(self, buffer: LocalBuffer, monkeypatch: pytest.MonkeyPatch) -> None:
        """Rows scattered to make the search expensive are dead-lettered with their neighbours: kept, not lost."""
        monkeypatch.setattr("pipelines.isolation.MOST_REFUSALS", 20)
        buffer.append([observations(400, text_bytes=20)])
        sink = Sink(refusing({name(number) for number in range(1, 400, 2)}))

        export_all(buffer, sink)

        assert sink.attempts < 80
        assert sorted(ids(sink.stored) + dead_ids(buffer)) == [name(number) for number in range(400)]

    def test_gives_up_after_max_elapsed_time(self, buffer: LocalBuffer) -> None:
        """Only when configured: the block is kept as a dead letter that says so, and the loop goes on."""
        buffer.append([observations(3)])
        sink = Sink(always(Retryable("down")))

        export_all(buffer, sink, give_up=0.01)

        assert dead_ids(buffer) == [name(0), name(1), name(2)]
        assert "gave up after 0.01 s" in reasons(buffer)[0]
        assert "down" in reasons(buffer)[0]

    def test_damaged_entry_becomes_a_dead_letter(self, buffer: LocalBuffer, tmp_path: Path) -> None:
        """Its bytes are kept, the others are stored, and the cursor moves on."""
        for number in range(3):
            buffer.append([observations(1, first=number)])
        sql(tmp_path, "UPDATE entries SET data = ? WHERE position = 2", b"garbage")
        sink = Sink()

        export_all(buffer, sink)

        assert ids(sink.stored) == [name(0), name(2)]
        assert dead(buffer) == [b"garbage"]
        assert "position 2" in reasons(buffer)[0]

    def test_cursor_waits_for_the_dead_letter(self, buffer: LocalBuffer) -> None:
        """A dead letter that cannot be written holds the cursor back: nothing is lost in between."""
        blocker = buffer.dead_letters.directory
        blocker.write_text("in the way")
        buffer.append([observations(1)])

        with capture_logs() as logs, exporting(buffer, Sink(refusing({name(0)}))):
            wait_until(lambda: any(log.get("what") == "writing dead letters" for log in logs))
            assert rows_behind(buffer) == 1
            blocker.unlink()
            wait_until(lambda: rows_behind(buffer) == 0)

        assert dead_ids(buffer) == [name(0)]


class TestRetry:
    """Failures that may pass."""

    def test_unexpected_error_is_retried_and_logged_with_its_trace(self, buffer: LocalBuffer) -> None:
        """A bug in an exporter loses nothing and can be found."""
        buffer.append([observations(1)])
        sink = Sink(always(ZeroDivisionError("a bug")))

        with capture_logs() as logs, exporting(buffer, sink):
            wait_until(lambda: sink.attempts > 2)
            sink.verdict = accept
            wait_until(lambda: rows_behind(buffer) == 0)

        errors = [log for log in logs if log["log_level"] == "error"]
        assert isinstance(errors[0]["exc_info"], ZeroDivisionError)
        assert any(log["event"] == "It works again." for log in logs)
        assert sink.rows() == 1

    def test_failed_commit_does_not_export_again(self, buffer: LocalBuffer, monkeypatch: pytest.MonkeyPatch) -> None:
        """The cursor alone is tried again: the sink has the rows already."""
        commit, failures = buffer.commit, iter([Retryable("disk full"), Retryable("disk full")])

        def failing_commit(cursor: str, position: int) -> None:
            if error := next(failures, None):
                raise error
            commit(cursor, position)

        monkeypatch.setattr(buffer, "commit", failing_commit)
        buffer.append([observations(2)])
        sink = Sink()

        export_all(buffer, sink)

        assert sink.attempts == 1

    def test_gauges_are_right_while_the_sink_is_down(self, buffer: LocalBuffer) -> None:
        """Who looks at the metrics during an outage sees the queue grow."""
        sink = Sink(always(Retryable("down")))
        buffer.append([observations(2, received_at_ns=time.time_ns() - 60 * 10**9)])
        failed = metric("otelcol_exporter_send_failed_spans_total", exporter="sink")

        with exporting(buffer, sink, wait=FOREVER):
            wait_until(lambda: metric("otelcol_exporter_queue_size", exporter="sink") == 2)
            buffer.append([observations(3, first=2)])
            wait_until(lambda: metric("otelcol_exporter_queue_size", exporter="sink") == 5)

        assert metric("otlp_receiver_oldest_unexported_age_seconds", exporter="sink") >= 60
        assert metric("otelcol_exporter_queue_capacity", exporter="sink") == 48 << 20
        assert 0 < metric("otlp_receiver_buffer_bytes", buffer="local") < 1 << 20
        assert metric("otelcol_exporter_send_failed_spans_total", exporter="sink") == failed + 2

    def test_counters_count_spans_once(self, buffer: LocalBuffer) -> None:
        """Sent spans are observations stored; other kinds and failed attempts do not count."""
        labels = {"exporter": "sink"}
        before = metric("otelcol_exporter_sent_spans_total", **labels)
        stored = metric("otlp_receiver_socket_to_stored_seconds_count", **labels)
        refused = metric("otlp_receiver_dead_letter_rows_total", exporter="sink", reason="refused")
        buffer.append([observations(50), traces(7)])

        export_all(buffer, Sink(failing_at_random(0.5, refusing({name(3)}))))

        assert metric("otelcol_exporter_sent_spans_total", **labels) == before + 49
        assert metric("otlp_receiver_socket_to_stored_seconds_count", **labels) > stored
        assert metric("otlp_receiver_dead_letter_rows_total", exporter="sink", reason="refused") == refused + 1

    def test_sink_that_cannot_be_opened_yet_is_opened_later(self, buffer: LocalBuffer) -> None:
        """A database that is down when the service starts is no reason not to start."""
        sink, problems = Sink(), iter([Retryable("down"), Retryable("down"), Permanent("wrong password")])

        def opening() -> None:
            if error := next(problems, None):
                raise error

        sink.opening = opening
        buffer.append([observations(1)])

        export_all(buffer, sink)

        assert sink.rows() == 1

    def test_sink_that_can_never_be_opened_keeps_the_service_from_starting(self, buffer: LocalBuffer) -> None:
        """Wrong settings are told at once."""
        sink = Sink()

        def opening() -> None:
            raise Permanent("no such directory")

        sink.opening = opening
        loop = ExportLoop("sink", sink, buffer, settings(), buffer.dead_letters)

        with pytest.raises(Permanent, match="no such directory"):
            loop.start()
        assert loop.shutdown(1)


class TestPace:
    """When a block is taken, and how the loop ends."""

    def test_waits_for_half_a_block(self, buffer: LocalBuffer) -> None:
        """Few rows wait for more, half a block goes at once."""
        sink = Sink()
        with exporting(buffer, sink, max_rows=20, flush_interval=FOREVER):
            buffer.append([observations(4)])
            wait_until(lambda: metric("otelcol_exporter_queue_size", exporter="sink") == 4)
            assert sink.attempts == 0
            buffer.append([observations(6, first=4)])
            wait_until(lambda: rows_behind(buffer) == 0)

        assert [batch.rows for batch in sink.stored] == [10]

    def test_flush_interval_bounds_the_wait(self, buffer: LocalBuffer) -> None:
        """A single row goes when the interval has passed."""
        buffer.append([observations(1)])
        sink = Sink()

        export_all(buffer, sink, flush_interval=0.05)

        assert sink.rows() == 1

    def test_shutdown_exports_what_is_there(self, buffer: LocalBuffer) -> None:
        """Rows that wait for more are exported, several blocks of them, before the loop ends."""
        sink = Sink()
        with exporting(buffer, sink, max_rows=1 << 20, flush_interval=FOREVER) as loop:
            for number in range(30):
                buffer.append([observations(10, first=10 * number)])
            assert loop.shutdown(30)

        assert sink.rows() == 300
        assert rows_behind(buffer) == 0

    def test_shutdown_does_not_wait_for_a_sink_that_is_down(self, buffer: LocalBuffer) -> None:
        """Its rows are safe in the buffer; the log says how many, and the next start exports them."""
        buffer.append([observations(3)])
        sink = Sink(always(Retryable("down")))
        with capture_logs() as logs, exporting(buffer, sink, wait=FOREVER) as loop:
            wait_until(lambda: sink.attempts == 1)
            assert loop.shutdown(30)

        assert [(log["rows"], log["buffer"]) for log in logs if "Stopped before" in log["event"]] == [(3, "local")]
        export_all(buffer, sink)
        assert ids(sink.stored) == [name(0), name(1), name(2)]

    def test_shutdown_waits_for_the_current_export_until_the_deadline(self, buffer: LocalBuffer) -> None:
        """A hung sink does not hang the service; what it finishes later counts."""
        buffer.append([observations(1)])
        sink = Sink()
        sink.gate.clear()
        with exporting(buffer, sink) as loop:
            wait_until(lambda: sink.attempts == 1)
            assert not loop.shutdown(0.01)
            sink.gate.set()
            assert loop.shutdown(30)

        assert rows_behind(buffer) == 0

    def test_shutdown_ends_by_the_deadline_whatever_waits(self, buffer: LocalBuffer) -> None:
        """With more in the buffer than can be exported in time the loop still ends by itself, between two blocks."""
        for number in range(100):
            buffer.append([observations(1, first=number)])
        sink = Sink(slow(0.1))
        with exporting(buffer, sink, max_rows=1) as loop:
            wait_until(lambda: sink.attempts > 1)
            assert loop.shutdown(3)

        assert 0 < rows_behind(buffer) == 100 - sink.rows()

    def test_no_export_begins_after_the_deadline(self, buffer: LocalBuffer) -> None:
        """Whoever finishes late does not begin anew: the rest is for the next start."""
        buffer.append([observations(100), traces(5)])
        sink = Sink()
        sink.gate.clear()
        with exporting(buffer, sink, max_rows=10) as loop:
            wait_until(lambda: sink.attempts == 1)
            assert not loop.shutdown(0.0)
            sink.gate.set()
            wait_until(lambda: loop.shutdown(0.0))

        assert sink.attempts == 1
        assert rows_behind(buffer) == 105


def test_kill_9_of_writer_and_exporter(tmp_path: Path, report: Report) -> None:
    """Both halves are killed at random moments: every acknowledged row is in the file, none twice."""
    directory, path = tmp_path / "buffer", tmp_path / "out" / "records.jsonl"
    acknowledged: list[int] = []
    for kill in range(KILLS):
        with (
            running(append_forever, directory, kill << 32) as writer,
            running(export_forever, directory, path) as mover,
        ):
            acknowledged += [number for _ in range(20) for number in writer.next()]
            mover.next()
            time.sleep(random.uniform(0, 0.3))
            mover.kill()
            acknowledged += [number for ack in writer.kill() for number in ack]
    buffer = local_buffer(directory)
    with running(export_forever, directory, path) as mover:
        mover.next()
        wait_until(lambda: rows_behind(buffer, "file") == 0, seconds=120)
    buffer.close()

    stored = [orjson.loads(line)["id"] for line in path.read_bytes().splitlines()]
    report(f"file exporter: {2 * KILLS} kills, {len(acknowledged)} rows acknowledged, {len(stored)} stored")
    assert len(stored) == len(set(stored))
    assert {name(number) for number in acknowledged} <= set(stored)
    assert len(acknowledged) > 100 * KILLS
