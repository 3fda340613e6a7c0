"""What a person waits for: a trace by id, a list page, cost per model and day, on ten million observations.

The rows are made inside ClickHouse from a seed of mapped chat spans: other ids, other times over thirty days.
"""

import os
import random
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.measure import Figure, Report, percentile
from benchmarks.payloads import Generator
from benchmarks.stages import map_requests, mapped_batches
from config.models import ChdbExporterSettings
from pipelines.ingest import Request

if TYPE_CHECKING:
    from collections.abc import Callable

_ROWS: Final = int(os.environ.get("BENCH_QUERY_ROWS", "10000000"))
_SEED_ROWS: Final = 8192
_DAYS: Final = 30
_REPEATS: Final = 40
_MERGES_SECONDS: Final = 120
_COUNTING: Final = ("call_rows", "call_parent_rows")
_COPIES_AT_ONCE: Final = 16

# New ids per copy, the same for all rows of a trace; times moved by a part of the thirty days. No `if` around
# a copy's number: the engine then takes one number for all of a block.
_COPY: Final = """
INSERT INTO {table} ({columns})
SELECT {expressions} FROM {table}_seed CROSS JOIN (SELECT number AS copy FROM numbers({first}, {count})) AS copies
SETTINGS max_insert_threads = 2
"""
_TRACE_ID: Final = "lower(hex(sipHash128({column}, copy)))"
_RESPONSE_ID: Final = "lower(hex(sipHash128(trace_id, id, copy)))"  # spans that share one are one call
_SPAN_ID: Final = "substring(lower(hex(sipHash64({column}, copy))), 1, length({column}))"  # of none, none
_SHIFT: Final = "toIntervalSecond(intDiv(copy * {seconds}, {copies}))"


def queries_stage(report: Report) -> None:
    """Median and p95 of each query over different traces and windows, warm."""
    from exporters.chdb_store import ChdbExporter

    with tempfile.TemporaryDirectory() as directory:
        exporter = ChdbExporter("chdb", ChdbExporterSettings(path=f"{directory}/chdb", ttl_days=0))
        exporter.open()
        try:
            connection = _connection(exporter)
            for batch in mapped_batches("chat", _SEED_ROWS):
                exporter.export(batch)
            began = time.perf_counter()
            _multiply(connection)
            filled_seconds = time.perf_counter() - began
            rows = int(_run(connection, "SELECT count() FROM observations"))
            size_gb = _size_bytes(Path(directory)) / 1e9
            what = f"{rows:,} observations of {_DAYS} days"
            report.add("queries", Figure(what, f"made in {filled_seconds:.0f} s, {size_gb:.1f} GB on disk"))
            with closing(exporter.reader({})) as reader:  # what a person's query gets
                _measure(report, reader)
        finally:
            exporter.close()


def storage_stage(report: Report) -> None:
    """Bytes on disk against OTLP bytes received: agents that send their instructions and history with every step."""
    from exporters.chdb_store import ChdbExporter

    with tempfile.TemporaryDirectory() as directory:
        exporter = ChdbExporter("chdb", ChdbExporterSettings(path=f"{directory}/chdb", ttl_days=0))
        exporter.open()
        try:
            generator, received_bytes = Generator(), 0  # one application: its agents share words and instructions
            for _ in range(8):
                body = generator.request("agent", 4096)
                received_bytes += len(body)
                for batch in map_requests([Request(body, "protobuf", "default", time.time_ns())]):
                    exporter.export(batch)
            sql = "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase()"
            ratio = received_bytes / int(_run(_connection(exporter), sql))
        finally:
            exporter.close()
    beside = f"{received_bytes / 1e6:,.0f} MB of OTLP in 32,768 spans"
    report.add("storage", Figure("agents, eight steps a trace: stored size", f"1:{ratio:.1f}", beside, "1:10"))


def _connection(exporter: Any) -> Any:
    import chdb

    from exporters.chdb_store import DATABASE

    connection = chdb.connect(exporter.settings.path)  # type: ignore[no-untyped-call]  # the package lacks annotations
    connection.query(f"USE {DATABASE}")
    return connection


def _run(connection: Any, sql: str) -> str:
    return str(connection.query(sql, "TSV").bytes().decode()).strip()


def _multiply(connection: Any) -> None:
    copies = _ROWS // _SEED_ROWS
    for table, ids in (("observation_rows", ("id", "parent_observation_id")), ("trace_rows", ())):
        _run(connection, f"CREATE TABLE {table}_seed AS {table}")
        _run(connection, f"INSERT INTO {table}_seed SELECT * FROM {table}")
        for seeded in (table, *(_COUNTING if ids else ())):
            _run(connection, f"TRUNCATE TABLE {seeded}")
        where = f"database = currentDatabase() AND table = '{table}' AND default_kind != 'MATERIALIZED'"
        columns = _run(connection, f"SELECT name FROM system.columns WHERE {where} ORDER BY position").split("\n")
        expressions = ", ".join(_expression(table, column, ids, copies) for column in columns)
        for first in range(0, copies, _COPIES_AT_ONCE):
            count = min(_COPIES_AT_ONCE, copies - first)
            _run(connection, _COPY.format(table=table, columns=", ".join(columns), expressions=expressions,
                                          first=first, count=count))  # fmt: skip
        _run(connection, f"DROP TABLE {table}_seed")
    _merge_past_days(connection)


