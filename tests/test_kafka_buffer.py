"""The Kafka buffer against real Apache Kafka: what is appended is read, once it is committed never again."""

import io
import threading
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from kafka import KafkaConsumer, TopicPartition

from config.kafka import KafkaBufferSettings
from pipelines.batch import Batch
from pipelines.buffers import Corrupt, Entry
from pipelines.buffers.kafka import KafkaBuffer
from pipelines.buffers.kafka_messages import Message
from pipelines.errors import Permanent, Retryable
from tests.support.buffers import ALL, batches
from tests.support.kafka import LEAVES_SOCKETS, brokers, kafka_buffer, kafka_settings
from tests.support.records import from_rows, ids, observations, scores, traces
from tests.support.waiting import wait_until

pytestmark = LEAVES_SOCKETS
KINDS = (observations(30), traces(5), scores(5), from_rows("contents", [{}, {}]))


@pytest.fixture(scope="module")
def addresses() -> Iterator[list[str]]:
    """Brokers for the tests that kill none."""
    with brokers() as given:
        yield given


def entries_of(buffer: KafkaBuffer, cursor: str, rows: int) -> list[Entry]:
    """The entries of a cursor once they hold so many rows."""
    entries: list[Entry] = []

    def has_all() -> bool:
        entries[:] = buffer.read(cursor, *ALL)
        return sum(entry.rows for entry in entries) >= rows

    wait_until(has_all, 60)
    return entries


def messages_of(settings: dict[str, Any], topic: str) -> list[Any]:
    """Every message of a topic, as another consumer sees it."""
    reader = KafkaConsumer(bootstrap_servers=settings["brokers"], auto_offset_reset="earliest", group_id=None)
    try:
        places = [TopicPartition(topic, number) for number in reader.partitions_for_topic(topic)]
        reader.assign(places)
        count = sum(reader.end_offsets(places).values())
        found: list[Any] = []
        while len(found) < count:
            found += [message for several in reader.poll(timeout_ms=1000).values() for message in several]
        return found
    finally:
        reader.close()


def table(batches_of_kind: list[Batch]) -> list[dict[str, Any]]:
    """Rows in the order of their ids."""
    rows = pa.Table.from_batches([batch.records for batch in batches_of_kind])
    return sorted(({name: str(column) for name, column in row.items()} for row in _rows(rows)), key=str)


def _rows(rows: pa.Table) -> list[dict[str, Any]]:
    return [{name: rows.column(name)[index] for name in rows.column_names} for index in range(rows.num_rows)]


@pytest.mark.parametrize("compression", ["none", "gzip", "lz4", "zstd"])
@pytest.mark.parametrize("encoding", ["arrow", "json"])
def test_round_trip(addresses: list[str], encoding: str, compression: str) -> None:
    """Rows of every kind come back as they were, in either encoding and every compression."""
    settings = kafka_settings(addresses, encoding=encoding, compression=compression)
    with kafka_buffer(settings, "store") as buffer:
        buffer.append(KINDS)
        read = batches(entries_of(buffer, "store", sum(batch.rows for batch in KINDS)))
        for sent in KINDS:
            got = [batch for batch in read if batch.kind == sent.kind]
            assert table(got) == table([sent])
            assert {batch.received_at_ns for batch in got} == {sent.received_at_ns}


def test_every_cursor_reads_everything_until_it_commits(addresses: list[str]) -> None:
    """Exporters do not disturb each other; what one has committed it sees no more, also from another process."""
    settings = kafka_settings(addresses)
    with kafka_buffer(settings, "one", "two") as buffer:
        buffer.append([observations(10)])
        entries = entries_of(buffer, "one", 10)
        assert entries_of(buffer, "one", 10) == entries  # not committed: read again
        buffer.commit("one", entries[-1].position)
        assert buffer.read("one", *ALL) == []
        assert len(ids(batches(entries_of(buffer, "two", 10)))) == 10
    with kafka_buffer(settings, "one", "two") as buffer:
        buffer.append([observations(5, first=10)])
        assert ids(batches(entries_of(buffer, "one", 5))) == ids([observations(5, first=10)])
        assert len(ids(batches(entries_of(buffer, "two", 15)))) == 15


def test_statistics_tell_how_far_behind(addresses: list[str]) -> None:
    """Rows not committed are counted, with the time of the oldest; none are left after the commit."""
    with kafka_buffer(kafka_settings(addresses), "store") as buffer:
        assert buffer.statistics("store").rows_behind == 0
        buffer.append([observations(7, received_at_ns=123), observations(7, first=7, received_at_ns=99)])
        wait_until(lambda: buffer.statistics("store").rows_behind == 14)
        assert buffer.statistics("store").oldest_received_at_ns == 99
        buffer.commit("store", entries_of(buffer, "store", 14)[-1].position)
        wait_until(lambda: buffer.statistics("store").rows_behind == 0)


def test_large_batches_are_split(addresses: list[str]) -> None:
    """No message is larger than the limit, and no row is lost to it."""
    settings = kafka_settings(addresses, max_message_bytes=65536, compression="none")
    with kafka_buffer(settings, "store") as buffer:
        buffer.append([observations(300)])
        assert sorted(ids(batches(entries_of(buffer, "store", 300)))) == sorted(ids([observations(300)]))
    sizes = [len(message.value) for message in messages_of(settings, settings["topic"])]
    assert len(sizes) > 1
    assert max(sizes) <= 65536


