"""Observations completed by GenAI log records, in ClickHouse SQL derived from `pipelines.schema`.

    content_rows ─────┬▶ observation_rows   the span's row again, a nanosecond younger, with what it lacked
    observation_rows ─┘          └─▶ trace_rows   what was completed, as partial rows

Spans and log records come in any order, in any number of requests. So whatever comes is stored first; then the spans
that it is about, where both are known of, are written again from all that is known: whichever comes later sees both.
What a span says itself beats what records say of it. `completed` names what came from records, so that the next record
finds the span's own row again in the youngest, the only one that stays.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import pyarrow as pa

from exporters.clickhouse_sql import quoted
from pipelines.batch import Batch
from pipelines.schema import CONTENTS, NO_VALUE_RANK, OBSERVATIONS, RANKED, TRACES, Column

KINDS: Final = ("observations", "contents")
"""What completes an observation, in whatever order."""

Key = tuple[str, str, str]
"""Project, trace and span id."""

MOST_BYTES: Final = 32 * 2**20
"""Of the contents that one statement merges, and so of one span: a span that has more is left as it is."""
_RECORD_BYTES: Final = 256  # of memory that a record takes beside its texts
_MOST_KEYS: Final = 4000
MAX_QUERY_SIZE: Final = 4 * 2**20
"""Bytes of the longest statement: to be set where they run."""
_MOST_METADATA: Final = 1000
"""Entries that records add to one observation; when there are more, all stay in `contents`."""

_PLAIN: Final = (
    "environment", "release", "version", "user_id", "session_id", "trace_name", "tags", "operation", "request_model",
    "finish_reasons", "model_parameters", "tool_definitions", "tool_name", "tool_call_id", "agent_name", "prompt_name",
    "prompt_version", "first_token_wait_ns",
)  # fmt: skip
# What calls are counted by (`exporters.clickhouse_calls`), which must not change: only where the span is no model call.
_COUNTED: Final = ("type", "provider", "model", "response_id", "usage_details", "total_cost")
_HALVES: Final = ("input", "output")
# Told by one record or not at all, by the column that says whether.
_TOGETHER: Final[dict[str, tuple[str, ...]]] = {
    "usage_details": ("usage_details", "input_tokens", "output_tokens", "total_tokens"),
    "total_cost": ("total_cost", "cost_details"),
}
_FROM_ONE_RECORD: Final = (*_PLAIN, *_COUNTED)
# What goes by another name in an observation.
_SPAN_COLUMNS: Final = {"first_token_wait_ns": "completion_start_time"}
_MODEL_CALLS: Final = ("GENERATION", "EMBEDDING", "RERANKER")
_NO_TYPE: Final = "SPAN"

_CONTENT_COLUMNS: Final = {column.name: column for column in CONTENTS.columns}
_SPAN_OF_CONTENT: Final = CONTENTS.order_by[:3]
_ROOT_RANK, _OTHER_RANK = 1, 2  # as in the mapping of traces
# Spans of one block may have started on any days; copies of a row lie in one partition.
_INSERT_SETTINGS: Final = (
    "SETTINGS max_partitions_per_insert_block = 0, do_not_merge_across_partitions_select_final = 1"
)


def keys(batch: Batch) -> list[Key]:
    """The spans that a batch of observations or contents is about, each once."""
    span = "observation_id" if batch.kind == "contents" else "id"
    columns = (batch.records.column(name).to_pylist() for name in ("project_id", "trace_id", span))
    return list(dict.fromkeys(zip(*columns, strict=True)))


def by_number(wanted: Sequence[Key]) -> Iterator[Sequence[Key]]:
    """As many keys at a time as one statement may name."""
    for start in range(0, len(wanted), _MOST_KEYS):
        yield wanted[start : start + _MOST_KEYS]


def by_size(sizes: Iterable[tuple[Key, int]]) -> Iterator[Sequence[Key]]:
    """Keys in portions of at most `MOST_BYTES` of contents; one that has more alone is left out."""
    portion: list[Key] = []
    total_bytes = 0
    for key, size_bytes in sizes:
        if size_bytes > MOST_BYTES:
            continue
        if total_bytes + size_bytes > MOST_BYTES:
            yield portion
            portion, total_bytes = [], 0
        portion.append(key)
        total_bytes += size_bytes
    if portion:
        yield portion


def settling(
    database: str, batch: Batch, sizes: Callable[[Sequence[Key]], Iterable[tuple[Key, int]]]
) -> Iterator[tuple[str, str]]:
    """The pairs of INSERTs, for observations and traces, that complete what a batch is about.

    Args:
        database: where.
        batch: observations or contents that are stored now.
        sizes: of those spans that records are known of, their bytes (`content_sizes`).
    """
    for some in by_number(keys(batch)):
        for portion in by_size(sizes(some)):
            yield complete_observations(database, portion), complete_traces(database, portion)


def any_contents(database: str) -> str:
    """SELECT that has a row when log records have told anything at all."""
    return f"SELECT 1 FROM {database}.{CONTENTS.stored_as} LIMIT 1"  # noqa: S608 - our own names; literals are quoted


def content_sizes(database: str, wanted: Sequence[Key]) -> str:
    """SELECT of those spans that records are known of: project_id, trace_id, observation_id, bytes."""
    texts = ("input", "output", "tool_definitions")
    entries = "arraySum((key, value) -> length(key) + length(value), mapKeys(metadata), mapValues(metadata))"
    sizes = [str(_RECORD_BYTES), *(f"length({name})" for name in texts), entries]
    return f"""\
