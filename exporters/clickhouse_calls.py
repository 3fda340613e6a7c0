"""Counting each model call once, whichever spans report it: two narrow tables, filled by the server itself.

One call often arrives as two spans, and both stay in `observations` (decision 0005). They are the same call

- when they share a response id, in one trace or in two: `call_rows` keeps the best of them, one row a call;
- when they are parent and child of the same model and usage, or one of them has no usage: `call_parent_rows` brings
  together what a call reports and what its children report, and says what to take off again.

    observation_rows ─▶ call_rows          ReplacingMergeTree; a row a call, keyed by response id, else by span
                     ─▶ call_parent_rows   AggregatingMergeTree; a row a span that is a model call or a parent of one
    model_calls      ─▶ both               calls as rows with sign 1, what was counted twice as rows with sign -1

Every row follows from one span alone and merges by an idempotent, commutative rule, so order, splitting and repetition
of the spans change nothing, and nothing is read before a write.

**Days.** Rows meet in one key and one partition, a day. Spans of one call may start on two sides of midnight, so a row
is written to every day within `_REACH_HOURS` of its start, and has a `usage_key` only in its own: a call counts in the
day whose best row is at home there. This is exact while the spans of a call start within `_REACH_HOURS`.
"""

from dataclasses import dataclass
from typing import Final

from pipelines.schema import OBSERVATIONS

_REACH_HOURS: Final = 1
_MODEL_CALL: Final = "type IN ('GENERATION', 'EMBEDDING', 'RERANKER')"
_MEASURED: Final = "(input_tokens IS NOT NULL OR output_tokens IS NOT NULL OR total_tokens IS NOT NULL)"

# What fakes and serializers leave where an id was due: equal, but not of one call.
_NO_IDS: Final = ("", "none", "null", "nil", "undefined", "nan", "unknown", "n/a", "-", "0")
_HAS_RESPONSE_ID: Final = f"lower(trim(response_id)) NOT IN {_NO_IDS}"
# Spans of the provider's own SDK: roots of traces of their own beside an instrumentor's span, which the user looks at.
_IS_NATIVE: Final = "startsWith(scope_name, 'com.anthropic.sdk.')"

# The one key that sums are grouped by: few values in a day's part, 30 ns of processor time a row; by day and model, two
# keys of unlike types, 85.
_USAGE_KEY: Final = (
    "concat(toString(toDate32(start_time)), '\\n', project_id, "
    "'\\n', replaceAll(provider, '\\n', ' '), '\\n', replaceAll(model, '\\n', ' '))"
)
USAGE: Final[dict[str, str]] = {
    "project_id": "substringIndex(substringIndex(usage_key, '\\n', 2), '\\n', -1)",
    "day": "toDate32OrZero(substring(usage_key, 1, 10))",
    "provider": "substringIndex(substringIndex(usage_key, '\\n', 3), '\\n', -1)",
    "model": "substringIndex(usage_key, '\\n', -1)",
}
"""Parts of a `usage_key`."""

AMOUNTS: Final = ("input_tokens", "output_tokens", "total_tokens", "total_cost")
_TYPES: Final = {column.name: column.clickhouse for column in OBSERVATIONS.columns}

# --- what one span says ---

# The greatest stays: with usage before without, an instrumentor's before the SDK's own, priced before unpriced, then
# the innermost, then any; of two copies of a span the later.
_VERSION: Final = "reinterpretAsUInt256(concat({}))".format(
    ", ".join(
        f"reinterpretAsFixedString({word})"
        for word in (
            "toUnixTimestamp64Nano(ingested_at)",
            "sipHash64(trace_id, id)",
            "toUnixTimestamp64Nano(start_time)",
            f"toUInt64({_MEASURED} * 4 + (NOT {_IS_NATIVE}) * 2 + (total_cost IS NOT NULL))",
        )
    )
)
_CALL: Final = f"if({_HAS_RESPONSE_ID}, sipHash128('response', response_id), sipHash128('span', trace_id, id))"

# Models are the same when their names differ by who serves them or by a date: `openai/gpt-4o`, `gpt-4o-2024-08-06`.
_FAMILY: Final = (
    "replaceRegexpAll(lower(model), '^(.*/)?([a-z]+[.])*|[-@](latest|20[0-9]{2}-?[0-9]{2}-?[0-9]{2})([-@:].*)?$', '')"
)

