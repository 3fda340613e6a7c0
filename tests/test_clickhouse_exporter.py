"""The ClickHouse exporter by the real driver: stores what the embedded store stores, and shows it once."""

import gc
import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from exporters.clickhouse_columns import columns, leading_rows, without_collections
from exporters.clickhouse_native import ClickHouseExporter
from exporters.clickhouse_sql import VIEWS
from pipelines.batch import Batch
from pipelines.errors import Permanent, Retryable
from pipelines.schema import MONEY, TABLES
from tests.support import chdb
from tests.support.certificates import Authority
from tests.support.clickhouse import count, exporter_at, lines, server
from tests.support.clickhouse_front import clickhouse_front
from tests.support.records import START_NS, from_rows, observations, scores, traces

_SPAN = {"project_id": "logs", "trace_id": "7" * 32}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """One server for the file; tests tell their rows from others' by project."""
    with server() as started:
        yield started


@pytest.fixture
def store(endpoint: str) -> Iterator[ClickHouseExporter]:
    """An open exporter."""
    with exporter_at(endpoint) as exporter:
        yield exporter


def _extremes() -> Batch:
    most = Decimal(10**MONEY.precision - 1).scaleb(-MONEY.scale)
    texts = ["", "\0", "a\nb\tc\\d'e\"f`", "\u2028 🙂 é", "x" * 1_000_000, "\\N", "NULL"]
    rows = [
        {
            "project_id": "extremes",
            "id": str(index),
            "input": text,
            "metadata": [("k" + text, text)],
            "tags": [text, ""],
            "tool_calls": [{"id": text, "name": "", "arguments": text}],
            "input_tokens": 2**64 - 1,
            "usage_details": [("total", 2**64 - 1)],
            "total_cost": -most,
            "cost_details": [("total", most)],
            "trace_flags": 2**32 - 1,
            "start_time": [0, -1, 1, 2**63 - 1, -(2**63), -(2**63) + 1, START_NS][index],
            "completion_start_time": 2**63 - 1,
        }
        for index, text in enumerate(texts)
    ]
    return from_rows("observations", rows)


def _contents() -> Batch:
    rows = [
        {
            **_SPAN,
            "observation_id": "8" * 16,
            "id": str(position),
            "position": position,
            "is_message": True,
            "name": "gen_ai.user.message",
            "input": f'[{{"role":"user","parts":[{{"type":"text","content":"{position}"}}]}}]',
            "metadata": [("told", "by a log record")],
            "body": [("content", "text")],
        }
        for position in (1, 2)
    ]
    return from_rows("contents", rows)


def _batches() -> list[Batch]:
    """Every kind, with empty and full nested values, values at the edges, and a span that log records complete."""
    span = from_rows("observations", [{**_SPAN, "id": "8" * 16, "type": "SPAN"}])
    empty = from_rows("traces", [{"project_id": "empty", "id": "t"}])
    return [observations(50), traces(50), scores(50), _extremes(), empty, _contents(), span]


def test_stores_the_same_rows_as_the_embedded_store(endpoint: str, tmp_path: Path) -> None:
    """Every kind, exported to both, reads back the same in every view, to the byte and the nanosecond."""
    queries = {view: f"{view} ORDER BY ALL" for view in VIEWS}
    with exporter_at(endpoint) as store:
        for batch in _batches():
            store.export(batch)
        served = {view: lines(store, rest) for view, rest in queries.items()}
    with chdb.opened(tmp_path / "chdb", ttl_days=0) as embedded:
        for batch in _batches():
            embedded.export(batch)
        ours = {
            view: [
                row["line"]
                for row in chdb.answer(
                    embedded, f"SELECT formatRowNoNewline('JSONCompactEachRow', *) AS line FROM {rest}"
                )
            ]
            for view, rest in queries.items()
        }

    sizes = {view: len(rows) for view, rows in served.items()}
    print("rows of each view, equal in both:", sizes)  # noqa: T201 - figures for who reads the log
    assert served == ours
    assert sizes["observations"] == 58
    assert [sizes[view] for view in ("traces", "scores", "contents")] == [52, 50, 2]
    assert min(sizes.values()) > 0


def test_log_records_complete_spans(store: ClickHouseExporter) -> None:
    """A span that comes after its log records shows what they told."""
    store.export(_contents())
    store.export(from_rows("observations", [{**_SPAN, "id": "9" * 16, "type": "SPAN"}]))
    store.export(from_rows("observations", [{**_SPAN, "id": "8" * 16, "type": "SPAN"}]))

    (row,) = lines(store, "observations WHERE project_id = 'logs' AND id = '8888888888888888'", "input, metadata")

    assert '\\"content\\":\\"1\\"' in row
    assert '\\"content\\":\\"2\\"' in row
    assert "by a log record" in row