SELECT {", ".join(_SPAN_OF_CONTENT)}, sum({" + ".join(sizes)}) AS bytes
FROM {database}.{CONTENTS.stored_as} FINAL
WHERE {_among(_SPAN_OF_CONTENT, wanted)}
GROUP BY {", ".join(_SPAN_OF_CONTENT)}"""  # noqa: S608 - our own names; literals are quoted


def complete_observations(database: str, wanted: Sequence[Key]) -> str:
    """INSERT of those spans again that records say something new of; harmless to repeat."""
    values = ",\n    ".join([*map(_value, OBSERVATIONS.columns), "filled", "log_weight"])
    names = ", ".join(f"`{column.name}`" for column in OBSERVATIONS.columns)
    same = zip(OBSERVATIONS.order_by, _SPAN_OF_CONTENT, strict=True)
    return f"""\
INSERT INTO {database}.{OBSERVATIONS.stored_as} ({names}, completed, completed_weight)
{_INSERT_SETTINGS}
SELECT
    {values}
FROM (
    SELECT span.*, content.*, {_filled()} AS filled
    FROM (
        SELECT *, {_OWN_METADATA} AS own_metadata
        FROM {database}.{OBSERVATIONS.stored_as} FINAL
        WHERE {_among(OBSERVATIONS.order_by, wanted)}
    ) AS span
    INNER JOIN (
{_told(database, wanted)}
    ) AS content ON {" AND ".join(f"{own} = log_{other}" for own, other in same)}
    WHERE log_weight != completed_weight
)
WHERE notEmpty(filled)"""  # noqa: S608 - our own names; literals are quoted


def complete_traces(database: str, wanted: Sequence[Key]) -> str:
    """INSERT of partial trace rows with what records say of those spans; harmless to repeat."""
    values = {column.name: value for column in TRACES.columns if (value := _partial(column))}
    return f"""\
INSERT INTO {database}.{TRACES.stored_as} ({", ".join(f"`{name}`" for name in values)})
{_INSERT_SETTINGS}
SELECT
    {", ".join(values.values())}
