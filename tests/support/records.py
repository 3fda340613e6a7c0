"""Schema-true batches for tests: every column filled, every row its own, the same rows for the same arguments."""

import random
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

from pipelines.batch import Batch, Kind
from pipelines.schema import NO_VALUE_RANK, TABLES, TIME

START_NS: Final = 1_790_000_000_123_456_789
_TEXT: Final = (
    "the model answers a question about weather in Paris and calls tool with arguments city unit then reads result "
    "before it writes summary for user who asked what to wear tomorrow morning when rain may fall"
)
_WORDS: Final = _TEXT.split()


def observations(count: int, *, first: int = 0, text_bytes: int = 700, received_at_ns: int = START_NS) -> Batch:
    """`count` GENERATION rows whose ids are the hex of `first`, `first + 1`, ...; input and output of `text_bytes`."""
    return _batch(
        "observations", (_observation(index, text_bytes) for index in range(first, first + count)), received_at_ns
    )


def traces(count: int, *, first: int = 0, received_at_ns: int = START_NS) -> Batch:
    """`count` partial trace rows, ids as in `observations`."""
    return _batch("traces", (_trace(index) for index in range(first, first + count)), received_at_ns)


def scores(count: int, *, first: int = 0, received_at_ns: int = START_NS) -> Batch:
    """`count` scores, ids as in `observations`."""
    return _batch("scores", (_score(index) for index in range(first, first + count)), received_at_ns)


def ids(batches: Iterable[Batch]) -> list[str]:
    """The `id` column of all batches, in order."""
    return [value for batch in batches for value in batch.records.column("id").to_pylist()]


def from_rows(kind: Kind, rows: Iterable[dict[str, Any]], received_at_ns: int = START_NS) -> Batch:
    """A batch of `kind` from rows that name only what matters; the rest is empty, as a mapper would leave it."""
    return _batch(kind, ({**_empty(kind), **row} for row in rows), received_at_ns)


def _batch(kind: Kind, rows: Iterable[dict[str, Any]], received_at_ns: int) -> Batch:
    records = pa.RecordBatch.from_pylist(list(rows), schema=TABLES[kind].arrow_schema)
    return Batch(kind, records, received_at_ns)


def _empty(kind: Kind) -> dict[str, Any]:
    return {column.name: _empty_value(column.arrow, column.clickhouse) for column in TABLES[kind].columns}


def _empty_value(arrow: pa.DataType, clickhouse: str) -> Any:
    if clickhouse.startswith("Nullable"):
        return None
    if pa.types.is_struct(arrow):
        return _ranked("", rank=NO_VALUE_RANK)
    if pa.types.is_list(arrow) or pa.types.is_map(arrow):
        return []
    return {pa.string(): "", pa.bool_(): False, TIME: START_NS}.get(arrow, 0)


def _ranked(value: str, span: str = "", rank: int = 0) -> dict[str, Any]:
    return {"rank": rank, "time": START_NS, "span": span, "value": value}


def _text(index: int, size: int) -> str:
    chosen = random.Random(index).choices(_WORDS, k=size // 5 + 1)
    return " ".join(chosen)[:size]


def _observation(index: int, text_bytes: int) -> dict[str, Any]:
    start = START_NS + index * 1_000_000
    return {
        **_empty("observations"),
        "project_id": "default",
        "trace_id": f"{index // 8:032x}",
        "id": f"{index:016x}",
        "parent_observation_id": "" if index % 8 == 0 else f"{index // 8 * 8:016x}",
        "is_root": index % 8 == 0,
        "type": "GENERATION",
        "name": f"chat {index % 7}",
        "start_time": start,
        "end_time": start + 999_999_999,
        "completion_start_time": start + 1_000 if index % 2 else None,
        "level": "DEFAULT",
        "environment": "production",
        "service_name": "assistant",
        "user_id": f"user-{index % 100}",
        "session_id": f"session-{index % 50}",
        "tags": ["blue", "green"],
        "provider": "openai",
        "operation": "chat",
        "model": "gpt-5",
        "request_model": "gpt-5",
        "response_id": f"resp-{index}",
        "finish_reasons": ["stop"],
        "model_parameters": [("temperature", "0.7"), ("max_tokens", "1024")],
        "input": '[{"role":"user","parts":[{"type":"text","content":"' + _text(index, text_bytes) + '"}]}]',
        "output": '[{"role":"assistant","parts":[{"type":"text","content":"' + _text(-index, text_bytes) + '"}]}]',
        "tool_calls": [{"id": f"call-{index}", "name": "weather", "arguments": '{"city":"Paris"}'}],
        "usage_details": [("input", 100 + index), ("output", 20), ("total", 120 + index)],
        "input_tokens": 100 + index,
        "output_tokens": 20,
        "total_tokens": 120 + index,
        "cost_details": [("input", Decimal("0.000123456789")), ("total", Decimal("0.001"))],
        "total_cost": Decimal("0.001") if index % 2 else None,
        "metadata": [("http.status", "200"), ("note", f"row {index}")],
        "resource_attributes": [("service.name", "assistant"), ("host.name", "web-1")],
        "scope_name": "tests",
        "scope_version": "1",
        "convention": "otel_genai",
        "span_kind": "CLIENT",
        "status_code": "OK",
        "events": [{"time": start + 5, "name": "chunk", "attributes": [("n", "1")]}],
        "links": [{"trace_id": "ab" * 16, "span_id": "cd" * 8, "trace_state": "", "attributes": [("why", "retry")]}],
        "ingested_at": start,
    }


def _trace(index: int) -> dict[str, Any]:
    span = f"{index:016x}"
    return {
        **_empty("traces"),
        "project_id": "default",
        "id": f"{index:032x}",
        "end_time": START_NS + 1_000,
        "name": _ranked("assistant", span, rank=1),
        "tags": ["blue"],
        "metadata": [("plan", _ranked("pro", span))],
        "input": _ranked(f"question {index}", span, rank=1),
        "output": _ranked(f"answer {index}", span, rank=1),
    }


def _score(index: int) -> dict[str, Any]:
    return {
        **_empty("scores"),
        "project_id": "default",
        "trace_id": f"{index:032x}",
        "id": f"{index:016x}",
        "name": "helpfulness",
        "value": 0.5,
        "label": "good",
        "comment": f"comment {index}",
        "metadata": [("judge", "model")],
    }
