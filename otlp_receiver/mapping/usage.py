"""Tokens and money: inclusive numbers in, disjoint buckets that sum to the total out."""

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from otlp_receiver.mapping.arrow_arrays import Indices, has_text, offsets
from otlp_receiver.mapping.resolution import Resolution
from pipelines.schema import COUNT_MAP, MONEY, MONEY_MAP

Counts = npt.NDArray[np.int64]
UNKNOWN: Final = -1
_MOST_TOKENS: Final = 2**53  # beyond it a sum of buckets could leave 64 bits; no real count comes near
_MOST_DIGITS: Final = 18  # of those that surely fit 64 bits
_CENT_FRACTION: Final = Decimal(1).scaleb(-12)
_MOST_MONEY: Final = Decimal(10**6)


def usage_columns(resolution: Resolution) -> dict[str, pa.Array]:
    """usage_details, input_tokens, output_tokens and total_tokens."""
    count = {name: _counts(resolution, name) for name in _COUNTS}
    read, creation, reasoning = (np.maximum(count[name], 0) for name in _COUNTS[3:6])
    audio_in, audio_out = (np.maximum(count[name], 0) for name in _COUNTS[6:])
    given_in, given_out = count["input_tokens"], count["output_tokens"]
    inclusive_in = _inclusive(given_in, read + creation)
    inclusive_out = _inclusive(given_out, reasoning)
    audio_in = np.minimum(audio_in, np.maximum(inclusive_in - read - creation, 0))
    audio_out = np.minimum(audio_out, np.maximum(inclusive_out - reasoning, 0))
    known = np.maximum(inclusive_in, 0) + np.maximum(inclusive_out, 0)
    anything = (inclusive_in >= 0) | (inclusive_out >= 0) | (count["total_tokens"] >= 0)
    total = np.where(anything, np.maximum(known, count["total_tokens"]), UNKNOWN)
    buckets = {
        "input": np.where(inclusive_in >= 0, inclusive_in - read - creation - audio_in, UNKNOWN),
        "input_cached_tokens": _some(read),
        "input_cache_creation": _some(creation),
        "input_audio_tokens": _some(audio_in),
        "output": np.where(inclusive_out >= 0, inclusive_out - reasoning - audio_out, UNKNOWN),
        "output_reasoning_tokens": _some(reasoning),
        "output_audio_tokens": _some(audio_out),
        "other": _some(total - known),
        "total": total,
    }
    # What is no count, or contradicts its own parts, is shown by no column: it stays in metadata.
    told = count | {"total_tokens": total, "input_audio_tokens": audio_in, "output_audio_tokens": audio_out}
    for name, counts in count.items():
        resolution.show(np.where((counts >= 0) & (counts == told[name]), resolution.rows(name), UNKNOWN))
    return {
        "usage_details": _bucket_map(buckets),
        "input_tokens": _nullable(inclusive_in),
        "output_tokens": _nullable(inclusive_out),
        "total_tokens": _nullable(total),
    }


_COUNTS: Final = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_tokens",
    "cache_creation_tokens",
    "reasoning_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
)


def _inclusive(given: Counts, part: Counts) -> Counts:
    """The number with its part in it. A part larger than the whole proves that the whole was sent without it."""
    return np.where((given < 0) & (part > 0), part, np.where(part > given, given + part, given))


def _some(counts: Counts) -> Counts:
    return np.where(counts > 0, counts, UNKNOWN)


def _nullable(counts: Counts) -> pa.UInt64Array:
    return pa.array(np.maximum(counts, 0).astype(np.uint64), mask=counts < 0)


def _bucket_map(buckets: dict[str, Counts]) -> pa.MapArray:
    table = np.stack(list(buckets.values()), axis=1)
    span, bucket = np.nonzero(table >= 0)
    names = pa.array(list(buckets), pa.string()).take(pa.array(bucket))
    values = pa.array(table[span, bucket].astype(np.uint64))
    return pa.MapArray.from_arrays(offsets(span, len(table)), names, values).cast(COUNT_MAP)


def _counts(resolution: Resolution, name: str) -> Counts:
    """Counts per span, UNKNOWN where none was sent or what was sent is no count."""
    rows = resolution.rows(name)
    result = np.full(len(rows), UNKNOWN, np.int64)
    found = np.flatnonzero(rows >= 0)
    if len(found):
        result[found] = _parse_counts(resolution.candidates.values.take(pa.array(rows[found])))
    return result


def _parse_counts(texts: pa.StringArray) -> Counts:
    # Arrow's cast is for plain digits only: it would take 0x10 too, and one odd value would cost its neighbours.
    if pc.all(pc.ascii_is_decimal(texts)).as_py() and pc.max(pc.binary_length(texts)).as_py() <= _MOST_DIGITS:
        parsed = pc.cast(texts, pa.int64()).to_numpy()
    else:
        parsed = np.array([_parse_count(text) for text in texts.to_pylist()], np.int64)
    return np.where((parsed >= 0) & (parsed <= _MOST_TOKENS), parsed, UNKNOWN)


def _parse_count(text: str) -> int:
    number = parse_number(text)
    return int(number) if number is not None and 0 <= number <= _MOST_TOKENS and number == int(number) else UNKNOWN


def parse_number(text: str) -> Decimal | None:
    """A finite decimal number, None for anything else."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def cost_columns(resolution: Resolution) -> dict[str, pa.Array]:
    """cost_details and total_cost, from a cost that the span carries; unknown is empty, never 0."""
    total = given_numbers(resolution, "total_cost", _money)
    known = pa.array(total, MONEY)
    span = np.flatnonzero(~np.asarray(known.is_null().to_numpy(zero_copy_only=False)))
    details = pa.MapArray.from_arrays(offsets(span, len(known)), pa.repeat("total", len(span)), known.drop_null())
    return {"cost_details": details.cast(MONEY_MAP), "total_cost": known}


def _money(number: Decimal) -> Decimal | None:
    return number.quantize(_CENT_FRACTION) if 0 <= number < _MOST_MONEY else None


def given_numbers(resolution: Resolution, name: str, convert: Callable[[Decimal], Any]) -> list[Any]:
    """A rarely sent number per span, None where there is none or `convert` refuses it (it then stays in metadata)."""
    rows: Indices = resolution.rows(name)
    result: list[Any] = [None] * len(rows)
    if not (rows >= 0).any():
        return result
    texts = resolution.text(name)
    for span in np.flatnonzero(has_text(texts)).tolist():
        number = parse_number(texts[span].as_py())
        result[span] = None if number is None else convert(number)
        if result[span] is not None:
            resolution.show(rows[span : span + 1])
    return result
