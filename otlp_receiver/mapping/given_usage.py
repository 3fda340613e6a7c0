"""Token buckets that an application gave as one object: its own buckets, or a provider's usage object as it came."""

from typing import Any, Final

from otlp_receiver.mapping.messages import parse_json
from otlp_receiver.mapping.numbers import parse_number

Buckets = dict[str, int]

_MOST_TOKENS: Final = 2**53
_MOST_BUCKETS: Final = 100
# Spellings of one bucket. Names that are not here stay as they are: they are the application's own.
_NAMES: Final = {
    "input_cache_read": "input_cached_tokens",
    "cache_read_input_tokens": "input_cached_tokens",
    "input_cached": "input_cached_tokens",
    "input_cache_write": "input_cache_creation",
    "cache_creation_input_tokens": "input_cache_creation",
    "output_reasoning": "output_reasoning_tokens",
    "reasoning_tokens": "output_reasoning_tokens",
    "cachedInputTokens": "input_cached_tokens",
    "reasoningTokens": "output_reasoning_tokens",
    "input_audio": "input_audio_tokens",
    "output_audio": "output_audio_tokens",
}
# A provider's own usage object: the whole, and the details that are parts of it (OpenAI completions and responses); the
# AI SDK's and the older Langfuse SDKs', whose names have no underscores.
_WHOLES: Final = {
    "prompt_tokens": "input",
    "input_tokens": "input",
    "completion_tokens": "output",
    "output_tokens": "output",
    "total_tokens": "total",
    "promptTokens": "input",
    "inputTokens": "input",
    "completionTokens": "output",
    "outputTokens": "output",
    "totalTokens": "total",
}
_DETAILS: Final = {
    "prompt_tokens_details": "input",
    "input_tokens_details": "input",
    "completion_tokens_details": "output",
    "output_tokens_details": "output",
}
_PARTS: Final = {
    ("input", "cached_tokens"): "input_cached_tokens",
    ("input", "audio_tokens"): "input_audio_tokens",
    ("output", "reasoning_tokens"): "output_reasoning_tokens",
    ("output", "audio_tokens"): "output_audio_tokens",
}


def given_usage(text: str) -> Buckets:
    """Disjoint buckets and their `total`; empty when the text is no object of counts, or holds anything else."""
    parsed = parse_json(text)
    if not isinstance(parsed, dict) or len(parsed) > _MOST_BUCKETS:
        return {}
    given = {key: value for key, value in parsed.items() if value is not None}
    buckets = _from_provider(given) if given.keys() & _WHOLES.keys() else _own(given)
    if buckets:
        buckets.setdefault("total", sum(buckets.values()))
    return buckets


def sum_of(column: str, buckets: Buckets) -> int:
    """input_tokens, output_tokens or total_tokens of disjoint buckets; -1 when nothing was said of it."""
    if column == "total_tokens":
        return buckets["total"]
    side = column.removesuffix("_tokens")
    parts = [count for name, count in buckets.items() if name.startswith(side)]
    return sum(parts) if parts else -1


def _own(given: dict[str, Any]) -> Buckets:
    found: Buckets = {}
    for name, value in given.items():
        count = _count(value)
        if count is None:
            return {}
        bucket = _NAMES.get(name, name)
        found[bucket] = max(count, found.get(bucket, 0))
    return found


def _from_provider(given: dict[str, Any]) -> Buckets:
    found: Buckets = {}
    for name, value in given.items():
        if name in _DETAILS and isinstance(value, dict):
            found |= _parts(_DETAILS[name], value)
        elif (count := _count(value)) is None:
            return {}
        else:
            found[_WHOLES.get(name) or _NAMES.get(name, name)] = count
    return _disjoint(found)


def _parts(side: str, details: dict[str, Any]) -> Buckets:
    counts = {name: count for name, value in details.items() if (count := _count(value))}
    return {_PARTS.get((side, name), f"{side}_{name}"): count for name, count in counts.items()}


def _disjoint(found: Buckets) -> Buckets:
    """Parts taken out of their whole; one that is larger than it was sent beside it (Anthropic)."""
    for side in ("input", "output"):
        parts = sum(count for name, count in found.items() if name.startswith(f"{side}_"))
        if side in found and parts <= found[side]:
            found[side] -= parts
    return found


def _count(value: Any) -> int | None:
    number = None if isinstance(value, bool | dict | list) else parse_number(str(value))
    return int(number) if number is not None and 0 <= number <= _MOST_TOKENS and number == int(number) else None
