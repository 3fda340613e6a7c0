"""Writes docs/record.md from the schema.

`python -m pipelines.schema_docs` after a change to it; a test says when it is due.
"""

from pathlib import Path
from typing import Final

import pyarrow as pa

from pipelines.schema import TABLES, Column, Table

_PAGE: Final = Path(__file__).parent.parent / "docs" / "record.md"

_INTRODUCTION: Final = """\
# The record

<!-- Written by `python -m pipelines.schema_docs` from pipelines/schema.py. Change that. -->

What a query finds, whatever instrumentation sent the spans. Times are UTC with nanoseconds. Query the views
`observations`, `traces`, `scores`, `contents`, `trace_totals`, `model_usage` and `model_calls`;
`otlp-receiver schema sql` prints all statements.

## How the views merge

- **observations, scores**: rows are inserted into `observation_rows` and `score_rows` (ReplacingMergeTree). A span that
  is delivered again replaces itself, and the view reads `FINAL`, so that `SELECT count()` never counts a copy. Copies
  are told by project, trace and span id and start at the same time; of two the one taken in later stays.
- **contents**: GenAI events that came as log records, in `content_rows`, each once. What they say of a span is in its
  row of `observations` too, as soon as both have come: input, output, tool calls and whatever else the span lacks. What
  a span says itself stays; its type, model and usage are completed only where it is no model call itself.
- **traces**: every batch inserts partial rows into `trace_rows` (AggregatingMergeTree), one for each trace that it has
  spans of. They merge by idempotent, commutative aggregates only: earliest `timestamp`, latest `end_time`, union of
  `tags`, and for the rest the value with the smallest (rank, time, span id), rank 0 being what the application said of
  the trace, then the root span, then any other. So order, splitting and repetition of the spans change nothing. The
  view shows the values alone; text is empty where no span had a value.
- **trace_totals**: sums per trace, made when read: `project_id`, `trace_id`, `start_time`, `end_time`,
  `latency_seconds`, `observation_count`, `model_call_count`, `error_count`, `input_tokens`, `output_tokens`,
  `total_tokens`, `total_cost`. Tokens and cost are those of model calls (GENERATION, EMBEDDING, RERANKER), each counted
  once: see below. They are NULL when no call told them.
- **model_usage**: tokens and cost over model calls, a row per `project_id`, `day` (UTC), `provider` and `model`:
  `model_call_count`, `input_tokens`, `output_tokens`, `total_tokens`, `total_cost`. It reads one stored key in place of
  four columns.
- **model_calls**: what these two sum: calls as rows of `sign` 1, and as rows of `sign` -1 what was counted twice.

## What counts once

Every span stays in `observations`. Of spans that report one model call one counts, in `trace_totals` and `model_usage`:

- What is no model call by its type (agents, chains, SDK wrappers) is not counted, whatever tokens it repeats.
- **Equal `response_id`** in one project and day, in one trace or in two: one call. The span with usage counts, then an
  instrumentor's before the provider SDK's own, then one with a cost, then the innermost.
- **Parent and child** of the same model and usage: one call, the child counts. Models are the same when they differ by
  a prefix (`openai/`), a date or case, or when one is unknown. A cost that only the parent has is kept.
- Parent and child of which one has no usage: one call, with the usage of the other. A parent with several such children
  is as many calls as it has children.

The server fills two narrow tables for this from what is inserted into `observation_rows`: `call_rows` and
`call_parent_rows`. Limits: decision [0005](decisions/0005-counting-calls-once.md).

Rows expire a number of days (`ttl_days`) after they were stored, whatever their own time says. A condition on
`start_time` makes `observations` read those days only (on a server of one's own: with the setting
`defer_partition_pruning_after_final = 0`); one on `project_id` and the trace id reads one trace.

## Types

Arrow types are those of the batches inside the service; ClickHouse types those of the stored tables. `ranked` is
`struct<rank: uint8, time: timestamp[ns, UTC], span: string, value: string>`, with the smallest kept.
"""


def docs_record_markdown() -> str:
    """The page docs/record.md."""
    return "\n".join([_INTRODUCTION, *map(_section, TABLES.values())])


def _section(table: Table) -> str:
    storage = f"{table.engine}, ordered by ({', '.join(table.order_by)}), partitioned by `{table.partition_by}`"
    facts = [
        f"## {table.kind}",
        "",
        table.doc,
        "",
        f"Stored as `{table.stored_as}`: {storage}.",
        "",
        "| column | what | Arrow | ClickHouse |",
        "|---|---|---|---|",
    ]
    return "\n".join([*facts, *map(_row, table.columns), ""])


def _row(column: Column) -> str:
    cells = (f"`{column.name}`", column.doc, f"`{_arrow(column.arrow)}`", f"`{_clickhouse(column.clickhouse)}`")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _arrow(kind: pa.DataType) -> str:
    """The type as Arrow prints it, with names of fields only where they say something."""
    text = str(kind).replace("list<item: ", "list<").replace(", tz=UTC", ", UTC")
    return text.replace(_RANKED_MEMBERS, "ranked") if _RANKED_MEMBERS in text else text


_RANKED_MEMBERS: Final = "struct<rank: uint8, time: timestamp[ns, UTC], span: string, value: string>"


def _clickhouse(kind: str) -> str:
    ranked = "Tuple(rank UInt8, time DateTime64(9, 'UTC'), span String, value String)"
    return kind.replace(ranked, "ranked")


def main() -> None:
    """Write the page."""
    _PAGE.write_text(docs_record_markdown(), "utf-8")


if __name__ == "__main__":
    main()
