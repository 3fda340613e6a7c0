"""Texts that hold data: JSON, and Python's own spelling of it."""

import re
from typing import Any, Final

import orjson

from otlp_receiver.decode.density import is_dense_json

# A value of two characters takes a hundred bytes: what has more of them than any model call is kept as text.
_MOST_VALUES: Final = 2**19
# How a list or dict starts in Python's spelling, and never in JSON's.
LITERAL_STARTS: Final = ("[{'", "{'", "['")
# A longer text is no request or answer of a model call, and would only cost time.
_MAX_LITERAL_CHARACTERS: Final = 4 * 1024 * 1024
# Strings, words and brackets of a literal. An unclosed string is a token too: looking for its end once more from each
# quote in it would take the square of its length.
_TOKENS: Final = re.compile(
    r"""'((?:[^'\\]++|\\.|\\\Z)*+)('?)|"((?:[^"\\]++|\\.|\\\Z)*+)("?)|([A-Za-z_]\w*+)|([()])""", re.DOTALL
)
_ESCAPES: Final = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"'}
_WORDS: Final = {"True": "true", "False": "false", "None": "null"}
_BRACKETS: Final = {"(": "[", ")": "]"}


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text, None when it is none (a length limit may have cut it) or too much to be looked into."""
    if len(text) > _MOST_VALUES and _is_dense(text):
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _is_dense(text: str | bytes) -> bool:
    return is_dense_json(text if isinstance(text, bytes) else text.encode("utf-8", "replace"), _MOST_VALUES)


def to_json(value: Any) -> str:
    """JSON of a value, empty when it is nested deeper than the encoder goes (254 levels; the parser takes 1024)."""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return ""


def parse_literal(text: str) -> Any:
    """The value of a text that Python's `repr` made of dicts, lists and scalars (LiteLLM), None when it is none.

    Rewritten as JSON token by token: Python's own parser needs far more time and memory on hostile text. Tuples become
    lists. Nothing is evaluated.
    """
    if len(text) > _MAX_LITERAL_CHARACTERS:
        return None
    try:
        return parse_json(_TOKENS.sub(_json_token, text))
    except (orjson.JSONEncodeError, OverflowError, ValueError):
        return None


def _json_token(match: re.Match[str]) -> str:
    single, single_end, double, double_end, word, bracket = match.groups()
    if single_end or double_end:
        return orjson.dumps(_ESCAPES.sub(_unescaped, single if single_end else double)).decode()
    # What is no literal becomes what is no JSON: an unclosed string, another word (JSON's own `true` as well).
    return _BRACKETS[bracket] if bracket else _WORDS.get(word, "?")


def _unescaped(match: re.Match[str]) -> str:
    escape = match[1]
    if len(escape) > 1:
        return chr(int(escape[1:], 16))
    return _ESCAPED.get(escape, match[0])
