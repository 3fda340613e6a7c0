"""How the tokens of a span became disjoint buckets, in sentences, for `explain`."""

from collections.abc import Iterator, Mapping
from typing import Final

_WHOLES: Final = {"input_tokens": "input", "output_tokens": "output"}
_OTHER: Final = "other"


def usage_notes(
    buckets: Mapping[str, int], inclusive: Mapping[str, int | None], sent: Mapping[str, tuple[str, int]], given: str
) -> Iterator[str]:
    """A sentence a half that has parts, or that was sent without them.

    Args:
        buckets: `usage_details` of the record.
        inclusive: `input_tokens` and `output_tokens` of the record.
        sent: field → (attribute, count) of the counts that were sent.
        given: the attribute whose buckets stand as they are, empty for none.
    """
    if given:
        yield f"buckets as {given} gives them"
        return
    for whole, side in _WHOLES.items():
        parts = {name: count for name, count in buckets.items() if name.startswith(side)}
        count = inclusive[whole]
        if count is not None and (len(parts) > 1 or sent.get(whole, ("", count))[1] != count):
            yield f"{whole} {count} = {_sum(parts)}: {_why(whole, side, count, sent)}"
    if buckets.get(_OTHER):
        yield f"total {buckets['total']} was sent, {buckets[_OTHER]} more than input and output: {_OTHER}"


def _sum(parts: Mapping[str, int]) -> str:
    return " + ".join(f"{count} {name}" for name, count in parts.items())


def _why(whole: str, side: str, count: int, sent: Mapping[str, tuple[str, int]]) -> str:
    parts = "the cached ones" if side == "input" else "those of reasoning"
    if whole not in sent:
        return "no whole was sent, only its parts"
    key, told = sent[whole]
    return f"{key} = {told} counts {parts} as well" if told == count else f"{key} = {told} leaves {parts} out"
