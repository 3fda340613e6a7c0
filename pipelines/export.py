"""The export half: one loop per exporter reads the buffer, hands over large blocks, and moves the cursor.

    read ─▶ join into one block per kind ─▶ exporter.export ─▶ commit the cursor
                                              │ Retryable: back off, for ever by default
                                              └ Permanent: bisect; bad rows to the dead letters, the rest stored

At least once: whoever is killed between export and commit exports those rows again, so a sink must know a row again.
"""

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import structlog

from config.models import ExporterSettings
from pipelines.batch import Batch
from pipelines.blocks import join, split
from pipelines.buffers import Buffer, Corrupt, Entry, Statistics
from pipelines.dead_letters import DeadLetterSink
from pipelines.errors import Permanent, Retryable
from pipelines.isolation import Refused, isolate
from pipelines.metrics import (
    BUFFER_BYTES,
    DEAD_LETTERS,
    OLDEST_AGE_SECONDS,
    QUEUE_CAPACITY,
    QUEUE_SIZE,
    SEND_FAILED_SPANS,
    SENT_SPANS,
    STORED_SECONDS,
)
from pipelines.retry import GaveUp, Interrupted, Retry

_POLL_SECONDS: Final = 0.02  # asking costs some 15 µs
_FLUSH_SHARE: Final = 0.7
"""Of the time to shut down: the block that is begun last has the rest."""
_REFRESH_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 10.0  # brokers that change places are away for less
_MOST_REASONS: Final = 10
_MOST_BLOCK_BYTES: Final = 1 << 30  # Arrow's text columns have 32-bit offsets


class Exporter(Protocol):
    """One sink; blocking, called from one thread at a time."""

    def open(self) -> None:
        """Makes ready for `export`; called again after a Retryable.

        Raises:
            Permanent: the settings cannot work; the service does not start.
            Retryable: the sink cannot be reached now.
        """

    def export(self, batch: Batch) -> None:
        """Returns once every row is stored for good; a row that comes again replaces itself.

        Raises:
            Retryable: none or some were stored; the same call may succeed later.
            Permanent: the sink will never take this batch as it is; parts of it will be tried.
        """

    def close(self) -> None:
        """May be called twice; no export is running."""


