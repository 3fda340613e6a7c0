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
`observations`, `traces`, `scores`, `trace_totals` and `model_usage`; `otlp-receiver schema sql` prints all statements.

## How the views merge

- **observations, scores**: rows are inserted into `observation_rows` and `score_rows` (ReplacingMergeTree). A span that
  is delivered again replaces itself, and the view reads `FINAL`, so that `SELECT count()` never counts a copy. Copies
  are told by project, trace and span id and start at the same time; of two the one taken in later stays.
- **traces**: every batch inserts partial rows into `trace_rows` (AggregatingMergeTree), one for each trace that it has
  spans of. They merge by idempotent, commutative aggregates only: earliest `timestamp`, latest `end_time`, union of
  `tags`, and for the rest the value with the smallest (rank, time, span id), rank 0 being what the application said of
  the trace, then the root span, then any other. So order, splitting and repetition of the spans change nothing. The
  view shows the values alone; text is empty where no span had a value.
- **trace_totals**: sums over `observations`, made when read: `project_id`, `trace_id`, `start_time`, `end_time`,
  `latency_seconds`, `observation_count`, `model_call_count`, `error_count`, `input_tokens`, `output_tokens`,
  `total_tokens`, `total_cost`. Tokens and cost are those of model calls (GENERATION, EMBEDDING, RERANKER): what agents,
  chains and wrappers repeat is not counted again. They are NULL when no call told them.
- **model_usage**: tokens and cost over model calls, a row per `project_id`, `day` (UTC), `provider` and `model`:
  `model_call_count`, `input_tokens`, `output_tokens`, `total_tokens`, `total_cost`. It reads one stored key in place of
  four columns: over millions of rows less than half the time of the same sums over `observations`.

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
