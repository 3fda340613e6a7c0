"""The chDB exporter on real chDB: what is exported is stored, once, exactly, and survives."""

import itertools
import random
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings

from exporters.chdb_store import ChdbExporter
from pipelines.batch import Batch
from pipelines.errors import Permanent
from pipelines.schema import MONEY, NO_VALUE_RANK, OBSERVATIONS, RANKED, TABLES, TRACES
from tests.support.arrow_rows import table_rows
from tests.support.chdb import answer, arrow, opened, statement, value
from tests.support.records import START_NS, from_rows, observations, scores, traces
from tests.support.trace_merge import merged
from tests.support.trace_merge import value as merged_value

_MONTH_NS = 30 * 86_400 * 10**9
_RANKED_NAMES = [column.name for column in TRACES.columns if column.arrow == RANKED]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChdbExporter]:
    """One store for the file; tests tell their rows from others' by project."""
    with opened(tmp_path_factory.mktemp("exporter") / "chdb") as exporter:
        yield exporter


def _of(project: str, batch: Batch) -> Batch:
    """The same rows in another project."""
    index = batch.records.schema.get_field_index("project_id")
    column = pa.array([project] * batch.rows)
    records = batch.records.set_column(index, batch.records.schema.field(index), column)
    return Batch(batch.kind, records, batch.received_at_ns)


def _count(store: ChdbExporter, project: str, view: str = "observations") -> int:
    return int(value(store, f"SELECT count() FROM {view} WHERE project_id = '{project}'"))


