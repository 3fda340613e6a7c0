"""ClickHouse's error codes, sorted into what may succeed later and what never will.

Codes: https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp
"""

import re
from typing import Final

from pipelines.errors import Permanent, Retryable

PERMANENT: Final[dict[int, str]] = {
    6: "CANNOT_PARSE_TEXT",
    20: "NUMBER_OF_COLUMNS_DOESNT_MATCH",
    27: "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
    36: "BAD_ARGUMENTS",
    43: "ILLEGAL_TYPE_OF_ARGUMENT",
    44: "ILLEGAL_COLUMN",
    48: "NOT_IMPLEMENTED",
    50: "UNKNOWN_TYPE",
    53: "TYPE_MISMATCH",
    69: "ARGUMENT_OUT_OF_BOUND",
    70: "CANNOT_CONVERT_TYPE",
    117: "INCORRECT_DATA",
    128: "TOO_LARGE_ARRAY_SIZE",
    131: "TOO_LARGE_STRING_SIZE",
    321: "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
    349: "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN",
    407: "DECIMAL_OVERFLOW",
}
"""Faults of the rows themselves. All else may pass, with time or with help: memory (241), too many parts (252), disk
full (243), timeouts (159, 209), a table that someone dropped (60): the rows wait in the buffer."""

_CODE: Final = re.compile(r"Code: (\d+)\.")


def error_code(message: str) -> int:
    """The code in a message such as `Code: 62. DB::Exception: ...`, 0 when there is none."""
    found = _CODE.search(message)
    return int(found[1]) if found else 0


def sorted_error(message: str) -> Retryable | Permanent:
    """The exception to raise for what the server said about an INSERT."""
    return Permanent(message) if error_code(message) in PERMANENT else Retryable(message)
