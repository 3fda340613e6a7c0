"""The two decoders side by side: one call decodes with both and tells where they differ."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from otlp_receiver.decode import TooMuchTogether, decode, native
from otlp_receiver.decode.span_table import SCHEMAS, SpanTable
from pipelines.ingest import Encoding, Outcome, Request
from tests.support.span_tables import request

Answer = tuple[dict[str, Any], list[tuple[str, str]]] | str


def assert_same(*bodies: bytes | tuple[bytes, Encoding]) -> None:
    """Both decoders make the same of these bodies, decoded together: buffers, outcomes, words."""
    requests = [request(*(body if isinstance(body, tuple) else (body,))) for body in bodies]
    assert answer_of(requests, "native") == answer_of(requests, "python")


def assert_taken(body: bytes) -> None:
    """The compiled decoder takes this JSON itself, and makes the same of it."""
    assert not is_declined(body)
    assert_same((body, "json"))


def is_declined(body: bytes) -> bool:
    """Whether the compiled decoder leaves this JSON to the Python decoder."""
    limits = native.Limits(*[2**40] * len(native.Limits._fields))
    found = native.decode(native.kernel("native"), [request(body, "json")], limits)
    assert found is not None
    return not found.numbers


def answer_of(
    requests: Sequence[Request], decoder: native.Decoder, content: Callable[[SpanTable], dict[str, Any]] | None = None
) -> Answer:
    """All that one decoder says, to be compared with `==`: `content` of the table (by itself its buffers), outcomes."""
    try:
        table, outcomes = decode(requests, decoder)
    except TooMuchTogether as error:
        return type(error).__name__
    return (content or buffers_of)(table), [_words(outcome) for outcome in outcomes]


def buffers_of(table: SpanTable) -> dict[str, Any]:
    """By table: its schema, and the bytes of every buffer of every column, the keys' dictionary among them."""
    for name in SCHEMAS:
        getattr(table, name).validate(full=True)
    return {
        name: (batch.schema, batch.num_rows, [_bytes(column) for column in batch.columns])
        for name, batch in ((name, getattr(table, name)) for name in SCHEMAS)
    }


def rows_of(table: SpanTable) -> dict[str, Any]:
    """By table: its schema and its rows, however the buffers came about."""
    return {name: (getattr(table, name).schema, getattr(table, name).to_pylist()) for name in SCHEMAS}


def _bytes(column: pa.Array) -> Any:
    assert column.offset == 0
    buffers = [None if buffer is None else buffer.to_pybytes() for buffer in column.buffers()]
    return (buffers, _bytes(column.dictionary)) if pa.types.is_dictionary(column.type) else buffers


def _words(outcome: Outcome) -> tuple[str, str]:
    return type(outcome).__name__, repr(outcome)