# Facts are marks, numbers of 32 bits: a call looks for its own among those of its children. Marks of usage are as many
# as there are different usages; of responses, which differ in every child, there are no more than 65,500, so that a
# span with a million children stays a small row.
NOTHING: Final = 0
# What a row of `call_parent_rows` is: one byte to read where most rows are but one of both.
IS_CALL: Final = 1
HAS_CHILDREN: Final = 2
SILENT: Final = 1
_SPOKEN: Final = 2
PRICED: Final = 3
_FIRST_RESPONSE: Final = 36
_FIRST_USAGE: Final = 2**16


def _usage_mark(number: str) -> str:
    return f"toUInt32({_FIRST_USAGE} + ({number}) % {2**32 - _FIRST_USAGE})"


# Without output means none: embeddings say 0 here and nothing there.
_AMOUNT: Final = (
    "intHash64(ifNull(input_tokens, if(output_tokens IS NULL, ifNull(total_tokens, 0), 0)) * 1000003"
    " + ifNull(output_tokens, 0))"
)
_OF_MODEL: Final = _usage_mark(f"{_AMOUNT} + cityHash64({_FAMILY})")
_OF_NO_MODEL: Final = _usage_mark(f"{_AMOUNT} + cityHash64('')")
_OF_ANY_MODEL: Final = _usage_mark(_AMOUNT)
_OF_RESPONSE: Final = (
    f"if({_HAS_RESPONSE_ID}, toUInt32({_FIRST_RESPONSE} + cityHash64(response_id) % {_FIRST_USAGE - _FIRST_RESPONSE}), "
    f"{NOTHING})"
)
_LEFT_BY_CHILD: Final = (
    f"[if({_MEASURED}, {_SPOKEN}, {SILENT}), if(total_cost IS NULL, {NOTHING}, {PRICED}), {_OF_RESPONSE}, "
    f"if({_MEASURED}, {_OF_MODEL}, {NOTHING}), if({_MEASURED}, {_OF_ANY_MODEL}, {NOTHING})]"
)

_DAYS: Final = (
    "arrayDistinct([toDate32(start_time), "
    f"toDate32(start_time - toIntervalHour({_REACH_HOURS})), toDate32(start_time + toIntervalHour({_REACH_HOURS}))])"
)

# --- the tables ---

_STORED_AT: Final = "CODEC(Delta(4), ZSTD(1))"
_COUNT: Final = "CODEC(T64, LZ4)"


@dataclass(frozen=True, slots=True)
class CountingTable:
    """A table that the server fills from `observation_rows`, by the materialized view `<name>_feed`.

    Attributes:
        name: of the table.
        doc: one line.
        columns: name, with type and codec.
        feed_query: what it is filled with, all columns by name; `{rows}` stands for `observation_rows`.
        engine: ClickHouse engine.
        order_by: sorting key.
        granularity: rows of a granule; that of an existing table stays.
        settings: of the table, beside that.
        indexes: data-skipping indexes.
    """

    name: str
    doc: str
    columns: tuple[str, ...]
    feed_query: str
    engine: str
    order_by: tuple[str, ...]
    granularity: int
    settings: str
    indexes: tuple[str, ...]

    @property
    def feed(self) -> str:
        """Name of the materialized view."""
        return f"{self.name}_feed"


# One granule in 10,000 is read for nothing, for each trace of a page.
_TRACE_INDEX: Final = "INDEX trace_filter trace_id TYPE bloom_filter(0.0001) GRANULARITY 1"
# Merged days have a file for each column: with small granules in one file, sums take twice the processor time. Inserts
# stay below, and write one file.
_WIDE: Final = "min_bytes_for_wide_part = 0, min_rows_for_wide_part = 131072"

CALLS: Final = CountingTable(
    name="call_rows",
    doc="One row per model call and day that it may belong to; of the spans that share a response id the best stays.",
    columns=(
        "`project_id` LowCardinality(String)",
        "`call` FixedString(16)",
        "`day` Date32",
        "`version` UInt256",
        "`trace_id` String",
        "`usage_key` LowCardinality(String)",
        *(f"`{name}` {_TYPES[name]} {_COUNT}" for name in AMOUNTS),
        f"`stored_at` DateTime {_STORED_AT}",
    ),
    feed_query=f"""SELECT
    project_id, {_CALL} AS call, day, {_VERSION} AS version, trace_id,
    if(day = toDate32(start_time), {_USAGE_KEY}, '') AS usage_key, {", ".join(AMOUNTS)}, stored_at
FROM {{rows}} ARRAY JOIN {_DAYS} AS day
WHERE {_MODEL_CALL}""",  # noqa: S608 - our own names
    engine="ReplacingMergeTree(version)",
    order_by=("project_id", "day", "call"),
    granularity=4096,  # calls of a trace lie apart, each costs a granule; sums over small ones take longer
    settings=_WIDE,
    indexes=(_TRACE_INDEX, f"INDEX usage_key_index ({USAGE['project_id']}, {USAGE['day']}) TYPE set(16) GRANULARITY 1"),
)

