"""The compiled decoder (native/): traces, without the GIL. The Python decoder does the same and is its oracle.

It is a package of its own, `otlp_receiver_native`, and optional: without it the Python decoder does all the work. Of
OTLP/JSON it takes what is ordinary, and declines whole bodies with anything else in them: those are the other's.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from functools import cache
from importlib import import_module
from typing import Any, Final, Literal, NamedTuple, get_args

import pyarrow as pa
import structlog
from google.protobuf.message import DecodeError

from otlp_receiver.decode import lenient, refusals
from otlp_receiver.decode.any_value import MOST_LEVELS
from otlp_receiver.decode.decoded import Decoded, Ends
from otlp_receiver.decode.rejections import Rejections, span_problem
from otlp_receiver.decode.span_table import SCHEMAS, SpanTable, empty_batch
from pipelines.ingest import Accepted, BadRequest, Outcome, Request

Decoder = Literal["python", "native"]
VARIABLE: Final = "OTLP_RECEIVER_DECODER"
"""The environment variable that chooses a decoder; unset, it is the native one where that is installed."""

_MODULE: Final = "otlp_receiver_native"
_INTERFACE: Final = 2
"""Of the module's arguments and answers; packages are upgraded one by one."""
_OFFSET_BYTES: Final = 4
_DECLINED: Final = "declined"
_log = structlog.get_logger("decode")


class Limits(NamedTuple):
    """What is allowed, in the order that the compiled module takes it.

    Attributes:
        parts: messages inside messages in one request.
        spans: in one request.
        spans_together: in one table of several requests.
        entries_together: `Decoded.entries` of one table of several requests.
        repeated_bytes: `Decoded.repeated_bytes` of one request, and of several.
    """

    parts: int
    spans: int
    spans_together: int
    entries_together: int
    repeated_bytes: int


# --- which decoder ---------------------------------------------------------------------------------------------------


@cache
def kernel(decoder: Decoder | None = None) -> Any:
    """The compiled module; None where the Python decoder is to be used.

    Args:
        decoder: which one; that of the environment when None.

    Raises:
        ImportError: the native decoder is asked for and cannot be loaded.
        ValueError: the environment asks for a decoder that there is not.
    """
    wanted = decoder or os.environ.get(VARIABLE, "")
    if wanted not in ("", *get_args(Decoder)):
        raise ValueError(f"{VARIABLE}={wanted}: there are {' and '.join(get_args(Decoder))}; unset it to let both be")
    if wanted == "python":
        return None
    try:
        return _load()
    except ImportError as error:
        if not wanted:
            return None
        raise ImportError(f"the native decoder cannot be loaded ({error}); cure: `make install` with cargo") from error


def _load() -> Any:
    module = import_module(_MODULE)
    if getattr(module, "INTERFACE", 1) != _INTERFACE:
        raise ImportError(f"the installed {_MODULE} is of another version of otlp-receiver")
    return module


def announce() -> None:
    """Log once what the Python decoder means for the service; raises as `kernel`."""
    if kernel() is None:
        _log.info(
            "Traces are decoded in Python: the same records, a tenth of the spans a second, one thread at a time.",
            reason=_why_python(),
            cure=f"make install with a Rust toolchain at hand; {VARIABLE} not set to python",
        )


def _why_python() -> str:
    if os.environ.get(VARIABLE):
        return f"{VARIABLE} says so"
    try:
        _load()
    except ImportError as error:
        return str(error)
    return ""


# --- what it hands over ----------------------------------------------------------------------------------------------


def decode(compiled: Any, requests: Sequence[Request], limits: Limits) -> Decoded | None:
    """Decode what is not declined, which `Decoded.numbers` says; None when several are too much for one table."""
    bodies = [(number, request.encoding == "json", request.body) for number, request in enumerate(requests)]
    found = compiled.decode_traces(bodies, tuple(limits), len(requests) == 1)
    if found is None:
        return None
    tables, answers, entries, repeated_bytes = found
    names = [field.name for field in fields(SpanTable)]
    batches = {name: _batch(SCHEMAS[name], *given) for name, given in zip(names, tables, strict=True)}
    taken = [(number, answer) for number, answer in enumerate(answers) if answer[0] != _DECLINED]
    numbers, outcomes = [number for number, _ in taken], [_outcome(limits, answer) for _, answer in taken]
    ends: list[Ends] = [answer[-1] for _, answer in taken]
    return Decoded(numbers, SpanTable(**batches), outcomes, ends, entries, repeated_bytes)


def _batch(schema: pa.Schema, rows: int, buffers: Sequence[Any]) -> pa.RecordBatch:
    """Arrow over the memory that the module filled; it is not copied."""
    if not rows:
        return empty_batch(schema)
    left = map(pa.py_buffer, buffers)
    return pa.RecordBatch.from_arrays([_column(field.type, rows, left) for field in schema], schema=schema)


def _column(kind: pa.DataType, rows: int, left: Iterator[pa.Buffer]) -> pa.Array:
    if pa.types.is_dictionary(kind):
        codes = pa.Array.from_buffers(kind.index_type, rows, [None, next(left)])
        offsets, data = next(left), next(left)
        keys = pa.Array.from_buffers(kind.value_type, offsets.size // _OFFSET_BYTES - 1, [None, offsets, data])
        return pa.DictionaryArray.from_arrays(codes, keys)
    count = 2 if pa.types.is_string(kind) else 1
    return pa.Array.from_buffers(kind, rows, [None, *(next(left) for _ in range(count))])


def _outcome(limits: Limits, answer: Sequence[Any]) -> Outcome:
    problem, words, number, spans, refused, named, _ = answer
    if problem:
        return _PROBLEMS[problem](limits, words, number)
    rejections = Rejections()
    for (resource, scope, span), ids in named:
        place = f"resourceSpans[{resource}].scopeSpans[{scope}].spans[{span}]"
        rejections.add(place, span_problem(*map(bytes, ids)))
    rejections.add_unnamed(refused - len(named))
    return Accepted(spans, rejections.count, rejections.message())


@cache
def _parser_error(example: bytes) -> str:
    """What protobuf's parser says of such bytes: its texts belong to its version."""
    try:
        lenient.request_class().FromString(example)
    except DecodeError as error:
        return str(error)
    raise AssertionError(f"protobuf parsed {example!r}")


def _too_deep() -> bytes:
    """A request with an attribute of arrays in arrays, beyond what the parser goes into."""
    nested = b""
    for tag in (*(b"\x0a", b"\x2a") * MOST_LEVELS, b"\x12", b"\x0a", b"\x0a", b"\x0a"):
        nested = tag + bytes((len(nested) & 0x7F | 0x80, len(nested) >> 7)) + nested
    return nested


_PROBLEMS: Final[dict[str, Callable[[Limits, str, int], BadRequest]]] = {
    "corrupt": lambda _limits, _words, _number: refusals.not_a_request(_parser_error(b"\xff")),
    "too deep": lambda _limits, _words, _number: refusals.not_a_request(_parser_error(_too_deep())),
    "too many parts": lambda limits, _words, _number: refusals.too_many_parts(limits.parts),
    "not countable": lambda _limits, words, _number: BadRequest(words),
    "too many spans": lambda limits, _words, _number: refusals.too_many_spans(limits.spans),
    "too much repeated": lambda limits, _words, number: refusals.too_much_repeated(number, limits.repeated_bytes),
    "too much text": lambda _limits, _words, _number: refusals.too_much_text(),
}
