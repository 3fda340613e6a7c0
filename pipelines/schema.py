"""The record, declared once: every other form of it is derived from here.

The Arrow schema, the ClickHouse DDL and INSERT list (`exporters.clickhouse_sql`), the JSON lines and the page
docs/record.md all come from `TABLES`; tests hold them together. Times are UTC with nanoseconds.
"""

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from pipelines.batch import Kind

MONEY: Final = pa.decimal128(18, 12)  # 64 bits in ClickHouse: up to a million dollars a row, exact to 1e-12
TIME: Final = pa.timestamp("ns", "UTC")
TEXT_MAP: Final = pa.map_(pa.string(), pa.string())
COUNT_MAP: Final = pa.map_(pa.string(), pa.uint64())
MONEY_MAP: Final = pa.map_(pa.string(), MONEY)
TEXTS: Final = pa.list_(pa.string())
TOOL_CALLS: Final = pa.list_(
    pa.struct([pa.field("id", pa.string()), pa.field("name", pa.string()), pa.field("arguments", pa.string())])
)
EVENTS: Final = pa.list_(
    pa.struct([pa.field("time", TIME), pa.field("name", pa.string()), pa.field("attributes", TEXT_MAP)])
)
LINKS: Final = pa.list_(
    pa.struct(
        [
            pa.field("trace_id", pa.string()),
            pa.field("span_id", pa.string()),
            pa.field("trace_state", pa.string()),
            pa.field("attributes", TEXT_MAP),
        ]
    )
)

# A value with what decides between two of its kind: the smallest (rank, time, span) wins, so partial rows of a
# trace merge to the same record in whatever order, split or number they arrive. Rank 255 says "no value here".
NO_VALUE_RANK: Final = 255
RANKED: Final = pa.struct(
    [
        pa.field("rank", pa.uint8()),
        pa.field("time", TIME),
        pa.field("span", pa.string()),
        pa.field("value", pa.string()),
    ]
)
RANKED_MAP: Final = pa.map_(pa.string(), RANKED)

# What reports add up over millions of rows: LZ4 costs a third of ZSTD's time to read, and these columns are small.
_FAST: Final = "LZ4"
_NAME: Final = "LowCardinality(String)"
_TIME: Final = "DateTime64(9, 'UTC')"
_TEXT_MAP: Final = "Map(LowCardinality(String), String)"
_MONEY: Final = "Decimal(18, 12)"
_RANKED_TUPLE: Final = f"Tuple(rank UInt8, time {_TIME}, span String, value String)"
_RANKED: Final = f"SimpleAggregateFunction(min, {_RANKED_TUPLE})"