def test_part_of_a_batch(store: ClickHouseExporter) -> None:
    """A batch that is a slice of a larger one stores its own rows, not the first ones."""
    rows = [{"project_id": "slice", "id": str(number), "tags": [str(number)] * number} for number in range(30)]
    whole = from_rows("observations", rows)
    store.export(Batch(whole.kind, whole.records.slice(7, 11), whole.received_at_ns))

    stored = lines(store, "observations WHERE project_id = 'slice' ORDER BY toUInt8(id)", "id, tags")

    quoted = [", ".join([f'"{number}"'] * number) for number in range(7, 18)]
    assert stored == [f'["{number}", [{tags.replace(", ", ",")}]]' for number, tags in enumerate(quoted, 7)]


def test_many_days_at_once(store: ClickHouseExporter) -> None:
    """Rows of more days than one INSERT may have are all stored, spans of 1970 and 2100 among them."""
    rows = [{"project_id": "days", "id": str(day), "start_time": day * 86_400 * 10**9} for day in (*range(250), 47_500)]
    random.Random(1).shuffle(rows)

    store.export(from_rows("observations", rows))

    assert count(store, "observations", "project_id = 'days'") == 251


def test_redelivery_shows_no_duplicate(store: ClickHouseExporter) -> None:
    """Blocks sent again, whole, in part and twice in one block, are counted once, their calls and costs too."""
    rows = from_rows(
        "observations",
        [
            {"project_id": "once", "trace_id": str(n), "id": str(n), "type": "GENERATION", "input_tokens": 3}
            for n in range(200)
        ],
    ).records
    doubled = pa.Table.from_batches([rows, rows]).combine_chunks().to_batches()[0]
    for records in (rows, rows, rows.slice(50, 100), doubled):
        store.export(Batch("observations", records, START_NS))

    assert count(store, "observations", "project_id = 'once'") == 200
    (usage,) = lines(store, "model_usage WHERE project_id = 'once'", "model_call_count, input_tokens")
    print("200 rows sent 5 times each at most; shown:", usage)  # noqa: T201 - figures for who reads the log
    assert usage == "[200, 600]"


def test_encrypted(tmp_path: Path) -> None:
    """Over TLS rows are stored when the server's certificate is trusted, and nothing is sent when it is not."""
    authority = Authority(tmp_path / "ca")
    with clickhouse_front(authority.issue("server")) as front:
        with exporter_at(front.endpoint, tls={"ca_file": str(authority.file)}) as exporter:
            exporter.export(observations(3))
            assert count(exporter, "observations") == 3

        with pytest.raises(Retryable, match="certificate"), exporter_at(front.endpoint):
            pass


def test_empty_batch(store: ClickHouseExporter) -> None:
    """No rows are no error."""
    store.export(from_rows("observations", []))


def test_another_schema_is_refused(store: ClickHouseExporter) -> None:
    """Rows of another version's schema can never be stored, and the message says so."""
    records = observations(1).records.drop_columns(["model"])

    with pytest.raises(Permanent, match="another schema"):
        store.export(Batch("observations", records, START_NS))


def test_columns_are_what_arrow_holds() -> None:
    """Every kind becomes the values that Arrow holds, times as nanoseconds, maps as dictionaries, tuples in order."""
    batch = observations(9)
    table = TABLES["observations"]
    sent = dict(zip(table.arrow_schema.names, columns(batch.records.slice(3, 2)), strict=True))

    assert sent["id"] == [f"{3:016x}", f"{4:016x}"]
    assert sent["start_time"] == [START_NS + 3_000_000, START_NS + 4_000_000]
    assert sent["model_parameters"] == [{"temperature": "0.7", "max_tokens": "1024"}] * 2
    assert sent["tool_calls"] == [[(f"call-{n}", "weather", '{"city":"Paris"}')] for n in (3, 4)]
    assert sent["events"] == [[(START_NS + n * 1_000_000 + 5, "chunk", {"n": "1"})] for n in (3, 4)]
    assert sent["completion_start_time"] == [START_NS + 3_001_000, None]


def test_dense_rows_are_taken_in_portions() -> None:
    """Everyday rows are taken all at once, rows of very many values some at a time, and a row alone is always taken."""
    tags = ["t"] * 1_000_000
    dense = from_rows("observations", [{"tags": tags, "metadata": {"a": "b"}} for _ in range(6)]).records
    huge = from_rows("observations", [{"tags": tags * 5}]).records

    assert leading_rows(observations(500).records) == 500
    assert (leading_rows(dense), leading_rows(dense.slice(3)), leading_rows(dense.slice(4))) == (3, 3, 2)
    assert (leading_rows(huge), leading_rows(huge.slice(1))) == (1, 0)


def _refuse_without_collections() -> None:
    with without_collections():
        assert not gc.isenabled()
        raise Permanent


def test_collections_go_on_afterwards() -> None:
    """Garbage collection rests during an insert only, and comes back when the insert fails too."""
    with pytest.raises(Permanent):
        _refuse_without_collections()

    assert gc.isenabled()


def test_columns_without_rows() -> None:
    """Nested columns of no rows, as a file may hold them, are empty lists."""
    for table in TABLES.values():
        records = pa.RecordBatch.from_pylist([], schema=table.arrow_schema)
        assert columns(records) == [[] for _ in table.columns]
