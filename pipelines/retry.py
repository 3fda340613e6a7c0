"""Back-off: what cannot be done now is tried again, for ever by default."""

import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import structlog

from config.models import RetrySettings
from pipelines.errors import Permanent, Retryable

T = TypeVar("T")


class GaveUp(Exception):
    """`max_elapsed_time` has passed; the message says what the last failure was."""


class Interrupted(Exception):
    """The wait was cut short, because the caller is to stop."""


class Retry:
    """Calls again what fails, with growing, partly random waits between.

    Args:
        name: who tries, for the log.
        settings: the waits.
        pause: waits so many seconds; raises Interrupted when there is no time for another attempt.
    """

    def __init__(self, name: str, settings: RetrySettings, pause: Callable[[float], None]) -> None:
        self._settings = settings
        self._pause = pause
        self._log = structlog.get_logger("export").bind(exporter=name)

    def __call__(self, action: Callable[[], T], what: str, max_elapsed_seconds: float = 0.0) -> T:
        """What `action` returns, as soon as it does.

        Whatever it raises, except Permanent, is taken for a failure that may pass.

        Args:
            action: harmless to repeat.
            what: the log's words for it.
            max_elapsed_seconds: 0 means never to give up.

        Raises:
            Permanent: as raised by `action`.
            GaveUp: it has failed for `max_elapsed_seconds`.
            Interrupted: as raised by `pause`.
        """
        started, attempt, intervals = time.monotonic(), 0, waits(self._settings)
        while True:
            attempt, wait_seconds = attempt + 1, next(intervals)
            try:
                result = action()
            except (Permanent, Interrupted):
                raise
            except Exception as error:
                self._report(error, what, attempt, wait_seconds)
                if 0 < max_elapsed_seconds < time.monotonic() + wait_seconds - started:
                    raise GaveUp(f"gave up after {max_elapsed_seconds:g} s and {attempt} attempts: {error}") from error
            else:
                if attempt > 1:
                    self._log.info("It works again.", what=what, attempts=attempt)
                return result
            self._pause(wait_seconds)

    def _report(self, error: Exception, what: str, attempt: int, wait_seconds: float) -> None:
        context = {"what": what, "attempt": attempt, "next_in_seconds": round(wait_seconds, 3)}
        if isinstance(error, Retryable):
            self._log.warning("It failed and is tried again; the rows stay in the buffer.", error=str(error), **context)
        else:
            self._log.error("It failed in an unexpected way and is tried again.", exc_info=error, **context)


def waits(settings: RetrySettings) -> Iterator[float]:
    """Seconds to wait after each failure, without end."""
    interval = settings.initial_interval
    while True:
        interval = min(interval, settings.max_interval)
        spread = settings.randomization_factor * interval
        yield random.uniform(interval - spread, interval + spread)  # noqa: S311 - spreads load, guards nothing
        interval *= settings.multiplier
