"""What a call's tokens cost: the arithmetic, exact and for many rows at once.

Money is whole units of 1e-12 US dollars in 64 bits, as many as the record's `Decimal(18, 12)` keeps. What would be a
million dollars or more for one call is no real number of tokens, and is not priced.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.schema import MONEY, MONEY_MAP

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
_Floats = npt.NDArray[np.float64]

REQUESTS: Final = "requests"
"""Bucket of a fee per call; its price is per million calls."""
OTHER: Final = "other"
"""Bucket of tokens that are only known from a total."""
UNKNOWN: Final = -1
"""In place of the index of rates."""
_TOTAL: Final = "total"

# Tokens without a price of their own cost what those cost that they are a part of.
_CHARGED_AS: Final = {
    "input_cached_tokens": "input",
    "input_cache_creation": "input",
    "input_cache_creation_5m": "input_cache_creation",
    "input_cache_creation_1h": "input_cache_creation",
    "input_audio_tokens": "input",
    OTHER: "input",
    "output_reasoning_tokens": "output",
    "output_audio_tokens": "output",
}
_MILLION: Final = 10**6
_UNITS: Final = 10**12  # in a dollar
_UNPRICED: Final = -1
_MOST_TOKENS: Final = 10**12  # times a remainder below a million it still fits 64 bits
_MOST_UNITS: Final = 999_999 * _UNITS  # below the record's limit by more than floats are inexact


@dataclass(frozen=True, slots=True, eq=False)
class Rates:
    """Prices of one model at one time.

    Attributes:
        above: input tokens beyond which each step holds, ascending; the first is -1 and holds for every call.
        steps: for each of them units of 1e-12 US dollars per million tokens, by bucket.
    """

    above: tuple[int, ...]
    steps: tuple[Mapping[str, int], ...]


def rates(prices: Mapping[int, Mapping[str, Decimal]]) -> Rates:
    """Rates from US dollars per million tokens by bucket, for each number of input tokens beyond which they hold.

    The one for every call has the key -1; steps above it repeat what they do not change.
    """
    above = tuple(sorted(prices))
    return Rates(above, tuple(_with_parts(prices[start]) for start in above))


def _with_parts(prices: Mapping[str, Decimal]) -> dict[str, int]:
    step = {bucket: int((price * _UNITS).to_integral_value()) for bucket, price in prices.items()}
    for bucket, whole in _CHARGED_AS.items():
        if bucket not in step and whole in step:
            step[bucket] = step[whole]
    return step


def charge(
    usage: pa.MapArray, given_rates: Sequence[Rates], rates_of_row: Integers, splits: Flags
) -> tuple[pa.MapArray, pa.Array]:
    """US dollars of every row.

    Args:
        usage: tokens by bucket, the buckets being disjoint.
        given_rates: the different rates.
        rates_of_row: for each row its index in them, or UNKNOWN.
        splits: rows whose tokens are of more than one kind, so that what is only in their total has no price.

    Returns:
        Dollars by bucket and `total`, which is their exact sum, and that total; empty and NULL where no bucket has a
        price, or where the numbers cannot be true.
    """
    buckets = sorted({bucket for each in given_rates for step in each.steps for bucket in step})
    row, bucket, tokens = _entries(usage, buckets, splits)
    line = _lines(given_rates, rates_of_row, _input_tokens(buckets, row, bucket, tokens, len(usage)))
    rate = _table(given_rates, buckets)[line[row], bucket]
    known = rate != _UNPRICED
    row, bucket, tokens, rate = row[known], bucket[known], tokens[known], rate[known]
    believable = _believable(row, tokens, rate, len(usage))
    row, bucket, tokens, rate = row[believable], bucket[believable], tokens[believable], rate[believable]
    return _result([*buckets, _TOTAL], row, bucket, _product(tokens, rate), len(usage))


def _entries(usage: pa.MapArray, buckets: list[str], splits: Flags) -> tuple[Integers, Integers, Integers]:
    """Row, bucket and tokens of everything that has a price anywhere; each call is one of REQUESTS as well."""
    ends = usage.offsets.to_numpy()
    inner = slice(ends[0], ends[-1])
    row = np.repeat(np.arange(len(usage)), np.diff(ends))
    found = pc.index_in(usage.keys, value_set=pa.array(buckets, pa.string()))
    bucket = pc.fill_null(found, _UNPRICED).to_numpy()[inner].astype(np.int64)
    # More than can be priced says only that it cannot: it need not fit a signed number.
    tokens = np.minimum(pc.fill_null(usage.items, 0).to_numpy()[inner], _MOST_TOKENS + 1).astype(np.int64)
    request, other = _code(REQUESTS, buckets), _code(OTHER, buckets)
    kept = (bucket != _UNPRICED) & (bucket != request) & ~(splits[row] & (bucket == other))
    row, bucket, tokens = row[kept], bucket[kept], tokens[kept]
    if request != _UNPRICED:
        row = np.concatenate([row, np.arange(len(usage))])
        bucket = np.concatenate([bucket, np.full(len(usage), request)])
        tokens = np.concatenate([tokens, np.ones(len(usage), np.int64)])
    return row, bucket, tokens


def _code(name: str, buckets: list[str]) -> int:
    return buckets.index(name) if name in buckets else _UNPRICED


def _input_tokens(buckets: list[str], row: Integers, bucket: Integers, tokens: Integers, rows: int) -> _Floats:
    is_input = np.array([name.startswith("input") or name == OTHER for name in buckets], bool)[bucket]
    return np.bincount(row[is_input], tokens[is_input], minlength=rows).astype(np.float64)


def _lines(given_rates: Sequence[Rates], rates_of_row: Integers, input_tokens: _Floats) -> Integers:
    """For each row its line in `_table`: where its rates start there, and which step its input has reached.

    UNKNOWN gives the last line, in which nothing has a price.
    """
    starts = np.cumsum([0, *(len(each.steps) for each in given_rates)])
    lines = starts[rates_of_row]
    for index, each in enumerate(given_rates):
        if len(each.above) > 1:
            rows = np.flatnonzero(rates_of_row == index)
            lines[rows] += np.searchsorted(np.array(each.above), input_tokens[rows]) - 1
    return lines


def _table(given_rates: Sequence[Rates], buckets: list[str]) -> Integers:
    steps = [step for each in given_rates for step in each.steps]
    return np.array([[step.get(bucket, _UNPRICED) for bucket in buckets] for step in (*steps, {})], np.int64)


def _believable(row: Integers, tokens: Integers, rate: Integers, rows: int) -> Flags:
    """Entries of the rows whose numbers fit; looked at in floats, which cannot overflow."""
    units = tokens.astype(np.float64) * rate / _MILLION
    too_many = np.bincount(row[tokens > _MOST_TOKENS], minlength=rows) > 0
    fits: Flags = (np.bincount(row, units, minlength=rows) < _MOST_UNITS) & ~too_many
    return fits[row]


def _product(tokens: Integers, rate: Integers) -> Integers:
    """Units, rounded to the nearest; `rate` is per million, and is split so that no product leaves 64 bits."""
    whole, part = np.divmod(rate, _MILLION)
    return tokens * whole + (tokens * part + _MILLION // 2) // _MILLION


def _result(
    names: list[str], row: Integers, bucket: Integers, units: Integers, rows: int
) -> tuple[pa.MapArray, pa.Array]:
    total = np.zeros(rows, np.int64)
    np.add.at(total, row, units)
    priced = np.bincount(row, minlength=rows) > 0
    ends = np.flatnonzero(priced)
    row = np.concatenate([row, ends])
    bucket = np.concatenate([bucket, np.full(len(ends), len(names) - 1)])
    units = np.concatenate([units, total[ends]])
    order = np.argsort(row, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=rows))]).astype(np.int32)
    keys = pa.array(names, pa.string()).take(pa.array(bucket[order]))
    details = pa.MapArray.from_arrays(offsets, keys, _money(units[order])).cast(MONEY_MAP)
    return details, pc.if_else(pa.array(priced), _money(total), pa.scalar(None, MONEY))


def _money(units: Integers) -> pa.Array:
    """Decimals from their digits: 128 bits each, of which the upper ones repeat the sign."""
    digits = np.stack([units, units >> 63], axis=1)
    return pa.Array.from_buffers(MONEY, len(units), [None, pa.py_buffer(np.ascontiguousarray(digits))])
