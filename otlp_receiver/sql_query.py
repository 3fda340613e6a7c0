"""One question in SQL: what a request asks, and its answer piece by piece. Blocking; runs in a thread."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from otlp_receiver.sql_allowed import names
from otlp_receiver.sql_guard import SqlGuard

Connect = Callable[[Mapping[str, str], str], Any]
"""Makes a chDB connection that can only read, the rows of one project or (empty) of all, and keeps these settings."""

Piece = bytes | memoryview

_DEFAULT_FORMAT: Final = "TabSeparated"
_MIB: Final = 1 << 20

# Formats of which the parts of an answer, put one after the other, are the answer: sent while the query runs, in
# little memory. The others are made as a whole, within the query's memory limit.
_STREAMED: Final = names(
    """
    CSV CustomSeparated JSONCompactEachRow JSONCompactStringsEachRow JSONEachRow JSONLines JSONStringsEachRow
    LineAsString NDJSON Native RawBLOB RowBinary TSKV TSV TSVRaw TabSeparated TabSeparatedRaw
    """
)
_PIECE_BYTES: Final = 1 << 18

_LIMITS: Final = {
    "use_query_condition_cache": "0",  # it would remember of one project's query what another's finds
    "session_timezone": "UTC",
    "max_query_size": str(_MIB),
    "max_ast_elements": "20000",
    "function_range_max_elements_in_block": "10000000",
    "max_temporary_data_on_disk_size_for_query": str(4096 * _MIB),
}

# What a client may set; only what shapes or further limits its own answer.
_SETTINGS: Final = names(
    """
    date_time_output_format extremes group_by_overflow_mode join_use_nulls max_block_size max_bytes_to_read
    max_rows_to_group_by max_rows_to_read read_overflow_mode result_overflow_mode max_result_rows session_timezone
    """
)
_FORMAT_SETTINGS: Final = """
    SELECT name FROM system.settings WHERE startsWith(name, 'output_format_') AND type IN ('Bool', 'UInt64')
"""


@dataclass(frozen=True, slots=True)
class Question:
    """What a client asks.

    Attributes:
        query: SQL, one statement.
        default_format: for a query without FORMAT; empty for the server's default.
        parameters: values of the query's `{name:Type}`, escaped as in TSV.
        settings: ClickHouse settings that it would like.
        project_id: the one project whose rows it may see; empty = all.
    """

    query: str
    default_format: str
    parameters: dict[str, str]
    settings: dict[str, str]
    project_id: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a finished query read and returned."""

    read_rows: int
    read_bytes: int
    result_rows: int
    result_bytes: int
    elapsed_ns: int


class Answer:
    """The running answer to a question; to be closed.

    Attributes:
        format: ClickHouse's name of the format of the pieces.
        summary: None while it is not known.
    """

    def __init__(self, connection: Any, output_format: str, pieces: Iterable[Piece], summary: Summary | None) -> None:
        self.format = output_format
        self.summary = summary
        self._connection = connection
        self._in_use = threading.Lock()  # whoever is told to stop may close while another thread still fetches
        self._pieces = iter(pieces)
        self._first: Piece = next(self._pieces, b"")  # what fails at once fails before a reply has begun

    def next_piece(self) -> Piece:
        """Wait for the next piece, empty at the end. Raises RuntimeError when the query fails."""
        with self._in_use:
            piece, self._first = self._first, b""
            return piece or next(self._pieces, b"")

    def close(self) -> None:
        """End the query."""
        with self._in_use:
            self._connection.close()


class Questions:
    """Answers questions, each on a connection of its own, so that none leaves anything behind for the next.

    Args:
        connect: see `Connect`.
        max_seconds: longest that a query may run.
        shared: whether every question is one of a single project.
    """

    def __init__(self, connect: Connect, max_seconds: float, *, shared: bool = False) -> None:
        self._shared = shared
        self._connect = connect
        self._max_seconds = max_seconds
        self._learning = threading.Lock()
        self._guard: SqlGuard | None = None
        self._settings = _SETTINGS

    def ask(self, question: Question) -> Answer:
        """Start to answer.

        Raises:
            Refused: the question may not be asked.
            RuntimeError: the engine says so.
            Retryable: the store is not open.
        """
        assert question.project_id or not self._shared, "nobody may see all"
        guard = self._learned()
        connection = self._connect(self._limits(question), question.project_id)
        try:
            statement = guard.check(connection, question.query, question.parameters)
            output_format = statement.format or guard.format_name(question.default_format) or _DEFAULT_FORMAT
            return _run(connection, statement.text, output_format, question.parameters)
        except BaseException:
            connection.close()
            raise

    def _learned(self) -> SqlGuard:
        """The guard; made with the first question, when the store is open."""
        with self._learning:
            if self._guard is None:
                connection = self._connect({}, "")
                try:
                    names: bytes = connection.query(_FORMAT_SETTINGS, "TSVRaw").bytes()
                    self._settings = _SETTINGS | set(names.decode().splitlines())
                    self._guard = SqlGuard(connection, shared=self._shared)
                finally:
                    connection.close()
            return self._guard

    def _limits(self, question: Question) -> dict[str, str]:
        asked = {name: value for name, value in question.settings.items() if name in self._settings}
        return {
            **_LIMITS,
            **asked,
            "max_execution_time": str(_seconds(question.settings.get("max_execution_time", ""), self._max_seconds)),
        }


def _seconds(asked: str, limit: float) -> float:
    try:
        seconds = float(asked)
    except ValueError:
        return limit
    return seconds if 0 < seconds < limit else limit


def _run(connection: Any, text: str, output_format: str, parameters: dict[str, str]) -> Answer:
    if output_format in _STREAMED and text.startswith(("SELECT ", "WITH ")):  # the engine streams nothing else
        return Answer(connection, output_format, _streamed(connection, text, output_format, parameters), None)
    result = connection.query(text, output_format, params=parameters)
    summary = Summary(
        read_rows=result.storage_rows_read(),
        read_bytes=result.storage_bytes_read(),
        result_rows=result.rows_read(),
        result_bytes=result.bytes_read(),
        elapsed_ns=int(result.elapsed() * 1e9),
    )
    return Answer(connection, output_format, _pieces(result), summary)


def _pieces(result: Any) -> Iterator[bytes]:
    """Copies, since the view does not keep the engine's memory, and a socket may still hold the last one at the end."""
    whole = memoryview(result.get_memview().view())
    for start in range(0, len(whole), _PIECE_BYTES):
        yield bytes(whole[start : start + _PIECE_BYTES])


def _streamed(connection: Any, text: str, output_format: str, parameters: dict[str, str]) -> Iterator[bytes]:
    is_empty = True
    for part in connection.send_query(text, output_format, params=parameters):
        is_empty = False
        yield part.bytes()
    if is_empty and output_format == "Native":
        yield _native_header(connection, text, parameters)


def _native_header(connection: Any, text: str, parameters: dict[str, str]) -> bytes:
    """A block without rows, as a server sends it: without it a client would not know the columns of an empty answer.

    https://clickhouse.com/docs/interfaces/formats/Native
    """
    described: bytes = connection.query(f"DESCRIBE TABLE ({text})", "JSONCompactEachRow", params=parameters).bytes()
    columns = [orjson.loads(line)[:2] for line in described.splitlines()]
    names_and_types = (part.encode() for column in columns for part in column)
    return _varint(len(columns)) + _varint(0) + b"".join(_varint(len(part)) + part for part in names_and_types)


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low]) if not rest else bytes([low | 0x80]) + _varint(rest)
