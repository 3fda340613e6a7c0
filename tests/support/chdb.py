"""The embedded store on real chDB, in this process: one directory at a time, closed when the block ends."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa

from config.models import ChdbExporterSettings, SqlHttpSettings
from exporters.chdb_store import ChdbExporter
from otlp_receiver.authentication import Authenticate
from otlp_receiver.sql_http import SqlHttpServer, Store
from tests.support.records import observations

DEADLINE_SECONDS: Final = 60


@contextmanager
def opened(path: Path, **settings: Any) -> Iterator[ChdbExporter]:
    """An open exporter on `path`."""
    exporter = ChdbExporter("chdb", ChdbExporterSettings(path=str(path), **settings))
    exporter.open()
    try:
        yield exporter
    finally:
        exporter.close()


def answer(store: ChdbExporter, query: str, **settings: str) -> list[dict[str, Any]]:
    """Rows of a query by a reader."""
    reader = store.reader(settings)
    try:
        return json_rows(reader, query)
    finally:
        reader.close()


def json_rows(connection: Any, query: str) -> list[dict[str, Any]]:
    """Rows of a query on any connection; 64-bit numbers as numbers."""
    lines: bytes = connection.query(query, "JSONEachRow").bytes()
    return [orjson.loads(line) for line in lines.splitlines()]


def value(store: ChdbExporter, query: str) -> Any:
    """The one value of a query."""
    (row,) = answer(store, query)
    (only,) = row.values()
    return only


def arrow(store: ChdbExporter, query: str) -> pa.Table:
    """The answer as Arrow."""
    reader = store.reader({})
    try:
        return pa.ipc.open_stream(reader.query(query, "ArrowStream").bytes()).read_all()
    finally:
        reader.close()


def statement(store: ChdbExporter, sql: str) -> None:
    """A statement with the rights of the exporter, as nobody else has them."""
    store._connection.query(sql)


@contextmanager
def sql_server(
    store: Store, settings: Mapping[str, Any] | None = None, authenticate: Authenticate | None = None
) -> Iterator[SqlHttpServer]:
    """A started SQL server on a free port, on an event loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> SqlHttpServer:
        server = SqlHttpServer(SqlHttpSettings(**{"endpoint": "127.0.0.1:0", **(settings or {})}), store, authenticate)
        await server.start()
        return server

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(DEADLINE_SECONDS)
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.shutdown(5), loop).result(DEADLINE_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


# --- in processes of their own ---


def export_forever(acks: Connection, path: Path, first: int) -> None:
    """Exports blocks of 100 rows with ids from `first` on, and tells the first id of each that is stored."""
    with opened(path) as exporter:
        for number in range(first, first + 1_000_000, 100):
            exporter.export(observations(100, first=number, text_bytes=50))
            acks.send(number)


def hold_open(ready: Connection, path: Path) -> None:
    """Keeps the directory open until it is killed."""
    with opened(path):
        ready.send("open")
        time.sleep(DEADLINE_SECONDS)


def call_in_thread(work: Callable[[], Any]) -> "Call":
    """Starts `work` in a thread."""
    return Call(work)


class Call:
    """A call that runs meanwhile."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.error: Exception | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Waits for its end."""
        self._thread.join(DEADLINE_SECONDS)
        assert not self._thread.is_alive(), "the call hangs"

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 - looked at by the test
            self.error = error
