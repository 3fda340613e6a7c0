"""How hard a ClickHouse server may be pressed: less after it has said that it has too much to do.

Both refusals pass, but not by asking again at once: too many parts need merges, which more inserts only delay; too
little memory needs smaller blocks.
"""

import time
from collections.abc import Callable
from typing import Final

from pipelines.errors import Retryable

TOO_MANY_PARTS: Final = 252
OUT_OF_MEMORY: Final = frozenset({173, 241})  # CANNOT_ALLOCATE_MEMORY, MEMORY_LIMIT_EXCEEDED

_FIRST_REST_SECONDS: Final = 5.0
_LONGEST_REST_SECONDS: Final = 60.0
_ALL_ROWS: Final = 1 << 31
_FEWEST_ROWS: Final = 256


class Pressure:
    """What the next insert may be.

    Attributes:
        most_rows: of one insert; halved when memory was short, doubled again with each insert that went well.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.most_rows = _ALL_ROWS
        self._clock = clock
        self._rest_seconds = _FIRST_REST_SECONDS
        self._rest_until = 0.0

    def check(self) -> None:
        """Raises Retryable while the server is left in peace, without asking it."""
        left_seconds = self._rest_until - self._clock()
        if left_seconds > 0:
            raise Retryable(f"ClickHouse has too many parts; it is left to merge them for another {left_seconds:.0f} s")

    def refused(self, code: int, rows: int) -> None:
        """The server refused an insert of so many rows."""
        if code == TOO_MANY_PARTS:
            self._rest_until = self._clock() + self._rest_seconds
            self._rest_seconds = min(2 * self._rest_seconds, _LONGEST_REST_SECONDS)
        elif code in OUT_OF_MEMORY:
            self.most_rows = max(_FEWEST_ROWS, min(rows, self.most_rows) // 2)

    def accepted(self) -> None:
        """The server took an insert."""
        self._rest_seconds = _FIRST_REST_SECONDS
        self.most_rows = min(2 * self.most_rows, _ALL_ROWS)
