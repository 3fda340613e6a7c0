"""The quick look: which texts already are messages in the one shape, so that nobody need parse them.

It runs over every input and output of every model call, so it is one linear pass without Python between the texts; and
most texts are one message of one text, which their ends and the number of their quotes tell in a tenth of that.
"""

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from otlp_receiver.mapping.arrow_arrays import Mask, has_text, text_bytes, text_ends

_TEXT: Final = r'"(?:[^"\\]|\\.)+"'
_KIND: Final = '"type": ?"(?:text|reasoning)"'
_PLAIN_PART: Final = rf'\{{(?:{_KIND}, ?"content": ?{_TEXT}|"content": ?{_TEXT}, ?{_KIND})\}}'
_PLAIN_MESSAGE: Final = (
    rf'\{{"role": ?"(?:system|user|assistant)", ?"parts": ?\[(?:{_PLAIN_PART}(?:, ?{_PLAIN_PART})*)?\]'
    rf'(?:, ?"(?:finish_reason|name)": ?{_TEXT})*\}}'
)
WHOLE: Final = rf"(?s)\A\[{_PLAIN_MESSAGE}(?:, ?{_PLAIN_MESSAGE})*\]\z"
"""What the quick look looks for, as a regular expression over the whole text."""

# The ends of one message of one text, as the two usual JSON writers space them. Between them there may be anything but
# a quote; a text's last character is no backslash, which would take the quote behind it for its own, and there is one.
_HEADS: Final = tuple(
    f'[{{"role":{space}"{role}",{space}"parts":{space}[{{"type":{space}"text",{space}"content":{space}"'
    for space in ("", " ")
    for role in ("user", "assistant", "system")
)
_TAIL: Final = '"}]}]'
_NO_TAILS: Final = ('\\"}]}]', '""}]}]')
_TAIL_WITH_REASON: Final = r'[^"\\]"\}\], ?"finish_reason": ?"[^"\\]+"\}\]\z'
_TAIL_BYTES: Final = 96
_QUOTES, _QUOTES_WITH_REASON = 14, 18


def are_canonical(texts: pa.StringArray) -> Mask:
    """Which JSON texts need no second look: messages of texts and thoughts alone, spelled in the one shape.

    A whole match, so that nothing else can hide in it; tool calls and media always get their second look.
    """
    found = _are_one_plain_message(texts)
    rest = np.flatnonzero(~found & has_text(texts))
    if len(rest):
        found[rest] = _match(texts.take(pa.array(rest)), WHOLE)
    return found


def is_canonical(text: str) -> bool:
    """The same for one text."""
    return bool(are_canonical(pa.array([text], pa.string()))[0])


def _are_one_plain_message(texts: pa.StringArray) -> Mask:
    begins = _begin(texts)
    ends = _mask(pc.ends_with(texts, _TAIL))
    for other in _NO_TAILS:
        ends &= ~_mask(pc.ends_with(texts, other))
    quotes = _quotes(texts)
    found: Mask = begins & ends & (quotes == _QUOTES)
    reasoned = np.flatnonzero(begins & (quotes == _QUOTES_WITH_REASON))
    if len(reasoned):
        tails = pc.binary_slice(texts.take(pa.array(reasoned)).cast(pa.binary()), -_TAIL_BYTES)
        found[reasoned] = _match(tails, _TAIL_WITH_REASON)
    return found


def _begin(texts: pa.StringArray) -> Mask:
    found = np.zeros(len(texts), bool)
    for head in _HEADS:
        found |= _mask(pc.starts_with(texts, head))
        if found.all():  # most batches are of one writer, and one half of one role
            break
    return found


def _match(texts: pa.StringArray | pa.BinaryArray, pattern: str) -> Mask:
    """To be called for some texts only: for none, the pattern would be compiled all the same."""
    return _mask(pc.match_substring_regex(texts, pattern))


def _mask(array: pa.BooleanArray) -> Mask:
    return np.array(array.to_numpy(zero_copy_only=False))


def _quotes(texts: pa.StringArray) -> Any:
    """How many quotes each text has."""
    edges = text_ends(texts)
    places = np.flatnonzero(text_bytes(texts)[edges[0] : edges[-1]] == ord('"'))
    return np.diff(np.searchsorted(places, edges - edges[0]))