@dataclass(frozen=True, slots=True)
class Column:
    """One column in all its forms.

    Attributes:
        name: the same in Arrow, ClickHouse and JSON.
        arrow: type in `Batch.records`.
        clickhouse: type in the stored table.
        doc: one line for docs/record.md and the column's COMMENT.
        codec: ClickHouse compression, empty for the server's default.
    """

    name: str
    arrow: pa.DataType
    clickhouse: str
    doc: str
    codec: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A kind of record: what is sent (`columns`), where it is stored, what a reader sees under `kind`'s name.

    Attributes:
        kind: name of the view that readers query, and of the batches.
        stored_as: name of the table behind the view.
        doc: one line.
        columns: in the order of the stored table.
        engine: ClickHouse engine; rows of equal sorting key replace or merge with each other.
        partition_by: by time, so that expiry drops whole parts.
        order_by: sorting key; projects first.
        time_column: what the partitions, and so the splitting of an insert, go by.
        indexes: data-skipping indexes, as in CREATE TABLE.
        settings: of the stored table, as in CREATE TABLE.
    """

    kind: Kind
    stored_as: str
    doc: str
    columns: tuple[Column, ...]
    engine: str
    partition_by: str
    order_by: tuple[str, ...]
    time_column: str
    indexes: tuple[str, ...] = ()
    settings: str = ""

    @property
    def arrow_schema(self) -> pa.Schema:
        """The schema that `Batch.records` of this kind has, exactly."""
        return pa.schema([pa.field(column.name, column.arrow) for column in self.columns])


def _name(name: str, doc: str) -> Column:
    """A text with few distinct values."""
    return Column(name, pa.string(), _NAME, doc)


def _text(name: str, doc: str, codec: str = "ZSTD(1)") -> Column:
    return Column(name, pa.string(), "String", doc, codec)


def _time(name: str, doc: str) -> Column:
    return Column(name, TIME, _TIME, doc, f"Delta(8), {_FAST}")


def _count(name: str, doc: str) -> Column:
    return Column(name, pa.uint64(), "Nullable(UInt64)", doc, f"T64, {_FAST}")


def _small(name: str, doc: str) -> Column:
    return Column(name, pa.uint32(), "UInt32", doc, "ZSTD(1)")


def _map(name: str, doc: str) -> Column:
    return Column(name, TEXT_MAP, _TEXT_MAP, doc, "ZSTD(1)")


def _ranked(name: str, doc: str, codec: str = "ZSTD(1)") -> Column:
    return Column(name, RANKED, _RANKED, doc, codec)


OBSERVATIONS: Final = Table(
    kind="observations",
    stored_as="observation_rows",
    doc="One row per span.",
    engine="ReplacingMergeTree(ingested_at)",
    partition_by="toDate32(start_time)",  # toDate wraps round outside 1970..2149
    order_by=("project_id", "trace_id", "id"),
    time_column="start_time",
    indexes=(
        # A page asks for 50 traces, each in 1 of 60 partitions: at 0.01 every third granule of the others was read.
        "INDEX trace_filter trace_id TYPE bloom_filter(0.0001) GRANULARITY 1",
        "INDEX session_id_index session_id TYPE bloom_filter(0.01) GRANULARITY 1",
        "INDEX user_id_index user_id TYPE bloom_filter(0.01) GRANULARITY 1",
    ),
    columns=(
        _name("project_id", "Project that the API key of the request belongs to."),
        _text("trace_id", "32 hex digits."),
        _text("id", "Span id, 16 hex digits."),
        _text("parent_observation_id", "Span id of the parent, empty for a root; the parent may never arrive."),
        Column("is_root", pa.bool_(), "Bool", "No parent, or marked as the application's root."),
        _name(
            "type", "SPAN, GENERATION, EMBEDDING, RETRIEVER, RERANKER, TOOL, AGENT, CHAIN, EVALUATOR, GUARDRAIL, EVENT."
        ),
        _text("name", "What a person would recognise: tool name, agent name, else the span name."),
        _time("start_time", "Start of the span."),
        _time("end_time", "End of the span."),
        Column("completion_start_time", TIME, f"Nullable({_TIME})", "When the first token arrived.", "ZSTD(1)"),
        _name("level", "DEBUG, DEFAULT, WARNING or ERROR."),
        _text("status_message", "Status description, else the exception's message."),
        _name("environment", "Deployment environment."),
        _name("release", "Release of the application."),
        _name("version", "Version of the application or of the observed component."),
        _name("service_name", "Resource attribute service.name."),
        _text("user_id", "End user."),
        _text("session_id", "Session, conversation or thread."),
        _text("trace_name", "Name that the application gave the trace, empty if it gave none."),
        Column("tags", TEXTS, f"Array({_NAME})", "Tags set by the application.", "ZSTD(1)"),
        _name("provider", "Who serves the model: openai, anthropic, aws.bedrock ..."),
        _name("operation", "gen_ai.operation.name as sent."),
        _name("model", "Model that answered, else the one asked for."),
        _name("request_model", "Model asked for."),
        _text("response_id", "The provider's id of the answer; equal on two spans that report one call."),
        Column("finish_reasons", TEXTS, f"Array({_NAME})", "Why the model stopped.", "ZSTD(1)"),
        _map("model_parameters", "temperature, max_tokens, top_p ..., as text."),
        _text("input", 'Messages as JSON [{"role", "parts": [...]}], else the value as sent.', "ZSTD(3)"),
        _text("output", "Like input.", "ZSTD(3)"),
        _text("tool_definitions", "JSON array of the tools offered to the model.", "ZSTD(3)"),
        _name("tool_name", "Tool that this observation ran."),
        _text("tool_call_id", "Id of the call that this observation answers."),
        Column(
            "tool_calls",
            TOOL_CALLS,
            "Array(Tuple(id String, name String, arguments String))",
            "Calls that the model asked for; arguments as JSON.",
            "ZSTD(3)",
        ),
        _name("agent_name", "Agent that ran."),
        _name("prompt_name", "Managed prompt used."),
        _name("prompt_version", "Its version."),
        Column(
            "usage_details",
            COUNT_MAP,
            "Map(LowCardinality(String), UInt64)",
            "Tokens in disjoint buckets that sum to `total`.",
            "ZSTD(1)",
        ),
        _count("input_tokens", "Inclusive of cached tokens; NULL when unknown."),
        _count("output_tokens", "Inclusive of reasoning tokens; NULL when unknown."),
        _count("total_tokens", "NULL when unknown."),
        Column(
            "cost_details",
            MONEY_MAP,
            f"Map(LowCardinality(String), {_MONEY})",
            "US dollars per bucket.",
            "ZSTD(1)",
        ),
        Column(
            "total_cost",
            MONEY,
            f"Nullable({_MONEY})",
            "US dollars; NULL when unknown, never 0 for unknown.",
            f"T64, {_FAST}",
        ),
        _map("metadata", "Every attribute that no other column shows; structured values as JSON."),
        _map("resource_attributes", "The resource as sent."),
        _name("scope_name", "Instrumentation scope."),
        _name("scope_version", "Version of the instrumentation scope."),
        _map("scope_attributes", "Attributes of the instrumentation scope."),
        _name("convention", "Dialect that was recognised."),
        _name("span_name", "Name of the span as sent."),
        _name("span_kind", "UNSPECIFIED, INTERNAL, SERVER, CLIENT, PRODUCER or CONSUMER."),
        _name("status_code", "UNSET, OK or ERROR, as sent."),
        _text("trace_state", "W3C tracestate."),
        _small("trace_flags", "Span flags as sent."),
        _small("dropped_attributes_count", "What the SDK's limits cut."),
        _small("dropped_events_count", "What the SDK's limits cut."),
        _small("dropped_links_count", "What the SDK's limits cut."),
        Column(
            "events",
            EVENTS,
            f"Array(Tuple(time {_TIME}, name {_NAME}, attributes {_TEXT_MAP}))",
            "Span events, exceptions among them.",
            "ZSTD(1)",
        ),
        Column(
            "links",
            LINKS,
            f"Array(Tuple(trace_id String, span_id String, trace_state String, attributes {_TEXT_MAP}))",
            "Span links.",
            "ZSTD(1)",
        ),
        _time("ingested_at", "When the receiver took the span in; of two copies of a span the later one stays."),
    ),
)

TRACES: Final = Table(
    kind="traces",
    stored_as="trace_rows",
    doc="One row per trace, merged from partial rows by idempotent, commutative aggregates only.",
    engine="AggregatingMergeTree",
    partition_by="toYYYYMM(timestamp)",
    order_by=("project_id", "id"),
    time_column="timestamp",
    indexes=("INDEX trace_filter id TYPE bloom_filter(0.0001) GRANULARITY 1",),
    settings="index_granularity = 1024",  # the traces of a page lie apart: each of them costs a granule
    columns=(
        _name("project_id", "Project."),
        _text("id", "Trace id, 32 hex digits."),
        Column("timestamp", TIME, f"SimpleAggregateFunction(min, {_TIME})", "Earliest start of its spans.", "ZSTD(1)"),
        Column("end_time", TIME, f"SimpleAggregateFunction(max, {_TIME})", "Latest end of its spans.", "ZSTD(1)"),
        _ranked("name", "Name given by the application, else the root's, else the earliest span's."),
        _ranked("user_id", "End user, found on any span."),
        _ranked("session_id", "Session, found on any span."),
        _ranked("environment", "Deployment environment."),
        _ranked("release", "Release of the application."),
        _ranked("version", "Version of the application."),
        _ranked("public", "'true' when the application made the trace public."),
        Column(
            "tags",
            TEXTS,
            "SimpleAggregateFunction(groupUniqArrayArray, Array(String))",
            "Union of the tags of its spans.",
            "ZSTD(1)",
        ),
        Column(
            "metadata",
            RANKED_MAP,
            f"SimpleAggregateFunction(minMap, Map(String, {_RANKED_TUPLE}))",
            "Trace metadata set by the application; per key the smallest (rank, time, span) wins.",
            "ZSTD(1)",
        ),
        _ranked("input", "Input of the trace, else of the root, else of the earliest span that has one.", "ZSTD(3)"),
        _ranked("output", "Output of the trace, else of the root, else of the earliest span that has one.", "ZSTD(3)"),
    ),
)

SCORES: Final = Table(
    kind="scores",
    stored_as="score_rows",
    doc="Evaluation results, tied to trace and observation.",
    engine="ReplacingMergeTree(ingested_at)",
    partition_by="toYYYYMM(timestamp)",
    order_by=("project_id", "trace_id", "observation_id", "id"),
    time_column="timestamp",
    columns=(
        _name("project_id", "Project."),
        _text("trace_id", "Trace that was judged."),
        _text("observation_id", "Observation that was judged."),
        _text("id", "Derived from the event, so that a redelivered score replaces itself."),
        _time("timestamp", "When the evaluation happened."),
        _name("name", "What was measured."),
        Column("value", pa.float64(), "Nullable(Float64)", "Number, NULL for a label alone.", "ZSTD(1)"),
        _name("label", "Verdict in words."),
        _text("comment", "Explanation."),
        _map("metadata", "The event's other attributes."),
        _time("ingested_at", "When the receiver took it in."),
    ),
)

# What a log record can say of its span.
_COMPLETING: Final = (
    "type", "level", "environment", "release", "version", "user_id", "session_id", "trace_name", "tags", "provider",
    "operation", "model", "request_model", "response_id", "finish_reasons", "model_parameters", "input", "output",
    "tool_definitions", "tool_name", "tool_call_id", "tool_calls", "agent_name", "prompt_name", "prompt_version",
    "usage_details", "input_tokens", "output_tokens", "total_tokens", "cost_details", "total_cost", "metadata",
    "resource_attributes", "scope_name", "scope_version", "scope_attributes", "convention", "trace_flags",
    "dropped_attributes_count",
)  # fmt: skip

CONTENTS: Final = Table(
    kind="contents",
    stored_as="content_rows",
    doc="One row per GenAI event that came as a log record; they complete the observation of their span.",
    engine="ReplacingMergeTree(position)",
    partition_by="toYYYYMM(timestamp)",
    order_by=("project_id", "trace_id", "observation_id", "id"),
    time_column="timestamp",
    columns=(
        _name("project_id", "Project."),
        _text("trace_id", "Trace of the span, 32 hex digits."),
        _text("observation_id", "Span that it completes, 16 hex digits; the span may arrive later, or never."),
        _text("id", "Derived from the record, so that a redelivered one replaces itself."),
        _time("timestamp", "Time of the event."),
        _time("observed_at", "When the sender's SDK took it in; decides between events of equal time."),
        _small("position", "Place among the events of its scope and request, from 1; decides between equal times."),
        _name("name", "Event name."),
        Column("is_message", pa.bool_(), "Bool", "Input or output is one message of a conversation."),
        _name("severity", "Severity as sent, in words, else its number."),
        *(column for column in OBSERVATIONS.columns if column.name in _COMPLETING),
        Column(
            "first_token_wait_ns",
            pa.uint64(),
            "Nullable(UInt64)",
            "Nanoseconds from the start of the span to the first token.",
            "ZSTD(1)",
        ),
        _map("body", "Fields of the record's body as sent; a body that is no map is its field `content`."),
        _time("ingested_at", "When the receiver took it in."),
    ),
)

TABLES: Final[dict[Kind, Table]] = {table.kind: table for table in (OBSERVATIONS, TRACES, SCORES, CONTENTS)}