FROM {database}.{OBSERVATIONS.stored_as} AS span FINAL
WHERE {_among(OBSERVATIONS.order_by, wanted)} AND notEmpty(span.completed)"""  # noqa: S608 - our own names; literals are quoted


def _among(columns: Sequence[str], wanted: Sequence[Key]) -> str:
    literals = ", ".join(f"({', '.join(map(quoted, key))})" for key in wanted)
    return f"({', '.join(columns)}) IN ({literals})"


# --- what the records say ---


def _told(database: str, wanted: Sequence[Key]) -> str:
    """A row per span; of each column what the first record says that says anything.

    `log_weight` grows with every record, and with every copy that knows its place better.
    """
    lines = [
        *(f"{name} AS log_{name}" for name in _SPAN_OF_CONTENT),
        "sum(position) AS log_weight",
        *(f"argMinIf({_members(name)}, place, {_says(name, name)}) AS log_{name}" for name in _FROM_ONE_RECORD),
        *(line for side in _HALVES for line in _half(side)),
        "minMap(metadata) AS all_metadata",
        f"mapFilter((key, value) -> length(all_metadata) <= {_MOST_METADATA}, all_metadata) AS log_metadata",
    ]
    told = ",\n        ".join(lines)
    return f"""\
    SELECT
        {told}
    FROM (
        SELECT *, (timestamp, observed_at, position, id) AS place
        FROM {database}.{CONTENTS.stored_as} FINAL
        WHERE {_among(_SPAN_OF_CONTENT, wanted)}
    )
    GROUP BY {", ".join(_SPAN_OF_CONTENT)}"""  # noqa: S608 - our own names; literals are quoted


def _members(name: str) -> str:
    return f"tuple({', '.join(_TOGETHER.get(name, (name,)))})"


def _half(side: str) -> list[str]:
    """What the first record tells as a whole, else the conversation that the single messages make."""
    messages, whole = f"{side}_messages", f"whole_{side}"
    told = f"({side}, tool_calls)"
    texts = f"arrayMap(each -> substring(each.2.1, 2, length(each.2.1) - 2), {messages})"
    joined = f"if(empty({messages}), '', concat('[', arrayStringConcat({texts}, ','), ']'))"
    calls = f"arrayFlatten(arrayMap(each -> each.2.2, {messages}))"
    return [
        f"argMinIf({told}, place, NOT is_message AND {_says(side, side)}) AS {whole}",
        f"arraySort(each -> each.1, groupArrayIf((place, {told}), is_message AND {_says(side, side)})) AS {messages}",
        f"if({whole}.1 = '', ({joined}, {calls}), {whole}) AS log_{side}",
    ]


def _says(name: str, value: str) -> str:
    """Whether a value of a column says something."""
    column = _CONTENT_COLUMNS[name]
    if name == "type":
        return f"{value} NOT IN ('', '{_NO_TYPE}')"
    if column.clickhouse.startswith("Nullable"):
        return f"isNotNull({value})"
    if column.arrow == pa.string():
        return f"{value} != ''"
    return f"notEmpty({value})"


# --- what becomes of the span ---

_OWN_METADATA: Final = "mapFilter((key, value) -> NOT has(completed, concat('metadata.', key)), metadata)"


def _filled() -> str:
    """Names of what records say and the span does not say itself."""
    names = ", ".join(f"if({_is_filled(name)}, '{name}', '')" for name in (*_FROM_ONE_RECORD, *_HALVES))
    entries = "arrayFilter(key -> NOT mapContains(own_metadata, key), mapKeys(log_metadata))"
    return (
        f"arrayConcat(arrayFilter(name -> name != '', [{names}]), arrayMap(key -> concat('metadata.', key), {entries}))"
    )


def _is_filled(name: str) -> str:
    own = _says(name, _SPAN_COLUMNS.get(name, name))
    free = f"(NOT ({own}) OR has(completed, '{name}')) AND {_says(name, f'log_{name}.1')}"
    counted = f"type NOT IN {_MODEL_CALLS} OR has(completed, 'type')"
    return f"({counted}) AND {free}" if name in _COUNTED else free


def _value(column: Column) -> str:
    """A column of the completed row."""
    name = column.name
    if name == "ingested_at":
        return "addNanoseconds(ingested_at, 1)"
    if name == "metadata":
        return "mapUpdate(log_metadata, own_metadata)"
    if name == "completion_start_time":
        started = "toUnixTimestamp64Nano(start_time) + toInt64(assumeNotNull(log_first_token_wait_ns.1))"
        return f"if(has(filled, 'first_token_wait_ns'), fromUnixTimestamp64Nano({started}, 'UTC'), {name})"
    if name == "tool_calls":
        return f"if(has(filled, 'output'), log_output.2, {name})"
    for leader in (*_FROM_ONE_RECORD, *_HALVES):
        members = _TOGETHER.get(leader, (leader,))
        if name in members:
            return f"if(has(filled, '{leader}'), log_{leader}.{members.index(name) + 1}, {name})"
    return name


def _partial(column: Column) -> str:
    """A column of the partial trace row, empty for one that stays at its default, which is nothing."""
    known = {"project_id": "project_id", "id": "trace_id", "timestamp": "start_time", "end_time": "end_time"}
    name = column.name
    if name in known:
        return f"span.{known[name]}"
    if name == "tags":
        return "if(has(span.completed, 'tags'), span.tags, [])"
    if column.arrow != RANKED:
        return ""
    kind = column.clickhouse.removeprefix("SimpleAggregateFunction(min, ").removesuffix(")")
    nothing = f"CAST(tuple({NO_VALUE_RANK}, 0, '', ''), {quoted(kind)})"
    if name not in (*_PLAIN, *_HALVES):
        return nothing
    # Of two values of one span the one made from more records: an earlier one may have been stored before.
    span = "concat(span.id, '#', hex(bitNot(span.completed_weight)))"
    value = f"tuple(if(span.is_root, {_ROOT_RANK}, {_OTHER_RANK}), span.start_time, {span}, span.{name})"
    return f"if(has(span.completed, '{name}'), CAST({value}, {quoted(kind)}), {nothing})"