@pytest.mark.parametrize("encoding", ["arrow", "json"])
def test_an_oversize_row_is_kept_whole_and_stored_short(addresses: list[str], encoding: str) -> None:
    """A row larger than any message is stored with its long texts cut, and lies whole in the dead-letter topic."""
    settings = kafka_settings(addresses, max_message_bytes=65536, encoding=encoding)
    large = observations(1, text_bytes=200_000)
    with kafka_buffer(settings, "store") as buffer:
        buffer.append([observations(3, first=1), large])
        read = batches(entries_of(buffer, "store", 4))
        assert sorted(ids(read)) == sorted(ids([observations(4)]))
        short = next(row for batch in read for row in batch.records.to_pylist() if row["id"] == ids([large])[0])
        assert "shortened" in short["input"]
        assert short["model"] == "gpt-5"
    parts = messages_of(settings, f"{settings['topic']}.dead_letters")
    assert len({part.key for part in parts}) == 1
    assert {dict(part.headers)["kind"] for part in parts} == {b"observations"}
    whole = pa.ipc.open_stream(io.BytesIO(b"".join(part.value for part in parts))).read_all()
    assert whole.to_batches()[0].equals(large.records)


def test_json_is_one_message_a_record_keyed_by_trace(addresses: list[str]) -> None:
    """Other consumers find plain JSON, the spans of a trace in one partition."""
    settings = kafka_settings(addresses, encoding="json")
    with kafka_buffer(settings) as buffer:
        buffer.append([observations(20)])
    found = messages_of(settings, settings["topic"])
    assert len(found) == 20
    assert {message.key.decode() for message in found} == {f"{number:032x}" for number in range(3)}
    for message in found:
        assert b'"trace_id":"' + message.key + b'"' in message.value
    assert len({(message.key, message.partition) for message in found}) == 3


def test_a_message_that_cannot_be_read_costs_no_other(addresses: list[str]) -> None:
    """Foreign or damaged messages come out as what they are, the rows around them as rows."""
    settings = kafka_settings(addresses, partitions=1)
    bad = [Message(b"not Arrow", None, [("kind", b"observations"), ("encoding", b"arrow")]), Message(b"{}", None, [])]
    with kafka_buffer(settings, "store") as buffer:
        buffer.append([observations(2)])
        buffer._producer.send((settings["topic"], message) for message in bad)
        buffer.append([observations(2, first=2)])
        entries = entries_of(buffer, "store", 6)
        corrupt = [entry.content for entry in entries if isinstance(entry.content, Corrupt)]
        assert [each.raw for each in corrupt] == [b"not Arrow", b"{}"]
        assert all(settings["topic"] in each.reason for each in corrupt)
        assert len(ids(batches([entry for entry in entries if isinstance(entry.content, Batch)]))) == 4


def test_two_readers_share_and_lose_nothing(addresses: list[str]) -> None:
    """While one member joins and leaves in the middle, every row is committed by someone, in at most a few copies."""
    settings = kafka_settings(addresses, partitions=4)
    total, stop = 400, threading.Event()
    done: list[str] = []

    def consume(until: threading.Event) -> None:
        with kafka_buffer(settings, "store") as buffer:
            while not (until.is_set() or stop.is_set()):
                entries = buffer.read("store", 20, 1 << 30)
                if entries:
                    done.extend(ids(batches(entries)))
                    try:
                        buffer.commit("store", entries[-1].position)
                    except Retryable:
                        continue  # a rebalance is under way: they are read again

    leaves = threading.Event()
    threads = [threading.Thread(target=consume, args=(each,)) for each in (threading.Event(), leaves)]
    with kafka_buffer(settings) as source:
        threads[0].start()
        for first in range(0, total, 10):
            source.append([observations(10, first=first, text_bytes=50)])
            if first == 100:
                threads[1].start()
            if first == 300:
                leaves.set()
        try:
            wait_until(lambda: len(set(done)) == total, 120)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert set(done) == set(ids([observations(total)]))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        pytest.param({"partitions": 8}, "partitions is 2, wanted is 8", id="partitions"),
        pytest.param({"replication_factor": 2}, "replication_factor is 1, wanted is 2", id="replicas"),
        pytest.param({"max_message_bytes": 5_000_000}, "max_message_bytes is 1000000", id="size"),
    ],
)
def test_a_topic_that_falls_short_is_refused(addresses: list[str], changed: dict[str, Any], said: str) -> None:
    """The service does not start on a topic that cannot keep the promise; the message says what and how to cure it."""
    settings = kafka_settings(addresses)
    with kafka_buffer(settings):
        pass
    with pytest.raises(Permanent, match=said) as caught, kafka_buffer({**settings, **changed}):
        pass
    assert settings["topic"] in str(caught.value)


def test_a_missing_topic_is_refused_where_it_may_not_be_made(addresses: list[str]) -> None:
    """`create_topics: false` leaves it to the operator, who is told."""
    with pytest.raises(Permanent, match="does not exist"), kafka_buffer(kafka_settings(addresses, create_topics=False)):
        pass


def test_more_replicas_than_brokers_are_refused(addresses: list[str]) -> None:
    """What the cluster has no room for is said at start, with the settings to change."""
    with (
        pytest.raises(Permanent, match="replication_factor"),
        kafka_buffer(kafka_settings(addresses, replication_factor=30, min_insync_replicas=2)),
    ):
        pass


def test_no_broker_is_an_answer_in_time() -> None:
    """Without Kafka the buffer opens, and an append is refused at once, to be sent again."""
    with kafka_buffer(kafka_settings(["127.0.0.1:1"])) as buffer, pytest.raises(Retryable, match="no Kafka broker"):
        buffer.append([observations(1)])


def test_settings_hide_the_password() -> None:
    """Whatever prints settings prints no password."""
    sasl = {"mechanism": "PLAIN", "username": "app", "password": "app-secret"}
    settings = KafkaBufferSettings.model_validate({"brokers": ["127.0.0.1:9092"], "sasl": sasl})
    assert "app-secret" not in f"{settings!r} {settings.model_dump_json()} {settings.model_dump(mode='json')}"
