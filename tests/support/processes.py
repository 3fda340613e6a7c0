"""Processes to be killed: what they were told is durable goes up a pipe before they go on."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

from config.models import BlockSettings, FileExporterSettings
from exporters import build_exporter
from pipelines.batch import Batch
from pipelines.export import ExportLoop
from tests.support.buffers import local_buffer
from tests.support.records import observations

# Not fork: the test process has threads. Imports are done once, so that starting a process takes milliseconds.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.support.processes"])


class Process:
    """A running target with the receiving end of its pipe."""

    def __init__(self, target: Callable[..., None], *args: Any) -> None:
        self._received, sent = _CONTEXT.Pipe(duplex=False)
        self._process = _CONTEXT.Process(target=target, args=(sent, *args), daemon=True)
        self._process.start()
        sent.close()

    @property
    def seen(self) -> psutil.Process:
        """What the system knows of it."""
        return psutil.Process(self._process.pid)

    def next(self) -> Any:
        """What it sent next; waits for it."""
        assert self._received.poll(60), "the process does not answer"
        return self._received.recv()

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return bool(self._process.is_alive())

    def kill(self) -> list[Any]:
        """Kill -9; returns what it had sent until then."""
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.join()
        return list(self._rest())

    def join(self) -> list[Any]:
        """Waits for its end; returns what it sent until then."""
        sent = list(self._rest())
        self._process.join()
        assert self._process.exitcode == 0
        return sent

    def _rest(self) -> Iterator[Any]:
        try:
            while True:
                yield self._received.recv()
        except EOFError:  # also for a message that was cut short by the kill
            self._received.close()


@contextmanager
def running(target: Callable[..., None], *args: Any) -> Iterator[Process]:
    """A process that does not outlive the block."""
    process = Process(target, *args)
    try:
        yield process
    finally:
        if process.is_alive():
            process.kill()


def append_forever(acks: Connection, directory: Path, first: int) -> None:
    """Appends batches of 1 to 16 rows with ids from `first` on; sends the ids of each batch that is durable."""
    _append(acks, directory, first, count())


def append_some(acks: Connection, directory: Path, first: int, appends: int) -> None:
    """As `append_forever`, so many times."""
    _append(acks, directory, first, range(appends))


def export_forever(ready: Connection, directory: Path, path: Path) -> None:
    """Moves what is in the buffer to a file of JSON lines."""
    buffer = local_buffer(directory, "file")
    settings = FileExporterSettings(path=str(path), block=BlockSettings(flush_interval=0.0, max_rows=64))
    loop = ExportLoop("file", build_exporter("file", settings), buffer, settings, buffer.dead_letters)
    loop.start()
    ready.send("ready")
    signal.pause()


def _append(acks: Connection, directory: Path, first: int, numbers: Iterable[int]) -> None:
    buffer = local_buffer(directory)
    stock = observations(16, text_bytes=300)
    for number in numbers:
        batch = _numbered(stock, first, 1 + number % 16)
        buffer.append([batch])
        acks.send(range(first, first + batch.rows))
        first += batch.rows
    buffer.close()


def _numbered(stock: Batch, first: int, rows: int) -> Batch:
    """Rows from stock with ids of their own: making rows costs more than storing them."""
    records = stock.records.slice(0, rows)
    index = records.schema.get_field_index("id")
    identities = pa.array([f"{number:016x}" for number in range(first, first + rows)])
    return Batch(stock.kind, records.set_column(index, records.schema.field(index), identities), stock.received_at_ns)
