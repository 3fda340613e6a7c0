"""How ClickHouse's HTTP interface puts answers and errors.

Statuses: https://github.com/ClickHouse/ClickHouse/blob/master/src/Server/HTTP/exceptionCodeToHTTPStatus.cpp
"""

import re
from typing import Final

from exporters.clickhouse_errors import error_code

_REPEATED: Final = re.compile(r"(Code: \d+\. DB::\w*Exception: )\1+")

_STATUSES: Final[dict[int, tuple[int, ...]]] = {
    400: (6, 15, 25, 26, 27, 36, 38, 41, 44, 53, 62, 72, 117, 167, 168, 321, 427),
    403: (164, 497),  # READONLY, ACCESS_DENIED
    404: (46, 47, 50, 60, 63, 73, 81, 115),  # UNKNOWN_FUNCTION, _IDENTIFIER, _TYPE, _TABLE, _FORMAT, _DATABASE ...
    408: (159,),  # TIMEOUT_EXCEEDED
    501: (48,),  # NOT_IMPLEMENTED
    503: (202,),  # TOO_MANY_SIMULTANEOUS_QUERIES
}
_STATUS_OF_CODE: Final = {code: status for status, codes in _STATUSES.items() for code in codes}
_OUR_FAULT: Final = 500

_CONTENT_TYPES: Final[dict[str, str]] = {
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "TSV": "text/tab-separated-values; charset=UTF-8",
    "TSVWithNames": "text/tab-separated-values; charset=UTF-8",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TabSeparatedWithNames": "text/tab-separated-values; charset=UTF-8",
}
_BINARY: Final = re.compile(r"Native|RowBinary|Arrow|Parquet|ORC|Avro|MsgPack|BSON|Npy|Protobuf|Buffers|RawBLOB|PNG")


def content_type(output_format: str) -> str:
    """The media type of an answer in this format."""
    if _BINARY.match(output_format):
        return "application/octet-stream"
    return _CONTENT_TYPES.get(output_format, "text/plain; charset=UTF-8")


def error_text(error: Exception) -> str:
    """What is told to the client."""
    text = str(error).removeprefix("Streaming query failed: ")
    return _REPEATED.sub(r"\1", text)


def status_of(text: str) -> int:
    """The HTTP status that goes with an error text."""
    return _STATUS_OF_CODE.get(error_code(text), _OUR_FAULT)


def late_error(text: str, tag: str) -> bytes:
    """What ends an answer that fails half-way; clients recognise it by the tag in `X-ClickHouse-Exception-Tag`."""
    message = text.encode()
    return b"\r\n__exception__\r\n%b\r\n%b\n%d %b\r\n__exception__\r\n" % (
        tag.encode(),
        message,
        len(message) + 1,
        tag.encode(),
    )
