"""Dead letters in a Kafka topic: for processes without a disk of their own.

A letter is an Arrow IPC stream, cut into as many messages as it needs, since what nothing could store may be larger
than any message. All have the letter's name as their key, and thus lie in one partition, in order. Kafka deletes by
time alone: what became of a letter is said by a later message with the same key and the header `mark`.
"""

import time
import uuid
from typing import Final

import pyarrow as pa

from pipelines.batch import Batch
from pipelines.buffers.kafka_messages import OVERHEAD_BYTES, Message
from pipelines.buffers.kafka_producer import Producer
from pipelines.dead_letters import RAW

MARK: Final = "mark"
"""Header of a message that says what became of a letter: its value is `REPLAYED` or `DELETED`."""
REPLAYED: Final = "replayed"
DELETED: Final = "deleted"

_LONGEST_REASON_BYTES: Final = 2048


class TopicDeadLetters:
    """Writes dead letters to a topic; implements `pipelines.dead_letters.DeadLetterSink`."""

    def __init__(self, topic: str, producer: Producer, max_message_bytes: int) -> None:
        self.topic = topic
        self._producer = producer
        self._part_bytes = max_message_bytes - OVERHEAD_BYTES

    def write(self, content: Batch | bytes, reason: str, origin: str) -> str:
        """Keeps `content`, which all in-sync replicas have on return, and returns its name, the key of its messages.

        Raises:
            Retryable: it cannot be written now.
        """
        name, messages = self.letter(content, reason, origin)
        self._producer.send(messages)
        return name

    def letter(self, content: Batch | bytes, reason: str, origin: str) -> tuple[str, list[tuple[str, Message]]]:
        """The name of a letter, and what to send for it to be kept."""
        name = uuid.uuid4().hex
        value = _stream(content) if isinstance(content, Batch) else content
        parts = [value[start : start + self._part_bytes] for start in range(0, max(1, len(value)), self._part_bytes)]
        about = {
            "kind": content.kind if isinstance(content, Batch) else RAW,
            "reason": reason,
            "origin": origin,
            "time_ns": str(time.time_ns()),
            "received_at_ns": str(content.received_at_ns if isinstance(content, Batch) else 0),
            "rows": str(content.rows if isinstance(content, Batch) else 0),
            "parts": str(len(parts)),
        }
        headers = [(key, text.encode(errors="replace")[:_LONGEST_REASON_BYTES]) for key, text in about.items()]
        return name, [
            (self.topic, Message(part, name.encode(), [*headers, ("part", b"%d" % number)]))
            for number, part in enumerate(parts)
        ]

    def place(self, name: str) -> str:
        """Where the letter of that name is, for people."""
        return f"topic {self.topic}, key {name}"


def _stream(batch: Batch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.records.schema) as writer:
        writer.write_batch(batch.records)
    return bytes(sink.getvalue().to_pybytes())
