"""How a span ended, and when its first token came."""

from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from otlp_receiver.decode.span_table import SpanTable
from otlp_receiver.mapping.arrow_arrays import Mask, chosen, empty_texts, first_text, has_text, is_text
from otlp_receiver.mapping.event_messages import event_attributes
from otlp_receiver.mapping.numbers import given_numbers
from otlp_receiver.mapping.plan import Plan
from otlp_receiver.mapping.resolution import Resolution
from pipelines.schema import TIME

_STATUS_OK, _STATUS_ERROR = 1, 2
_MOST_SECONDS: Final = 10**6
_FIRST_TOKEN_FIELDS: Final = ("first_token_time", "seconds_to_first_token", "milliseconds_to_first_token")
# With OpenTelemetry's severity numbers; those of INFO (9 to 12) say nothing, an error status beside them does.
_LEVELS: Final = {
    "DEBUG": ("debug", "trace", "verbose", *map(str, range(1, 9))),
    "DEFAULT": ("default", "info", "log", "notice", "ok", "success"),
    "WARNING": ("warning", "warn", *map(str, range(13, 17))),
    "ERROR": ("error", "fatal", "critical", *map(str, range(17, 25))),
}
_DEFAULT_OR_ERROR: Final = pa.array(["DEFAULT", "ERROR"])
_LEVEL_OF: Final = {spelling: level for level, spellings in _LEVELS.items() for spelling in spellings}


def is_true(texts: pa.StringArray) -> Mask:
    """Which texts say yes."""
    return is_text(pc.utf8_lower(pc.utf8_trim(texts, characters='" ')), "true")


def status_columns(table: SpanTable, resolution: Resolution) -> dict[str, pa.Array]:
    """Level and status message: what the application says, else the span's status, its exception, its kind of error.

    ERROR also by an exception on a span whose SDK says OK (LangSmith).
    """
    codes = table.spans.column("status_code").to_numpy()
    messages = first_text(resolution.shown_text("status_message"), table.spans.column("status_message"))
    failed = codes == _STATUS_ERROR
    exceptions = _exception_messages(table)
    if exceptions:
        spans = np.fromiter(exceptions, np.int64, len(exceptions))
        failed[spans] |= codes[spans] == _STATUS_OK
        texts = pa.array([exceptions.get(span, "") for span in range(len(codes))], pa.string())
        messages = first_text(messages, chosen(failed, texts, empty_texts(resolution.spans)))
    messages = _with_errors(resolution, messages, failed)
    levels = _DEFAULT_OR_ERROR.take(pa.array(failed.astype(np.int8)))
    return {"level": first_text(_given_levels(resolution), levels), "status_message": messages}


def _with_errors(resolution: Resolution, messages: pa.StringArray, failed: Mask) -> pa.StringArray:
    if not resolution.is_filled("error"):
        return messages
    silent = failed & ~has_text(messages)
    resolution.show(resolution.rows("error")[silent])
    return chosen(silent, resolution.text("error"), messages)


def _given_levels(resolution: Resolution) -> pa.StringArray:
    given = resolution.text("level")
    if not resolution.is_filled("level"):
        return given
    texts = given.dictionary_encode()
    known = [_LEVEL_OF.get(text.strip('" ').lower(), "") for text in texts.dictionary.to_pylist()]
    levels = pa.array(known, pa.string()).take(texts.indices)
    resolution.show(resolution.rows("level")[has_text(levels)])
    return levels


def _exception_messages(table: SpanTable) -> dict[int, str]:
    """Message, else type, of each span's first exception."""
    names = table.events.column("name")
    if not len(names):
        return {}
    wanted = pc.equal(names, "exception").to_numpy(zero_copy_only=False)
    if not wanted.any():
        return {}
    spans = table.events.column("span").to_numpy()
    found: dict[int, str] = {}
    for row, values in event_attributes(table, wanted).items():
        text = values.get("exception.message") or values.get("exception.type") or "exception"
        found.setdefault(int(spans[row]), text)
    return found


def first_token_times(plan: Plan, table: SpanTable, resolution: Resolution) -> pa.TimestampArray:
    """completion_start_time: as given, else the start and how long it took until then, else the time of an event."""
    if not table.events.num_rows and not any(map(resolution.is_filled, _FIRST_TOKEN_FIELDS)):
        return pa.nulls(resolution.spans, TIME)
    times: list[int | None] = [None] * resolution.spans
    _add_event_times(plan, table, times)
    starts = table.spans.column("start_time_unix_nano").to_numpy()
    for name, unit_ns in (("milliseconds_to_first_token", 10**6), ("seconds_to_first_token", 10**9)):
        waits = given_numbers(resolution, name, partial(_nanoseconds, unit_ns=unit_ns))
        for span, wait in enumerate(waits):
            times[span] = times[span] if wait is None else int(starts[span]) + wait
    texts = resolution.text("first_token_time")
    for span in np.flatnonzero(has_text(texts)).tolist():
        time = _parsed_time(texts[span].as_py())
        if time is not None:
            times[span] = time
            resolution.show(resolution.rows("first_token_time")[span : span + 1])
    return pa.array([time if time is not None and 0 <= time < 2**63 else None for time in times], pa.int64()).cast(TIME)


def _add_event_times(plan: Plan, table: SpanTable, times: list[int | None]) -> None:
    names = table.events.column("name")
    if not len(names):
        return
    wanted = pc.is_in(names, pa.array(sorted(plan.named("first_token_events")), pa.string()))
    rows = np.flatnonzero(wanted.to_numpy(zero_copy_only=False))
    spans, at = table.events.column("span").to_numpy()[rows], table.events.column("time_unix_nano").to_numpy()[rows]
    for span, time in sorted(zip(spans.tolist(), at.tolist(), strict=True), reverse=True):
        times[span] = time


def _nanoseconds(number: Decimal, *, unit_ns: int) -> int | None:
    return int(number * unit_ns) if 0 <= number * unit_ns <= _MOST_SECONDS * 10**9 else None


def _parsed_time(text: str) -> int | None:
    """Nanoseconds of an ISO time, which may be quoted once more (Langfuse); without a zone it is UTC."""
    try:
        time = datetime.fromisoformat(text.strip('" '))
        aware = time if time.tzinfo else time.replace(tzinfo=UTC)
        return int(aware.timestamp()) * 10**9 + aware.microsecond * 1000
    except (ValueError, OverflowError):
        return None
