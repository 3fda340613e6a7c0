"""Dead letters in a topic of real Apache Kafka, as people work with them: listed, read, replayed, deleted."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from config.kafka import KafkaBufferSettings
from pipelines.batch import Batch
from pipelines.buffers.kafka import KafkaBuffer
from pipelines.buffers.kafka_letter_reader import DeadLetterTopic
from pipelines.buffers.kafka_messages import Message
from pipelines.errors import Permanent, Retryable
from pipelines.replay import Replayed, replay
from tests.support.buffers import moved
from tests.support.kafka import LEAVES_SOCKETS, brokers, kafka_buffer, kafka_settings
from tests.support.records import ids, observations, scores
from tests.support.service import free_ports
from tests.support.waiting import wait_until

pytestmark = LEAVES_SOCKETS


@pytest.fixture(scope="module")
def addresses() -> Iterator[list[str]]:
    """Brokers that nobody kills."""
    with brokers() as found:
        yield found


@contextmanager
def _topic(settings: dict[str, Any]) -> Iterator[DeadLetterTopic]:
    with closing(DeadLetterTopic(KafkaBufferSettings.model_validate(settings))) as letters:
        yield letters


def test_letters_come_back_as_they_were(addresses: list[str]) -> None:
    """Rows of many messages and bytes alike, newest first, with reason, origin and time."""
    settings = kafka_settings(addresses, max_message_bytes=65536)
    large = observations(500, received_at_ns=5)
    with kafka_buffer(settings) as buffer, _topic(settings) as letters:
        assert letters.summaries() == []
        before_ns = time.time_ns()
        first = buffer.dead_letters.write(large, "no place — ✗", "clickhouse")
        second = buffer.dead_letters.write(b"\x00garbage", "é" * 5000, "file/b")

        shown = letters.summaries()
        read = dict(letters.read_all([first, second]))

    assert [(each.name, each.kind, each.rows, each.origin) for each in shown] == [
        (second, "raw", 0, "file/b"),
        (first, "observations", 500, "clickhouse"),
    ]
    assert shown[1].reason == "no place — ✗"
    assert shown[0].reason.startswith("ééé")
    assert before_ns <= shown[1].time_ns <= shown[0].time_ns
    content = read[first].content
    assert isinstance(content, Batch)
    assert content == large
    assert read[second].content == b"\x00garbage"


def test_marks_are_understood(addresses: list[str]) -> None:
    """What was replayed says so, what was deleted is shown no more, and both survive in the topic itself."""
    settings = kafka_settings(addresses, partitions=3)
    with kafka_buffer(settings) as buffer, _topic(settings) as letters:
        names = [buffer.dead_letters.write(scores(1, first=number), str(number), "x") for number in range(6)]
        letters.mark_replayed(names[0])
        letters.mark_replayed(names[1])
        letters.delete(names[1])
        letters.delete(names[2])
    with _topic(settings) as letters:
        shown = {each.name: each.was_replayed for each in letters.summaries()}
        ((_, letter),) = letters.read_all([names[0]])
    assert shown == {names[5]: False, names[4]: False, names[3]: False, names[0]: True}
    assert letter.content == scores(1)


def test_a_list_is_bounded(addresses: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more letters than a list can hold the newest are shown, from whatever partition."""
    monkeypatch.setattr("pipelines.buffers.kafka_letter_reader._MOST_LETTERS", 3)
    settings = kafka_settings(addresses, partitions=3)
    with kafka_buffer(settings) as buffer, _topic(settings) as letters:
        names = [buffer.dead_letters.write(b"x", str(number), "x") for number in range(20)]
        assert [each.name for each in letters.summaries()] == names[:-4:-1]


def test_what_others_wrote_costs_nothing(addresses: list[str]) -> None:
    """Letters that were cut short and foreign messages are not shown; rows that cannot be read come as bytes."""
    settings = kafka_settings(addresses, max_message_bytes=65536)
    with kafka_buffer(settings) as buffer, _topic(settings) as letters:
        topic = buffer.dead_letters.topic
        _, cut_short = buffer.dead_letters.letter(observations(500), "cut", "x")
        damaged, ((_, sound),) = buffer.dead_letters.letter(scores(1), "damaged", "x")
        foreign = [
            Message(b"x", None, []),
            Message(b"x", b"\xff", [("parts", b"\xff"), ("part", b"-1"), ("time_ns", b"9" * 40)]),
            Message(b"not Arrow", sound.key, sound.headers),
        ]
        buffer._producer.send([*cut_short[:-1], *((topic, message) for message in foreign)])
        whole = buffer.dead_letters.write(scores(2), "whole", "x")

        assert [each.name for each in letters.summaries()] == [whole, damaged]
        ((_, letter),) = letters.read_all([damaged])
        assert letter.content == b"not Arrow"
        assert "its rows cannot be read any more" in letter.reason


def test_rows_are_replayed_through_the_topic(addresses: list[str]) -> None:
    """One pass over the letters puts all their rows into the records' topic, and marks them."""
    settings = kafka_settings(addresses, max_message_bytes=65536)
    with kafka_buffer(settings, "store") as buffer, _topic(settings) as letters:
        names = [buffer.dead_letters.write(observations(200, first=200 * n), "bad", "x") for n in range(3)]

        outcomes = sorted(replay(letters, names, buffer), key=lambda each: names.index(each.name))

        assert outcomes == [Replayed(name, 200) for name in names]
        assert all(each.was_replayed for each in letters.summaries())
        assert sorted(ids(_all_rows(buffer, 600))) == ids([observations(600)])


def _all_rows(buffer: KafkaBuffer, count: int) -> list[Batch]:
    found: list[Batch] = []

    def are_all_there() -> bool:
        found.extend(moved(buffer, "store"))
        return sum(batch.rows for batch in found) >= count

    wait_until(are_all_there, 60)
    return found


def test_what_is_not_there_is_named(addresses: list[str]) -> None:
    """A letter that Kafka has deleted, a topic that nobody made, brokers that do not answer: each with its place."""
    settings = kafka_settings(addresses)
    with (
        kafka_buffer(settings),
        _topic(settings) as letters,
        pytest.raises(Permanent, match="key gone: there is no such"),
    ):
        list(letters.read_all(["gone"]))
    with (
        _topic({**settings, "topic": "nobody"}) as letters,
        pytest.raises(Permanent, match=r"nobody\.dead_letters at "),
    ):
        letters.summaries()
    away = f"127.0.0.1:{free_ports(1)[0]}"
    with _topic({**settings, "brokers": [away]}) as letters, pytest.raises(Retryable, match=away):
        letters.summaries()