class TestValues:
    """Nothing is changed on the way."""

    def test_every_column_comes_back(self, store: ChdbExporter) -> None:
        """All columns of observations and scores read as they were sent, maps, tuples, decimals and nanoseconds too."""
        for kind, batch in (("observations", observations(50)), ("scores", scores(50))):
            sent = _of("values", batch)
            store.export(sent)

            stored = arrow(store, f"SELECT * FROM {kind} WHERE project_id = 'values' ORDER BY id")

            assert table_rows(stored.cast(sent.records.schema)) == table_rows(sent.records)

    def test_extreme_values(self, store: ChdbExporter) -> None:
        """The largest and smallest of every kind, NUL, line breaks, emoji and nothing at all come back."""
        most = Decimal(10**MONEY.precision - 1).scaleb(-MONEY.scale)
        texts = ["", "\0", "a\nb\tc\\d'e\"f`", "\u2028 🙂 é", "x" * 1_000_000, "\\N", "NULL"]
        rows = [
            {
                "project_id": "extremes",
                "id": str(index),
                "input": text,
                "metadata": [("", text), (text, "")],
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
        sent = from_rows("observations", rows)
        store.export(sent)

        stored = arrow(store, "SELECT * FROM observations WHERE project_id = 'extremes' ORDER BY id")

        assert table_rows(stored.cast(sent.records.schema)) == table_rows(sent.records)

    def test_part_of_a_batch(self, store: ChdbExporter) -> None:
        """A batch that is a slice of a larger one stores its own rows, not the first ones."""
        whole = _of("slice", observations(100))
        part = Batch(whole.kind, whole.records.slice(37, 21), whole.received_at_ns)
        store.export(part)

        stored = arrow(store, "SELECT * FROM observations WHERE project_id = 'slice' ORDER BY id")

        assert table_rows(stored.cast(part.records.schema)) == table_rows(part.records)

    def test_many_days_at_once(self, store: ChdbExporter) -> None:
        """Rows of more days than one INSERT may have are all stored."""
        rows = [{"project_id": "days", "id": str(day), "start_time": day * 86_400 * 10**9} for day in range(250)]
        random.Random(1).shuffle(rows)

        store.export(from_rows("observations", rows))

        assert _count(store, "days") == 250

    def test_empty_batch(self, store: ChdbExporter) -> None:
        """No rows are no error."""
        store.export(from_rows("observations", []))

    def test_another_schema_is_refused(self, store: ChdbExporter) -> None:
        """Rows of another version's schema can never be stored, and the message says so."""
        records = observations(1).records.drop_columns(["model"])

        with pytest.raises(Permanent, match="another schema"):
            store.export(Batch("observations", records, START_NS))


class TestOnce:
    """Copies."""

    def test_plain_count_shows_no_copy(self, store: ChdbExporter) -> None:
        """Rows exported again, alone, overlapping and within one block, are counted once by a plain count()."""
        rows = _of("once", observations(200)).records
        doubled = pa.Table.from_batches([rows, rows]).combine_chunks().to_batches()[0]
        for records in (rows, rows, rows.slice(50, 100), doubled):
            store.export(Batch("observations", records, START_NS))
            assert _count(store, "once") == 200

        assert value(store, "SELECT uniqExact(id) FROM observations WHERE project_id = 'once'") == 200

    def test_scores_are_counted_once(self, store: ChdbExporter) -> None:
        """The same holds for scores."""
        for _ in range(3):
            store.export(_of("once", scores(20)))

        assert _count(store, "once", "scores") == 20

    def test_later_copy_stays(self, store: ChdbExporter) -> None:
        """Of two copies the one taken in later is shown, in whatever order they are exported."""
        for name, ingested in (("new", 2), ("old", 1)):
            row = {"project_id": "later", "id": "1", "name": name, "ingested_at": ingested}
            store.export(from_rows("observations", [row]))

        assert value(store, "SELECT name FROM observations WHERE project_id = 'later'") == "new"

    def test_merging_changes_nothing(self, store: ChdbExporter) -> None:
        """A merge of all parts leaves what is seen as it was."""
        for _ in range(2):
            store.export(_of("merge", observations(30)))
            store.export(_of("merge", traces(30)))
        queries = [
            f"SELECT * FROM {view} WHERE project_id = 'merge' ORDER BY id" for view in ("observations", "traces")
        ]
        before = [answer(store, query) for query in queries]

        for table in TABLES.values():
            statement(store, f"OPTIMIZE TABLE otel.{table.stored_as} FINAL")

        assert [answer(store, query) for query in queries] == before
        assert [len(rows) for rows in before] == [30, 30]


def _ranked(draw: Any) -> dict[str, Any]:
    rank = draw(st.sampled_from([0, 1, 2, NO_VALUE_RANK]))
    if rank == NO_VALUE_RANK:
        return {"rank": rank, "time": 0, "span": "", "value": ""}
    text = draw(st.sampled_from(["", "a", "b", "é", "true", "z" * 50]))
    return {"rank": rank, "time": draw(st.integers(0, 3)), "span": draw(st.sampled_from("12")), "value": text}


@st.composite
def _partial_rows(draw: Any) -> list[dict[str, Any]]:
    """Rows of up to three traces that contradict each other, some in different months."""
    rows = []
    for _ in range(draw(st.integers(1, 12))):
        start = START_NS + draw(st.integers(0, 2)) * _MONTH_NS + draw(st.integers(0, 5))
        rows.append(
            {
                "id": draw(st.sampled_from(["x", "y", "z"])),
                "timestamp": start,
                "end_time": start + draw(st.integers(0, 3)),
                "tags": draw(st.lists(st.sampled_from(["a", "b", "c"]), max_size=3, unique=True)),
                "metadata": {key: _ranked(draw) for key in draw(st.sets(st.sampled_from("kl")))},
                **{name: _ranked(draw) for name in _RANKED_NAMES},
            }
        )
    return rows


def _expected(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the view is to show, by the oracle that knows the schema's aggregates and nothing of SQL."""
    ranked = [name for name in _RANKED_NAMES if name != "public"]
    shown = []
    for (_, trace_id), trace in sorted(merged(rows).items()):
        shown.append(
            {
                "id": trace_id,
                "timestamp": trace["timestamp"],
                "end_time": trace["end_time"],
                **{name: merged_value(trace, name) for name in ranked},
                "public": merged_value(trace, "public") == "true",
                "tags": sorted(trace["tags"]),
                "metadata": {key: entry[-1].decode() for key, entry in trace["metadata"].items()},
            }
        )
    return shown


class TestTraces:
    """One trace from partial rows."""

    _numbers = iter(range(10**6))

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(rows=_partial_rows(), order=st.randoms(use_true_random=False), cuts=st.sets(st.integers(0, 12), max_size=3))
    def test_order_split_and_copies_do_not_matter(
        self, store: ChdbExporter, rows: list[dict[str, Any]], order: random.Random, cuts: set[int]
    ) -> None:
        """Partial rows in any order, split over any blocks, some twice, show the trace that the aggregates say."""
        project = f"traces {next(self._numbers)}"
        sent = [{"project_id": project, **row} for row in rows]
        shuffled = sent + order.sample(sent, k=len(sent) // 2)
        order.shuffle(shuffled)
        edges = [0, *sorted(cuts), len(shuffled)]
        for start, stop in itertools.pairwise(edges):
            store.export(from_rows("traces", shuffled[start:stop]))

        stored = arrow(store, f"SELECT * EXCEPT project_id FROM traces WHERE project_id = '{project}' ORDER BY id")

        assert table_rows(stored) == _expected(sent)

    def test_conditions_see_whole_traces(self, store: ChdbExporter) -> None:
        """Conditions, orders and limits apply to merged traces, not to partial rows."""
        choose = random.Random(7)
        rows = [
            {
                "project_id": "shapes",
                "id": f"t{choose.randrange(60)}",
                "timestamp": START_NS + choose.randrange(3) * _MONTH_NS + choose.randrange(1000),
                "end_time": START_NS + choose.randrange(4 * _MONTH_NS),
                "tags": [choose.choice("abc")],
                "metadata": {},
                **{name: _choice(choose) for name in _RANKED_NAMES},
            }
            for _ in range(400)
        ]
        for start in range(0, len(rows), 40):
            store.export(from_rows("traces", rows[start : start + 40]))
        whole = {row["id"]: row for row in _expected(rows)}
        late = START_NS + 2 * _MONTH_NS

        def ids(rest: str) -> list[str]:
            found = answer(store, f"SELECT id FROM traces WHERE project_id = 'shapes' {rest}")
            return [row["id"] for row in found]

        latest = sorted(whole, key=lambda key: (-whole[key]["timestamp"], key))
        assert ids("ORDER BY timestamp DESC, id LIMIT 10") == latest[:10]
        since = f"AND timestamp >= fromUnixTimestamp64Nano({late})"
        assert ids(f"{since} ORDER BY id") == sorted(key for key in whole if whole[key]["timestamp"] >= late)
        assert ids("AND name = 'v3' ORDER BY id") == sorted(key for key in whole if whole[key]["name"] == "v3")
        assert ids("AND hasAll(tags, ['a', 'b']) ORDER BY id") == sorted(
            key for key in whole if {"a", "b"} <= set(whole[key]["tags"])
        )
        shown = answer(
            store,
            "SELECT id, name, user_id, input FROM traces WHERE project_id = 'shapes' ORDER BY timestamp, id LIMIT 7",
        )
        first = sorted(whole, key=lambda key: (whole[key]["timestamp"], key))[:7]
        assert shown == [{name: whole[key][name] for name in ("id", "name", "user_id", "input")} for key in first]


def _choice(choose: random.Random) -> dict[str, Any]:
    number = choose.randrange(6)
    return {"rank": choose.randrange(3), "time": choose.randrange(3), "span": str(number), "value": f"v{number}"}


def test_every_column_can_be_queried_by_name(store: ChdbExporter) -> None:
    """Each column of the record stands in a query by its plain name."""
    store.export(_of("names", observations(1)))

    for column in OBSERVATIONS.columns:
        answer(
            store, f"SELECT {column.name} FROM observations WHERE project_id = 'names' AND {column.name} IS NOT NULL"
        )


def test_reader_keeps_its_limits(store: ChdbExporter) -> None:
    """A reader has the settings that it was made with, and cannot lay down that it only reads."""
    reader = store.reader({"max_execution_time": "7", "session_timezone": "Asia/Tokyo"})
    try:
        assert (
            b"7\tAsia/Tokyo\t1"
            in reader.query(
                "SELECT getSetting('max_execution_time'), timezone(), getSetting('readonly')", "TSV"
            ).bytes()
        )
        for forbidden in ("SET readonly = 0", "SET max_execution_time = 0", "INSERT INTO score_rows (id) VALUES ('x')"):
            with pytest.raises(RuntimeError, match=r"READONLY|ACCESS_DENIED"):
                reader.query(forbidden)
    finally:
        reader.close()


def test_inserts_are_durable(store: ChdbExporter) -> None:
    """The engine runs with fsync after each insert."""
    durable = answer(store, "SELECT name, value FROM system.merge_tree_settings WHERE name LIKE 'fsync%'")

    assert {row["name"]: row["value"] for row in durable} == {"fsync_after_insert": "1", "fsync_part_directory": "1"}
