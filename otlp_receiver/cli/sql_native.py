"""Asks the ClickHouse server that an exporter writes to, over its native protocol, as a reader.

The protocol carries columns, not formats. So the server itself writes each row as text (`formatRow`), exactly as its
HTTP interface would, and what comes over is one column of lines.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BufferedReader, RawIOBase
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from exporters.clickhouse_client import connect, sorted_errors
from exporters.clickhouse_sql import READER_SETTINGS, quoted
from otlp_receiver.cli.sql_client import Answer, Parameter, SqlError
from pipelines.errors import Permanent, Retryable

if TYPE_CHECKING:
    from clickhouse_driver import Client

    from config.models import ClickHouseExporterSettings

_SETTINGS: Final = {
    **READER_SETTINGS,
    "max_execution_time": 60,
    "max_result_rows": 10_000_000,
    "session_timezone": "UTC",
    # The query stands within another: its order is what was asked for, and no detail to be optimised away.
    "query_plan_remove_redundant_sorting": 0,
    "optimize_duplicate_order_by_and_distinct": 0,
    "readonly": 1,  # nothing is changed, no setting either, and no table functions reach files or other hosts
}
_TABS, _COMMAS, _OBJECTS, _LISTS = "TSV", "CSV", "JSONEachRow", "JSONCompactEachRow"
_FORMATS: Final[dict[str, tuple[str, int]]] = {
    "TabSeparated": (_TABS, 0),
    "TabSeparatedWithNames": (_TABS, 1),
    "TabSeparatedWithNamesAndTypes": (_TABS, 2),
    "TSV": (_TABS, 0),
    "TSVWithNames": (_TABS, 1),
    "TSVWithNamesAndTypes": (_TABS, 2),
    "CSV": (_COMMAS, 0),
    "CSVWithNames": (_COMMAS, 1),
    "CSVWithNamesAndTypes": (_COMMAS, 2),
    "JSONEachRow": (_OBJECTS, 0),
    "JSONLines": (_OBJECTS, 0),
    "NDJSON": (_OBJECTS, 0),
    "JSONCompactEachRow": (_LISTS, 0),
    "JSONCompactEachRowWithNames": (_LISTS, 1),
    "JSONCompactEachRowWithNamesAndTypes": (_LISTS, 2),
}
"""Format → the format of its rows, and how many lines come before them: names, types."""

_FORMAT_CLAUSE: Final = re.compile(r"\sFORMAT\s+(\w+)\s*\Z", re.IGNORECASE)
_CAN_BE_PART: Final = re.compile(r"(?is)(?:[\s(]|--[^\n]*\n|/\*.*?\*/)*(?:SELECT|WITH|FROM)\b")
_PARAMETER: Final = re.compile(r"\{(\w+):([^{}]+)\}")


class NativeSqlClient:
    """Implements `SqlClient` with the connection settings of a clickhouse exporter.

    Args:
        exporter_id: for messages.
        settings: of the exporter, whose user must be allowed to read.
    """

    def __init__(self, exporter_id: str, settings: "ClickHouseExporterSettings") -> None:
        self._id = exporter_id
        self._settings = settings

    def rows(self, sql: str, **parameters: Parameter) -> list[dict[str, Any]]:
        """See `SqlClient.rows`."""
        with self.ask(sql, _OBJECTS, **parameters) as answer:
            return [json.loads(line.decode("utf-8", "replace")) for line in answer.stream]

    @contextmanager
    def ask(self, sql: str, default_format: str, **parameters: Parameter) -> Iterator[Answer]:
        """See `SqlClient.ask`; formats that are not made of lines cannot be had."""
        text, output_format = _without_format(_with_values(sql, parameters))
        name = output_format or default_format
        client = connect(self._settings, self._settings.url.database, strings_as_bytes=True, **_SETTINGS)
        try:
            with self._named_errors():
                pieces = _started(client, text, *_known(name))
            yield Answer(name, BufferedReader(_Stream(self._checked(pieces))))
        finally:
            client.disconnect()

    def _checked(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        with self._named_errors():
            yield from pieces

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            with sorted_errors():
                yield
        except (Permanent, Retryable) as error:
            hosts = ", ".join(f"{host}:{port}" for host, port in self._settings.url.hosts)
            raise SqlError(f"{self._id} at {hosts}: {error}") from None


def _started(client: "Client", text: str, row_format: str, header_lines: int) -> Iterator[bytes]:
    """The lines of the answer; what fails before its first row fails here, before anything is printed."""
    query = text if _CAN_BE_PART.match(text) else _as_query(client, text)
    header = _header(client, query, row_format, header_lines) if header_lines else b""
    rows = client.execute_iter(f"SELECT formatRow('{row_format}', *) FROM (\n{query}\n)")  # noqa: S608 - it is the question
    lines = (line for (line,) in rows)
    return chain([header + next(lines, b"")], lines)


def _header(client: "Client", query: str, row_format: str, lines: int) -> bytes:
    """Names, and types, in the same format as the rows."""
    columns = client.execute(f"DESCRIBE TABLE (\n{query}\n)")
    texts = list(zip(*(column[:2] for column in columns), strict=True))[:lines]
    return b"".join(client.execute(f"SELECT formatRow('{row_format}', {_listed(each)})")[0][0] for each in texts)


class _Stream(RawIOBase):
    """Pieces of bytes as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any, /) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(target), len(self._rest))
        target[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


def _known(name: str) -> tuple[str, int]:
    """The format of that name, which ClickHouse takes in any case."""
    for known, lines in _FORMATS.items():
        if known.lower() == name.lower():
            return lines
    raise SqlError(
        f"format {name!r} does not come over ClickHouse's native protocol; these do: {', '.join(_FORMATS)}. "
        "For others ask the server's HTTP interface, or clickhouse-client"
    )


def _without_format(sql: str) -> tuple[str, str]:
    """A query without the FORMAT at its end, and that."""
    text = sql.strip().rstrip(";").rstrip()
    found = _FORMAT_CLAUSE.search(text)
    return (text[: found.start()], found[1]) if found else (text, "")


def _as_query(client: "Client", statement: str) -> str:
    """The answer to a statement that cannot stand within a query, such as DESCRIBE, as one that can."""
    answer = list(client.execute_iter(statement, with_column_types=True))
    if not answer:
        raise SqlError("the server has no answer to that")
    names = [name for name, _ in answer[0]]
    rows = [f"tuple({_listed(row)})" for row in answer[1:]]
    # An array without elements would have no type.
    table = f"[{', '.join(rows)}]" if rows else f"arrayPopBack([tuple({_listed(names)})])"
    columns = ", ".join(f"row.{number} AS `{_escaped(name)}`" for number, name in enumerate(names, 1))
    return f"SELECT {columns} FROM (SELECT arrayJoin({table}) AS row)"  # noqa: S608 - texts are quoted


def _listed(values: Sequence[bytes | str | int | None]) -> str:
    return ", ".join(map(_literal, values))


def _literal(value: bytes | str | int | None) -> str:
    if value is None:
        return "NULL"
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return quoted(text) if isinstance(text, str) else str(int(text))


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace("`", "\\`")


def _with_values(sql: str, parameters: Mapping[str, Parameter]) -> str:
    """Our own queries with their values: servers of all ages take those, drivers not all parameters."""

    def value(found: re.Match[str]) -> str:
        name, kind = found.groups()
        if name not in parameters:
            return found[0]
        given = parameters[name]
        if isinstance(given, int):
            return f"CAST({given}, {quoted(kind)})"
        return quoted(given) if isinstance(given, str) else f"[{', '.join(map(quoted, given))}]"

    return _PARAMETER.sub(value, sql)
