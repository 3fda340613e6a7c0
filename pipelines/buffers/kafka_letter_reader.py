"""The dead letters of a topic, read as people work with them: without a group, from the first message to the last."""

import heapq
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
from kafka import KafkaConsumer, TopicPartition

from config.kafka import KafkaBufferSettings
from pipelines.batch import Batch
from pipelines.buffers.kafka_client import connection, named_errors, require_reachable, start
from pipelines.buffers.kafka_dead_letters import DELETED, MARK, REPLAYED
from pipelines.buffers.kafka_messages import Message
from pipelines.buffers.kafka_producer import Producer
from pipelines.buffers.kafka_topics import dead_letters_topic
from pipelines.dead_letters import DAMAGED, DeadLetter, Summary
from pipelines.errors import Permanent, Retryable
from pipelines.schema import TABLES

_MOST_LETTERS: Final = 100_000  # the newest; bounds what a list holds in memory
_POLL_MS: Final = 500
_POLL_RECORDS: Final = 64
_FETCH_BYTES: Final = 16 << 20  # compressed
_ANSWER_MS: Final = 5_000
_SILENCE_SECONDS: Final = 15.0


@dataclass(slots=True)
class _Found:
    """What was read of one letter so far.

    Attributes:
        headers: of its first message.
        parts: their contents by number, empty where only the number counts.
    """

    headers: Mapping[str, str]
    parts: dict[int, bytes] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether all parts are there: one that is not was written again, under another name."""
        return len(self.parts) == _number(self.headers, "parts")


class DeadLetterTopic:
    """Implements `pipelines.dead_letters.DeadLetterStore` on the topic that `TopicDeadLetters` writes."""

    def __init__(self, settings: KafkaBufferSettings) -> None:
        self._settings = settings
        self._topic = dead_letters_topic(settings)
        self._producer = Producer(settings)

    @property
    def where(self) -> str:
        """See `DeadLetterStore.where`."""
        return f"topic {self._topic} at {', '.join(self._settings.brokers)}"

    def place(self, name: str) -> str:
        """See `DeadLetterStore.place`."""
        return f"topic {self._topic}, key {name}"

    def summaries(self) -> list[Summary]:
        """See `DeadLetterStore.summaries`; reads the whole topic, since Kafka gives no headers alone."""
        letters: dict[str, _Found] = {}
        marks: dict[str, str] = {}
        for name, headers, _ in self._messages():
            if MARK in headers:
                marks[name] = headers[MARK]
            else:
                letters.setdefault(name, _Found(headers)).parts[_number(headers, "part")] = b""
            if len(letters) > 2 * _MOST_LETTERS:
                letters = dict(heapq.nlargest(_MOST_LETTERS, letters.items(), key=_time_ns))
        shown = [
            _summary(name, found.headers, was_replayed=marks.get(name) == REPLAYED)
            for name, found in sorted(letters.items(), key=_time_ns, reverse=True)
            if found.is_whole and marks.get(name) != DELETED
        ]
        return shown[:_MOST_LETTERS]

    def read_all(self, names: Collection[str]) -> Iterator[tuple[str, DeadLetter]]:
        """See `DeadLetterStore.read_all`; one pass over the topic."""
        wanted = set(names)
        letters: dict[str, _Found] = {}
        for name, headers, value in self._messages() if wanted else ():
            if name in wanted and MARK not in headers:
                found = letters.setdefault(name, _Found(headers))
                found.parts[_number(headers, "part")] = value
                if found.is_whole:
                    wanted.remove(name)
                    yield name, _letter(letters.pop(name))
            if not wanted:
                return
        if wanted:
            raise Permanent(f"{self.place(min(wanted))}: there is no such dead letter; Kafka deletes them by time")

    def mark_replayed(self, name: str) -> None:
        """See `DeadLetterStore.mark_replayed`."""
        self._mark(name, REPLAYED)

    def delete(self, name: str) -> None:
        """See `DeadLetterStore.delete`; the messages stay in Kafka until it deletes them by time."""
        self._mark(name, DELETED)

    def close(self) -> None:
        """See `DeadLetterStore.close`."""
        self._producer.close()

    def _mark(self, name: str, mark: str) -> None:
        headers = [(MARK, mark.encode()), ("time_ns", b"%d" % time.time_ns())]
        self._producer.send([(self._topic, Message(b"", name.encode(), headers))])

    def _messages(self) -> Iterator[tuple[str, dict[str, str], bytes]]:
        """Key, headers and value of all messages that are in the topic now, in the order of each partition."""
        require_reachable(self._settings)
        with (
            named_errors(self._settings, f"reading {self._topic}"),
            closing(start(KafkaConsumer, _options(self._settings))) as client,
        ):
            for record in self._records(client):
                headers = {key: (value or b"").decode("utf-8", "replace") for key, value in record.headers}
                yield (record.key or b"").decode("utf-8", "replace"), headers, record.value or b""

    def _records(self, client: Any) -> Iterator[Any]:
        partitions = [TopicPartition(self._topic, number) for number in client.partitions_for_topic(self._topic) or ()]
        if not partitions:
            raise Permanent(f"{self.where} does not exist; is this the configuration that the service runs with?")
        client.assign(partitions)
        client.seek_to_beginning(*partitions)
        ends = client.end_offsets(partitions, timeout_ms=_ANSWER_MS)
        deadline = time.monotonic() + _SILENCE_SECONDS
        while any((client.position(each, timeout_ms=_ANSWER_MS) or 0) < ends[each] for each in partitions):
            fetched = client.poll(timeout_ms=_POLL_MS)
            if fetched:
                deadline = time.monotonic() + _SILENCE_SECONDS
            elif time.monotonic() > deadline:
                raise Retryable(f"{self.where} gave nothing for {_SILENCE_SECONDS:.0f} s; are its brokers well?")
            for records in fetched.values():
                yield from records
                deadline = time.monotonic() + _SILENCE_SECONDS  # whoever we give them to may take long


def _time_ns(item: tuple[str, _Found]) -> int:
    return _number(item[1].headers, "time_ns")


def _number(headers: Mapping[str, str], name: str) -> int:
    """A header as number, 0 for what is none: anybody may have written the message."""
    text = headers.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 19 else 0  # noqa: PLR2004 - digits of 2**63


def _summary(name: str, headers: Mapping[str, str], *, was_replayed: bool) -> Summary:
    return Summary(
        name,
        headers.get("kind", DAMAGED),
        _number(headers, "rows"),
        headers.get("reason", ""),
        headers.get("origin", ""),
        _number(headers, "time_ns"),
        was_replayed,
    )


def _letter(found: _Found) -> DeadLetter:
    headers, reason = found.headers, found.headers.get("reason", "")
    value = b"".join(found.parts[number] for number in sorted(found.parts))
    content: Batch | bytes = value
    for kind in TABLES:
        if kind == headers.get("kind"):
            try:
                content = Batch(kind, _rows(value), _number(headers, "received_at_ns"))
            except (pa.ArrowException, OSError, ValueError) as error:
                reason = f"{reason}\nits rows cannot be read any more: {error}"
            break
    return DeadLetter(content, reason, headers.get("origin", ""), _number(headers, "time_ns"))


def _rows(value: bytes) -> pa.RecordBatch:
    with pa.ipc.open_stream(value) as reader:
        (batch,) = reader.read_all().combine_chunks().to_batches()
    batch.validate(full=True)
    return batch


def _options(settings: KafkaBufferSettings) -> dict[str, Any]:
    return {
        **connection(settings),
        "group_id": None,
        "enable_auto_commit": False,
        "allow_auto_create_topics": False,
        "max_poll_records": _POLL_RECORDS,
        "fetch_max_bytes": _FETCH_BYTES,
        "max_partition_fetch_bytes": max(1 << 20, settings.max_message_bytes),
        "metrics_enabled": False,
    }
