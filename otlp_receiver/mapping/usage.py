"""Tokens: inclusive numbers in, disjoint buckets that sum to the total out."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from config.conventions import ANY_VALUE
from otlp_receiver.mapping.arrow_arrays import Mask, has_text, offsets, text_ends
from otlp_receiver.mapping.given_usage import given_usage, sum_of
from otlp_receiver.mapping.numbers import parse_number
from otlp_receiver.mapping.plan import FIELD_INDEX, Plan
from otlp_receiver.mapping.resolution import Resolution
from pipelines.schema import COUNT_MAP

Counts = npt.NDArray[np.int64]
UNKNOWN: Final = -1
_MOST_TOKENS: Final = 2**53  # beyond it a sum of buckets could leave 64 bits; no real count comes near
_MODEL: Final = "model:"
_MOST_DIGITS: Final = 18  # of those that surely fit 64 bits


def usage_columns(plan: Plan, resolution: Resolution, provider: pa.StringArray) -> dict[str, pa.Array]:
    """usage_details, input_tokens, output_tokens and total_tokens."""
    count = _counts(resolution)
    part = {name: np.maximum(count[name], 0) for name in _COUNTS[3:]}
    read, reasoning = part["cache_read_tokens"], part["reasoning_tokens"]
    short, long = part["cache_creation_5m_tokens"], part["cache_creation_1h_tokens"]
    creation = np.maximum(part["cache_creation_tokens"], short + long)
    given_in, given_out = count["input_tokens"], count["output_tokens"]
    uncached = count["uncached_input_tokens"]
    apart_in = _spoken_by(plan, resolution, provider, "input_without_cache")
    apart_in = np.where(uncached >= 0, given_in == uncached, apart_in)
    apart_out = _spoken_by(plan, resolution, provider, "output_without_reasoning")
    proves_nothing = _spoken_by(plan, resolution, provider, "total_without_cache")
    rest = np.where(proves_nothing, UNKNOWN, count["total_tokens"] - np.maximum(given_out, 0))
    inclusive_in = _inclusive(given_in, read + creation, apart_in, rest)
    inclusive_out = _inclusive(given_out, reasoning, apart_out, count["total_tokens"] - np.maximum(inclusive_in, 0))
    audio_in = np.minimum(part["input_audio_tokens"], np.maximum(inclusive_in - read - creation, 0))
    audio_out = np.minimum(part["output_audio_tokens"], np.maximum(inclusive_out - reasoning, 0))
    known = np.maximum(inclusive_in, 0) + np.maximum(inclusive_out, 0)
    anything = (inclusive_in >= 0) | (inclusive_out >= 0) | (count["total_tokens"] >= 0)
    total = np.where(anything, np.maximum(known, count["total_tokens"]), UNKNOWN)
    buckets = {
        "input": np.where(inclusive_in >= 0, inclusive_in - read - creation - audio_in, UNKNOWN),
        "input_cached_tokens": _some(read),
        "input_cache_creation": _some(creation - short - long),
        "input_cache_creation_5m": _some(short),
        "input_cache_creation_1h": _some(long),
        "input_audio_tokens": _some(audio_in),
        "output": np.where(inclusive_out >= 0, inclusive_out - reasoning - audio_out, UNKNOWN),
        "output_reasoning_tokens": _some(reasoning),
        "output_audio_tokens": _some(audio_out),
        "other": _some(total - known),
        "total": total,
    }
    # What is no count, or contradicts its own parts, is shown by no column: it stays in metadata.
    told = count | {"total_tokens": total, "input_audio_tokens": audio_in, "output_audio_tokens": audio_out}
    told["uncached_input_tokens"] = np.where(given_in >= 0, inclusive_in - read - creation, UNKNOWN)
    _show_told(resolution, count, told)
    inclusive = {"input_tokens": inclusive_in, "output_tokens": inclusive_out, "total_tokens": total}
    return _with_given_details(resolution, _bucket_map(buckets), inclusive)


_COUNTS: Final = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_tokens",
    "cache_creation_tokens",
    "cache_creation_5m_tokens",
    "cache_creation_1h_tokens",
    "reasoning_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
    "uncached_input_tokens",
)


def _show_told(resolution: Resolution, count: dict[str, Counts], told: dict[str, Counts]) -> None:
    for name in filter(resolution.is_filled, _COUNTS):
        is_told = (count[name] >= 0) & (count[name] == told[name])
        resolution.show(np.where(is_told, resolution.rows(name), UNKNOWN))


def _with_given_details(
    resolution: Resolution, buckets: pa.MapArray, inclusive: dict[str, Counts]
) -> dict[str, pa.Array]:
    """Buckets that the application itself gave stand as they are."""
    texts = resolution.text("usage_details")
    spans = np.flatnonzero(has_text(texts)).tolist()
    given = {span: found for span in spans if (found := given_usage(texts[span].as_py()))}
    if given:
        resolution.show(resolution.rows("usage_details")[list(given)])
        rows = [list(given[span].items()) if span in given else None for span in range(len(texts))]
        buckets = pc.if_else(pa.array([row is None for row in rows]), buckets, pa.array(rows, COUNT_MAP))
        for name, counts in inclusive.items():
            counts[list(given)] = [sum_of(name, found) for found in given.values()]
    return {"usage_details": buckets} | {name: _nullable(counts) for name, counts in inclusive.items()}


def _spoken_by(plan: Plan, resolution: Resolution, provider: pa.StringArray, rule: str) -> Mask:
    """Spans of dialects that count a part apart, for their provider."""
    found = np.zeros(resolution.spans, bool)
    for index in sorted(resolution.candidates.present):
        providers = getattr(plan.conventions[index].usage, rule)
        of_dialect = resolution.candidates.members[:, index]
        if providers:
            names = pa.array(sorted(providers), pa.string())
            known = pc.is_in(provider, names).to_numpy(zero_copy_only=False) | _of_models(resolution, providers)
            found |= of_dialect if ANY_VALUE in providers else of_dialect & known
    return found


def _of_models(resolution: Resolution, names: Sequence[str]) -> Mask:
    """Spans that ask for a model of one of the patterns among the names."""
    patterns = [name.removeprefix(_MODEL) for name in names if name.startswith(_MODEL)]
    if not patterns:
        return np.zeros(resolution.spans, bool)
    asked = resolution.text("request_model").dictionary_encode()
    fits = [any(fnmatchcase(model, pattern) for pattern in patterns) for model in asked.dictionary.to_pylist()]
    known: Mask = np.array(fits, bool)[asked.indices.to_numpy()]
    return known


def _inclusive(given: Counts, part: Counts, apart: Mask, room: Counts) -> Counts:
    """The number with its part in it.

    The numbers themselves decide where they can: a part larger than the whole was sent beside it, and so was one that
    fills the rest of the total (`room`) exactly; a whole that fills it alone has its part inside. Else the dialect
    decides.
    """
    beside = (part > given) | ((room == given + part) & (part > 0)) | (apart & (room != given))
    return np.where((given < 0) & (part > 0), part, np.where((given >= 0) & beside, given + part, given))


def _some(counts: Counts) -> Counts:
    return np.where(counts > 0, counts, UNKNOWN)


def _nullable(counts: Counts) -> pa.UInt64Array:
    return pa.array(np.maximum(counts, 0).astype(np.uint64), mask=counts < 0)


def _bucket_map(buckets: dict[str, Counts]) -> pa.MapArray:
    table = np.array([*buckets.values()]).T
    span, bucket = np.nonzero(table >= 0)
    names = _texts(tuple(buckets)).take(pa.array(bucket))
    values = pa.array(table[span, bucket].astype(np.uint64))
    return pa.MapArray.from_arrays(offsets(span, len(table)), names, values, type=COUNT_MAP)


@cache
def _texts(names: tuple[str, ...]) -> pa.StringArray:
    return pa.array(names)


def _counts(resolution: Resolution) -> dict[str, Counts]:
    """Counts per span, UNKNOWN where none was sent or what was sent is no count; read all together."""
    rows = resolution.winners[:, [FIELD_INDEX[name] for name in _COUNTS]]
    counts = np.full(rows.shape, UNKNOWN, np.int64)
    sent = rows >= 0
    counts[sent] = _parse_counts(resolution.candidates.values.take(pa.array(rows[sent])))
    return dict(zip(_COUNTS, counts, strict=True))


def _parse_counts(texts: pa.StringArray) -> Counts:
    # Arrow's cast is for plain digits only: it would take 0x10 too, and fails as a whole.
    plain = pc.ascii_is_decimal(texts).to_numpy(zero_copy_only=False) & (np.diff(text_ends(texts)) <= _MOST_DIGITS)
    parsed = np.full(len(texts), UNKNOWN, np.int64)
    parsed[plain] = pc.cast(texts if plain.all() else texts.filter(pa.array(plain)), pa.int64()).to_numpy()
    for row in np.flatnonzero(~plain).tolist():
        parsed[row] = _parse_count(texts[row].as_py())
    return np.where((parsed >= 0) & (parsed <= _MOST_TOKENS), parsed, UNKNOWN)


def _parse_count(text: str) -> int:
    number = parse_number(text)
    return int(number) if number is not None and 0 <= number <= _MOST_TOKENS and number == int(number) else UNKNOWN
