"""The Kafka buffer: ingest and export processes on any number of machines share one topic.

Position of an entry: number of rows that this process has read for the cursor up to and with it. A cursor is a
consumer group, so what is committed is known to Kafka alone and survives every process.
"""

import threading
from collections.abc import Collection, Sequence

import structlog

from config.kafka import KafkaBufferSettings
from pipelines.batch import Batch
from pipelines.buffers.base import Entry, Statistics
from pipelines.buffers.kafka_dead_letters import TopicDeadLetters
from pipelines.buffers.kafka_messages import Message, encode
from pipelines.buffers.kafka_producer import Producer
from pipelines.buffers.kafka_reader import Reader
from pipelines.buffers.kafka_topics import TopicWatch, dead_letters_topic, prepare_topics
from pipelines.errors import Permanent, Retryable

_log = structlog.get_logger("buffer")


class KafkaBuffer:
    """Implements `pipelines.buffers.Buffer` on a topic.

    Differs from it where Kafka does: an append that fails may have stored a part of its rows, which the sender's
    next attempt stores again, and sinks know again. Groups of exporters that are gone hold nothing back, since Kafka
    keeps records by time. Statistics are of the partitions that this process reads, in bytes that it holds in memory.
    """

    def __init__(self, settings: KafkaBufferSettings, name: str) -> None:
        self.name = name
        self._settings = settings
        self._producer = Producer(settings)
        self._watch = TopicWatch(settings)
        self.dead_letters = TopicDeadLetters(dead_letters_topic(settings), self._producer, settings.max_message_bytes)
        self._readers: dict[str, Reader] = {}
        self._prepare_lock = threading.Lock()
        self._is_prepared = False

    def open(self) -> None:
        """See `Buffer.open`; brokers that cannot be reached yet are no error, but looked for with each append."""
        try:
            self._prepare()
        except Retryable as error:
            _log.warning("Kafka cannot be reached yet; it is tried again.", buffer=self.name, error=str(error))

    def append(self, batches: Sequence[Batch]) -> None:
        """See `Buffer.append`."""
        settings = self._settings
        messages: list[tuple[str, Message]] = []
        for batch in batches:
            made, oversize = encode(batch, settings.encoding, settings.max_message_bytes, settings.compression)
            messages += [(settings.topic, message) for message in made]
            messages += [message for row in oversize for message in self._buried(row)]
        if messages:
            self._require_prepared()
            self._producer.send(messages)

    def check(self) -> None:
        """See `Buffer.check`."""
        self._require_prepared()
        self._watch.require_writable()

    def keep_cursors(self, cursors: Collection[str]) -> None:
        """See `Buffer.keep_cursors`."""
        for cursor in cursors:
            group = f"{self._settings.group_prefix}.{cursor}"
            self._readers.setdefault(cursor, Reader(self._settings, group))

    def read(self, cursor: str, max_rows: int, max_bytes: int, after: int | None = None) -> list[Entry]:
        """See `Buffer.read`."""
        self._require_prepared()
        return self._reader(cursor).read(max_rows, max_bytes, after or 0)

    def commit(self, cursor: str, position: int) -> None:
        """See `Buffer.commit`."""
        self._reader(cursor).commit(position)

    def statistics(self, cursor: str) -> Statistics:
        """See `Buffer.statistics`."""
        self._require_prepared()
        return self._reader(cursor).statistics()

    def close(self) -> None:
        """See `Buffer.close`."""
        for reader in self._readers.values():
            reader.close()
        self._watch.close()
        self._producer.close()

    def _reader(self, cursor: str) -> Reader:
        if cursor not in self._readers:
            raise KeyError(f"there is no cursor {cursor!r}: it must be among `keep_cursors`")
        return self._readers[cursor]

    def _prepare(self) -> None:
        with self._prepare_lock:
            if not self._is_prepared:
                prepare_topics(self._settings)
                self._is_prepared = True

    def _require_prepared(self) -> None:
        if not self._is_prepared:
            try:
                self._prepare()
            except Permanent as error:  # the service runs already; whoever reads this can still put it right
                raise Retryable(str(error)) from error

    def _buried(self, row: Batch) -> list[tuple[str, Message]]:
        """What is to be sent for a row that no message can hold."""
        reason = (
            f"a row of {row.size_bytes} bytes is larger than max_message_bytes ({self._settings.max_message_bytes}); "
            "a shortened one is stored in its place"
        )
        name, messages = self.dead_letters.letter(row, reason, self.name)
        _log.warning(
            "A row is too large for a message; a shortened one is stored and the whole is a dead letter.",
            buffer=self.name,
            kind=row.kind,
            row_bytes=row.size_bytes,
            place=self.dead_letters.place(name),
        )
        return messages