# Worked out once a span, before there are two rows of it.
_REPORTED: Final = f"""SELECT
    project_id, trace_id, [id, parent_observation_id] AS spans, toDate32(start_time) AS home,
    {_USAGE_KEY} AS usage_key, {_MEASURED} AS is_measured, {_OF_MODEL} AS model_mark,
    if(model = '', {_OF_ANY_MODEL}, {_OF_NO_MODEL}) AS other_mark, {_OF_RESPONSE} AS response_mark,
    {_LEFT_BY_CHILD} AS child_marks, {", ".join(AMOUNTS)}, stored_at, {_DAYS} AS days
FROM {{rows}}
WHERE {_MODEL_CALL}"""  # noqa: S608 - our own names

CALL_PARENTS: Final = CountingTable(
    name="call_parent_rows",
    doc="What a span reports if it is a model call, beside the marks that model calls leave at their parents.",
    columns=(
        "`project_id` LowCardinality(String)",
        "`trace_id` String",
        "`span_id` String",
        "`day` Date32",
        "`roles` SimpleAggregateFunction(groupBitOr, UInt8)",
        "`own_key` SimpleAggregateFunction(max, LowCardinality(String))",
        "`measured` SimpleAggregateFunction(max, Bool)",
        "`of_model` SimpleAggregateFunction(max, UInt32)",
        "`of_other` SimpleAggregateFunction(max, UInt32)",
        "`of_response` SimpleAggregateFunction(max, UInt32)",
        "`left_by_children` SimpleAggregateFunction(groupUniqArrayArray, Array(UInt32))",
        "`silent_child_key` SimpleAggregateFunction(max, LowCardinality(String))",
        *(f"`own_{name}` SimpleAggregateFunction(max, {_TYPES[name]}) {_COUNT}" for name in AMOUNTS),
        f"`stored_at` SimpleAggregateFunction(max, DateTime) {_STORED_AT}",
    ),
    feed_query=f"""SELECT
    project_id, trace_id, span_id, day, if(own, day = home ? {IS_CALL} : 0, {HAS_CHILDREN}) AS roles,
    if(own AND day = home, usage_key, '') AS own_key,
    own AND is_measured AS measured, own * model_mark AS of_model, own * other_mark AS of_other,
    own * response_mark AS of_response, if(own, [], child_marks) AS left_by_children,
    if(own OR is_measured, '', usage_key) AS silent_child_key,
    {", ".join(f"if(own, {name}, NULL) AS own_{name}" for name in AMOUNTS)}, stored_at
FROM (
    SELECT *, span_id, own FROM (
{_REPORTED}
    ) ARRAY JOIN spans AS span_id, [true, false] AS own
    WHERE own OR span_id NOT IN ('', spans[1])
) ARRAY JOIN days AS day""",  # noqa: S608 - our own names
    engine="AggregatingMergeTree",
    order_by=("project_id", "trace_id", "span_id", "day"),
    granularity=8192,
    settings=_WIDE,
    indexes=(_TRACE_INDEX,),
)

COUNTING_TABLES: Final = (CALLS, CALL_PARENTS)


def create_feed(table: CountingTable, database: str) -> str:
    """The statement that makes the server fill a table from now on; harmless to repeat."""
    name = f"{database}.{table.feed} TO {database}.{table.name}"
    return f"CREATE MATERIALIZED VIEW IF NOT EXISTS {name} AS\n{_fed_by(table, database)}"


def backfill(table: CountingTable, database: str) -> str:
    """The statement that fills a table from all observations that are stored; harmless to repeat."""
    names = ", ".join(column.split("`")[1] for column in table.columns)
    rows = _fed_by(table, database)
    return f"INSERT INTO {database}.{table.name} ({names})\n{rows}\nSETTINGS max_partitions_per_insert_block = 0"


def _fed_by(table: CountingTable, database: str) -> str:
    return table.feed_query.replace("{rows}", f"{database}.{OBSERVATIONS.stored_as}")