class ExportLoop:
    """Moves rows from the buffer to one exporter, in a thread of its own.

    `start()` once; then `shutdown()`. The exporter's id is its cursor, to be among the buffer's `keep_cursors`.
    """

    def __init__(
        self,
        exporter_id: str,
        exporter: Exporter,
        buffer: Buffer,
        settings: ExporterSettings,
        dead_letters: DeadLetterSink,
    ) -> None:
        self._id = exporter_id
        self._exporter = exporter
        self._buffer = buffer
        self._block = settings.block
        self._block_bytes = min(settings.block.max_size_mib << 20, _MOST_BLOCK_BYTES)
        self._dead_letters = dead_letters
        self._retry = Retry(exporter_id, settings.retry_on_failure, self._pause)
        self._give_up_seconds = settings.retry_on_failure.max_elapsed_time
        self._stop = threading.Event()
        self._deadline = 0.0
        self._left_rows: int | None = None
        self._is_open = False
        self._oldest_ns: int | None = None
        self._failure = "the buffer has not answered yet"
        self._failing_since = -_PATIENCE_SECONDS
        self._thread = threading.Thread(target=self._run, name=f"export {exporter_id}", daemon=True)
        self._log = structlog.get_logger("export").bind(exporter=exporter_id)

    @property
    def problem(self) -> str:
        """Why there has been no access to the buffer from the start, or for a while; empty when there is."""
        is_new = time.monotonic() - self._failing_since < _PATIENCE_SECONDS
        return f"{self._id} has no access to its buffer: {self._failure}" if self._failure and not is_new else ""

    def start(self) -> None:
        """Opens the exporter and starts the thread; a sink that cannot be reached yet is tried again there.

        Raises:
            Permanent: the exporter cannot be opened with these settings.
        """
        try:
            self._open()
        except Retryable as error:
            self._log.warning("The sink cannot be opened yet; it is tried again.", error=str(error))
        self._thread.start()

    def shutdown(self, deadline_seconds: float) -> bool:
        """Exports what is in the buffer now, finishes the current export, and stops, all of it by the deadline.

        What others append meanwhile to a buffer on several machines is left to the exporters there.
        A sink that fails now is not waited for: what is left is safe in the buffer, and exported by the next start.
        May be called again, with another deadline.

        Returns:
            Whether the loop has ended; only then may exporter and buffer be closed.
        """
        self._deadline = time.monotonic() + deadline_seconds * _FLUSH_SHARE
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(deadline_seconds)
        return not self._thread.is_alive()

    # --- the thread ---

    def _run(self) -> None:
        try:
            self._retry(self._open_late, "opening the sink")
            while self._await_rows():
                self._retry(self._move_block, "moving a block")
        except Interrupted:
            pass
        self._report_rest()

    def _open(self) -> None:
        if not self._is_open:
            self._exporter.open()
            self._is_open = True

    def _open_late(self) -> None:
        try:
            self._open()
        except Permanent as error:  # the service runs already; whoever reads this can still put it right
            raise Retryable(str(error)) from error

    def _await_rows(self) -> bool:
        """True when there is a block to take, False when the loop is to end."""
        due: float | None = None
        while True:
            behind = self._retry(self._refresh, "asking the buffer").rows_behind
            now = time.monotonic()
            if self._stop.is_set():
                self._left_rows = behind if self._left_rows is None else self._left_rows
                return min(behind, self._left_rows) > 0 and now < self._deadline
            if behind and due is None:
                due = now + self._block.flush_interval
            if due is not None and (now >= due or behind * 2 >= self._block.max_rows):
                return True
            self._stop.wait(_POLL_SECONDS)

    def _move_block(self) -> None:
        entries = self._retry(self._read, "reading the buffer")
        if not entries:
            return
        for batch in self._blocks(entries):
            self._store(batch)
        for entry in entries:
            if isinstance(entry.content, Corrupt):
                self._bury(entry.content.raw, entry.content.reason, entry.rows, "corrupt")
        position = entries[-1].position
        if self._left_rows is not None:
            self._left_rows -= sum(entry.rows for entry in entries)
        self._retry(lambda: self._buffer.commit(self._id, position), "moving the cursor")

    def _read(self) -> Sequence[Entry]:
        return self._buffer.read(self._id, self._block.max_rows, self._block_bytes)

    def _blocks(self, entries: Iterable[Entry]) -> list[Batch]:
        batches = join(entry.content for entry in entries if isinstance(entry.content, Batch))
        return [part for batch in batches for part in split(batch, self._block.max_rows, self._block_bytes)]

    def _store(self, batch: Batch) -> None:
        try:
            self._export(batch)
        except GaveUp as error:
            self._bury(batch, str(error), batch.rows, "gave_up")
        except Permanent as error:
            self._log.warning("The sink refuses a block; its bad rows are searched.", rows=batch.rows, error=str(error))
            self._bury_refused(isolate(batch, str(error), self._export))

    def _export(self, batch: Batch) -> None:
        self._retry(lambda: self._attempt(batch), "exporting", self._give_up_seconds)

    def _attempt(self, batch: Batch) -> None:
        if self._stop.is_set() and time.monotonic() > self._deadline:
            raise Interrupted
        spans = batch.rows if batch.kind == "observations" else 0
        try:
            self._exporter.export(batch)
        except Exception:
            SEND_FAILED_SPANS.labels(self._id).inc(spans)
            raise
        SENT_SPANS.labels(self._id).inc(spans)
        STORED_SECONDS.labels(self._id).observe(max(0, time.time_ns() - batch.received_at_ns) / 1e9)

    def _bury_refused(self, refused: Sequence[Refused]) -> None:
        if refused:
            reasons = list(dict.fromkeys(each.reason for each in refused))
            more = [f"and {len(reasons) - _MOST_REASONS} more reasons"] if len(reasons) > _MOST_REASONS else []
            (batch,) = join(each.batch for each in refused)
            self._bury(batch, "\n".join(reasons[:_MOST_REASONS] + more), batch.rows, "refused")

    def _bury(self, content: Batch | bytes, reason: str, rows: int, label: str) -> None:
        name = self._retry(lambda: self._dead_letters.write(content, reason, self._id), "writing dead letters")
        DEAD_LETTERS.labels(self._id, label).inc(rows)
        place = self._dead_letters.place(name)
        self._log.error(
            "Rows cannot be stored; they are kept as a dead letter.", rows=rows, reason=reason[:500], file=place
        )

    def _pause(self, seconds: float) -> None:
        """Waits, keeping the gauges right meanwhile; a loop that is to stop does not try again."""
        end = time.monotonic() + seconds
        while not self._stop.is_set() and (remaining := end - time.monotonic()) > 0:
            self._stop.wait(min(remaining, _REFRESH_SECONDS))
            self._try_refresh()
        if self._stop.is_set():
            raise Interrupted

    def _refresh(self) -> Statistics:
        try:
            statistics = self._buffer.statistics(self._id)
        except Exception as error:
            self._note_failure(str(error) or type(error).__name__)
            raise
        self._failure, self._oldest_ns = "", statistics.oldest_received_at_ns
        QUEUE_SIZE.labels(self._id).set(statistics.rows_behind)
        QUEUE_CAPACITY.labels(self._id).set(statistics.capacity_bytes)
        BUFFER_BYTES.labels(self._buffer.name).set(statistics.used_bytes)
        self._show_age()
        return statistics

    def _note_failure(self, failure: str) -> None:
        if not self._failure:
            self._failing_since = time.monotonic()
        self._failure = failure
        self._show_age()  # what was there grows older

    def _show_age(self) -> None:
        age_seconds = 0.0 if self._oldest_ns is None else max(0, time.time_ns() - self._oldest_ns) / 1e9
        OLDEST_AGE_SECONDS.labels(self._id).set(age_seconds)

    def _try_refresh(self) -> Statistics | None:
        try:
            return self._refresh()
        except Exception:  # noqa: BLE001 - whoever needs the buffer next says so
            return None

    def _report_rest(self) -> None:
        statistics = self._try_refresh()
        if statistics is None or statistics.rows_behind:
            rows = "unknown" if statistics is None else statistics.rows_behind
            self._log.warning(
                "Stopped before all was exported; the rest stays in the buffer for the next start.",
                rows=rows,
                buffer=self._buffer.name,
            )
