"""A ClickHouse server for tests: its native protocol on a socket, its engine in chDB, in a process of its own.

The real driver talks to a real, current engine; between them is only what this file knows of the protocol (the revision
of 2021, which drivers and servers still agree on). It can be told to fail as servers do.
"""

import random
import re
import socketserver
import ssl
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import chdb
import lz4.block
import orjson
from clickhouse_cityhash.cityhash import CityHash128

from tests.support.certificates import Issued
from tests.support.processes import Process
from tests.support.service import free_ports
from tests.support.waiting import wait_until

_REVISION: Final = 54447
_HELLO, _DATA, _EXCEPTION, _PONG, _END = 0, 1, 2, 4, 5
_CLIENT_HELLO, _CLIENT_QUERY, _CLIENT_DATA, _CLIENT_PING = 0, 1, 2, 4
_LZ4: Final = 0x82
_BLOCK_INFO: Final = b"\x01\x00\x02\xff\xff\xff\xff\x00"
_NO_ROWS: Final = b"\x00\x00"
_INSERT: Final = re.compile(r"INSERT INTO (\S+) \((.*)\) VALUES\s*$", re.DOTALL)
_CODE: Final = re.compile(r"Code: (\d+)\.")


@dataclass(frozen=True)
class Faults:
    """What goes wrong with inserts.

    Attributes:
        share: of the inserts that are refused, before anything is stored.
        code: what they are refused with.
        poison: an insert that holds this text is refused with code 131.
        slow_seconds: how long each takes.
        dropped: how many of the next are stored, and their answers lost with the connection.
        withheld: share of the inserts that are stored and never answered; `Front.withheld` counts them.
    """

    share: float = 0.0
    code: int = 241
    poison: str = ""
    slow_seconds: float = 0.0
    dropped: int = 0
    withheld: float = 0.0


# --- for tests ---


class Front:
    """A server that runs; `kill()` and `start()` as often as wanted, on the same port and directory."""

    def __init__(self, directory: Path, certificate: Issued | None = None) -> None:
        (self.port,) = free_ports(1)
        self._files = (str(certificate.certificate), str(certificate.key)) if certificate else None
        self._directory = directory
        self._faults = directory / "faults.json"
        self._withheld = directory / "withheld"
        self._process: Process | None = None

    @property
    def endpoint(self) -> str:
        """URL for the exporter."""
        return f"clickhouse{'s' if self._files else ''}://127.0.0.1:{self.port}/otel"

    def start(self) -> None:
        """Returns when it answers."""
        self._process = Process(serve, self._directory, self.port, self._files)
        assert self._process.next() == "ready"

    def kill(self) -> None:
        """As by kill -9."""
        if self._process is not None and self._process.is_alive():
            self._process.kill()

    def fail(self, **faults: Any) -> None:
        """From now on; without arguments nothing fails any more."""
        temporary = self._faults.with_suffix(".part")
        temporary.write_bytes(orjson.dumps(Faults(**faults)))
        temporary.rename(self._faults)

    def withheld(self) -> int:
        """How many inserts were stored and are not answered, since the start of the first server."""
        return self._withheld.stat().st_size if self._withheld.exists() else 0

    def wait_for_withheld(self, unless: Callable[[], bool] = lambda: False) -> None:
        """Until there is one more, or there will be none."""
        before = self.withheld()
        wait_until(lambda: self.withheld() > before or unless(), 60)


@contextmanager
def clickhouse_front(certificate: Issued | None = None) -> Iterator[Front]:
    """A server that has been started, encrypted if it has a certificate; ended with the block."""
    with tempfile.TemporaryDirectory(prefix="clickhouse-front-") as directory:
        front = Front(Path(directory), certificate)
        front.start()
        try:
            yield front
        finally:
            front.kill()


# --- the server ---