def _merge_past_days(connection: Any) -> None:
    """What the tables' `min_age_to_force_merge_seconds` does to every past day within hours."""
    for table in ("observation_rows", *_COUNTING):
        partitions = _run(
            connection,
            f"SELECT DISTINCT partition_id FROM system.parts WHERE table = '{table}' AND active ORDER BY partition_id",
        ).split("\n")
        for partition in partitions[:-1]:
            _run(connection, f"OPTIMIZE TABLE {table} PARTITION ID '{partition}' FINAL")


def _expression(table: str, column: str, ids: tuple[str, ...], copies: int) -> str:
    shift = _SHIFT.format(seconds=_DAYS * 86400, copies=copies)
    if column == "trace_id" or (table == "trace_rows" and column == "id"):
        return _TRACE_ID.format(column=column)
    if column == "response_id":
        return _RESPONSE_ID
    if column == "type" and ids:
        return "if(parent_observation_id = '', 'AGENT', type)"  # what eight model calls in a row hang under
    if column in ids:
        return _SPAN_ID.format(column=column)
    if column in ("start_time", "end_time", "timestamp"):
        return f"{column} - {shift}"
    return column


def questions(connection: Any, days: int) -> "dict[str, Callable[[], str]]":
    """What is asked, by name, each time of another trace or another of the last `days` days."""
    sample = _run(connection, "SELECT id FROM trace_rows ORDER BY cityHash64(id) LIMIT 64").split("\n")
    chance = random.Random(1)

    def day() -> str:
        return f"toDateTime(now() - {chance.randrange(1, days) * 86400})"

    return {
        "trace by id": lambda: f"SELECT * FROM observations WHERE trace_id = '{chance.choice(sample)}' FORMAT Null",
        "list page": lambda: _LIST_PAGE.format(until=day()),
        "cost per model and day": lambda: _PER_MODEL,
        "the same, summed over observations": lambda: _PER_MODEL_PLAIN,
    }


def _measure(report: Report, connection: Any) -> None:
    queries = questions(connection, _DAYS)
    _wait_for_merges(connection)
    for name, make in queries.items():
        _run(connection, make())  # warm
        times = [_seconds(connection, make()) for _ in range(_REPEATS)]
        value = f"p50 {percentile(times, 0.5) * 1000:.0f} ms, p95 {percentile(times, 0.95) * 1000:.0f} ms"
        report.add("queries", Figure(name, value, "", "" if make() is _PER_MODEL_PLAIN else "p95 ≤ 500 ms"))


def _wait_for_merges(connection: Any) -> None:
    """What weeks of traffic would have left merged; it was made in minutes."""
    deadline = time.monotonic() + _MERGES_SECONDS
    while int(_run(connection, "SELECT count() FROM system.merges")) and time.monotonic() < deadline:
        time.sleep(1)


_LIST_PAGE: Final = """
WITH page AS (
    SELECT trace_id, max(start_time) AS latest FROM observations
    WHERE project_id = 'default' AND start_time BETWEEN {until} - INTERVAL 1 HOUR AND {until}
    GROUP BY trace_id ORDER BY latest DESC LIMIT 50
)
SELECT id, timestamp, name, user_id, session_id, total_tokens, total_cost, observation_count
FROM traces INNER JOIN trace_totals ON traces.id = trace_totals.trace_id
WHERE id IN (SELECT trace_id FROM page) AND trace_totals.trace_id IN (SELECT trace_id FROM page)
ORDER BY timestamp DESC FORMAT Null
"""
_PER_MODEL: Final = """
SELECT day, model, sum(total_cost), sum(total_tokens), sum(model_call_count)
FROM model_usage WHERE project_id = 'default'
GROUP BY day, model ORDER BY day, model FORMAT Null
"""
_PER_MODEL_PLAIN: Final = """
SELECT toDate(start_time) AS day, model, sum(total_cost), sum(total_tokens), count()
FROM observations WHERE project_id = 'default' AND type IN ('GENERATION', 'EMBEDDING', 'RERANKER')
GROUP BY day, model ORDER BY day, model FORMAT Null
"""


def _seconds(connection: Any, sql: str) -> float:
    began = time.perf_counter()
    _run(connection, sql)
    return time.perf_counter() - began


def _size_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