def serve(ready: Connection, directory: Path, port: int, files: tuple[str, str] | None) -> None:
    """Runs until it is killed."""
    engine = Engine(directory)
    encryption = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if files else None
    if encryption and files:
        encryption.load_cert_chain(*files)

    class Session(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with suppress(EOFError, ConnectionError):
                _Session(self.rfile, self.wfile, engine).run()

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

        def get_request(self) -> tuple[Any, Any]:
            connection, address = super().get_request()
            return (encryption.wrap_socket(connection, server_side=True) if encryption else connection), address

    with Server(("127.0.0.1", port), Session) as server:
        ready.send("ready")
        server.serve_forever()


class Engine:
    """chDB in a directory, and the faults that are asked for."""

    def __init__(self, directory: Path) -> None:
        self._path = str(directory / "store")
        self._first = self.connect()
        self._faults_file = directory / "faults.json"
        self._withheld_file = directory / "withheld"
        self._chance = random.Random(7)
        self._dropped = 0
        self._lock = threading.Lock()

    def connect(self) -> Any:
        """A connection of its own."""
        return chdb.connect(self._path)  # type: ignore[no-untyped-call] # chDB ships it without types

    def faults(self) -> Faults:
        """What goes wrong now."""
        if not self._faults_file.exists():
            return Faults()
        return Faults(**orjson.loads(self._faults_file.read_bytes()))

    def refuse(self, block: bytes) -> None:
        """Raises RuntimeError, as chDB does, for an insert that is to fail."""
        faults = self.faults()
        time.sleep(faults.slow_seconds)
        if faults.poison and faults.poison.encode() in block:
            raise RuntimeError("Code: 131. DB::Exception: Too large string size. (TOO_LARGE_STRING_SIZE)")
        with self._lock:
            refused = self._chance.random() < faults.share
        if refused:
            raise RuntimeError(f"Code: {faults.code}. DB::Exception: refused, as asked for")

    def drops(self) -> bool:
        """Whether the answer to this insert is lost."""
        with self._lock:
            self._dropped += 1
            return self._dropped <= self.faults().dropped

    def withholds(self) -> bool:
        """Whether the answer to this insert never comes; a byte in a file counts it."""
        with self._lock:
            if self._chance.random() >= self.faults().withheld:
                return False
            with self._withheld_file.open("ab") as file:
                file.write(b".")
            return True


class _Session:
    """One connection."""

    def __init__(self, received: Any, sent: Any, engine: Engine) -> None:
        self._in = received
        self._out = sent
        self._engine = engine
        self._connection = engine.connect()

    def run(self) -> None:
        try:
            while True:
                {_CLIENT_HELLO: self._hello, _CLIENT_QUERY: self._query, _CLIENT_PING: self._pong}[self._varint()]()
                self._out.flush()
        finally:
            self._connection.close()

    def _hello(self) -> None:
        self._text()
        for _ in ("major", "minor", "revision"):
            self._varint()
        database = self._text()
        for _ in ("user", "password"):
            self._text()
        try:
            if database:
                self._connection.query(f"USE {database}")
        except RuntimeError as error:
            self._refuse(str(error))
            return
        version = (_HELLO, "ClickHouse", 26, 9, _REVISION, "UTC", "front", 0)
        self._out.write(b"".join(_encoded(part) for part in version))

    def _pong(self) -> None:
        self._out.write(_encoded(_PONG))

    def _query(self) -> None:
        settings, query = self._read_query()
        try:
            self._data()  # no external tables
            self._set(settings)
            found = _INSERT.match(query)
            if found:
                self._insert(found[1], found[2])
            else:
                self._select(query)
        except RuntimeError as error:
            self._refuse(str(error))
        else:
            self._out.write(_encoded(_END))

    def _read_query(self) -> tuple[dict[str, str], str]:
        self._text()  # its id
        self._read(1)  # of the client
        for _ in ("user", "id", "address"):
            self._text()
        self._read(1)
        for _ in ("os user", "host", "name"):
            self._text()
        for _ in ("major", "minor", "revision"):
            self._varint()
        self._text()
        self._varint()
        assert self._read(1) == b"\0", "traced queries are not understood"
        settings = {}
        while name := self._text():
            self._read(1)
            settings[name] = self._text()
        self._text()  # no secret between servers
        self._varint()
        assert self._varint() == 1, "blocks must be compressed"
        return settings, self._text()

    def _set(self, settings: dict[str, str]) -> None:
        for name, value in settings.items():
            with suppress(RuntimeError):  # a server ignores what it does not know
                self._connection.query(f"SET {name} = '{value}'")

    def _select(self, query: str) -> None:
        if re.match(r"\s*(SHOW|DESCRIBE|EXISTS|EXPLAIN)", query):  # the engine does not stream these
            self._send_block(self._connection.query(query, "Native").bytes())
            return
        if not re.match(r"\s*(SELECT|WITH)", query):
            self._connection.query(query)
            return
        for block in self._connection.send_query(query, "Native"):
            self._send_block(block.bytes())

    def _insert(self, table: str, names: str) -> None:
        self._send_block(self._header(table, [name.strip(" `") for name in names.split(",")]))
        self._out.flush()
        blocks = []
        while not (block := self._data()).startswith(_NO_ROWS):
            blocks.append(block)
        if not blocks:
            return
        self._engine.refuse(b"".join(blocks))
        with tempfile.NamedTemporaryFile(suffix=".native") as file:
            file.write(b"".join(blocks))
            file.flush()
            self._connection.query(f"INSERT INTO {table} ({names}) SELECT {names} FROM file('{file.name}', 'Native')")
        if self._engine.drops():
            raise ConnectionResetError
        if self._engine.withholds():
            self._read(1)  # until the client goes

    def _header(self, table: str, names: list[str]) -> bytes:
        lines = self._connection.query(f"DESCRIBE TABLE {table}", "JSONEachRow").bytes().splitlines()
        kinds = {row["name"]: row["type"] for row in map(orjson.loads, lines)}
        columns = b"".join(_encoded(name) + _encoded(kinds[name]) for name in names)
        return _encoded(len(names)) + _encoded(0) + columns

    def _refuse(self, message: str) -> None:
        found = _CODE.search(message)
        code = struct.pack("<i", int(found[1]) if found else 1)
        texts = b"".join(_encoded(text) for text in ("DB::Exception", message, ""))
        self._out.write(_encoded(_EXCEPTION) + code + texts + b"\0")

    # --- packets ---

    def _data(self) -> bytes:
        """The next block, without what is not part of the format Native."""
        packet = self._varint()
        if packet != _CLIENT_DATA:
            raise ConnectionAbortedError(f"packet {packet} instead of data")
        self._text()
        checksum = self._read(16)
        header = self._read(9)
        method, packed_bytes, plain_bytes = struct.unpack("<BII", header)
        packed = self._read(packed_bytes - len(header))
        assert _checksum(header + packed) == checksum
        assert method == _LZ4
        plain: bytes = lz4.block.decompress(packed, uncompressed_size=plain_bytes)
        return plain[len(_BLOCK_INFO) :]

    def _send_block(self, native: bytes) -> None:
        plain = _BLOCK_INFO + native
        packed = lz4.block.compress(plain, store_size=False)
        body = struct.pack("<BII", _LZ4, len(packed) + 9, len(plain)) + packed
        self._out.write(_encoded(_DATA) + _encoded("") + _checksum(body) + body)

    def _read(self, count: int) -> bytes:
        data: bytes = self._in.read(count)
        if len(data) < count:
            raise EOFError
        return data

    def _varint(self) -> int:
        number = shift = 0
        while True:
            (byte,) = self._read(1)
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    def _text(self) -> str:
        return self._read(self._varint()).decode()


def _checksum(data: bytes) -> bytes:
    """The higher half first, each half with its lowest byte first."""
    number = CityHash128(data)
    return struct.pack("<QQ", number >> 64, number & (1 << 64) - 1)


def _encoded(part: int | str) -> bytes:
    """A number as varint, a text with its length before it."""
    if isinstance(part, str):
        data = part.encode()
        return _encoded(len(data)) + data
    encoded = b""
    while part >= 0x80:
        encoded += bytes([part & 0x7F | 0x80])
        part >>= 7
    return encoded + bytes([part])
