"""Reading from Kafka as one member of a consumer group: what is read stays here until it is committed.

The client is asked for more whenever the export loop asks how much there is, also while it backs off: so the group
keeps us. What a rebalance takes away is forgotten here and read again, by whoever has the partition then, from what
was committed: rows may be exported twice, never not at all.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors
from kafka.structs import MemberState

from config.kafka import KafkaBufferSettings
from pipelines.batch import Batch
from pipelines.buffers.base import Corrupt, Entry, Statistics
from pipelines.buffers.kafka_client import connection, named_errors, require_reachable, start
from pipelines.buffers.kafka_messages import Content, decode
from pipelines.errors import Retryable

_HELD_BYTES: Final = 96 << 20
_FETCH_BYTES: Final = 16 << 20  # compressed
_POLL_RECORDS: Final = 64  # Arrow messages; JSON ones are small
_POLL_RECORDS_JSON: Final = 4096
_IDLE_POLL_MS: Final = 50
_FILL_SECONDS: Final = 0.2
_ENDS_SECONDS: Final = 5.0
_ANSWER_MS: Final = 5_000
_SESSION_MS: Final = 10_000  # a member that was killed holds its partitions for so long
_HEARTBEAT_MS: Final = 3_000
_JOIN_POLL_MS: Final = 1_000
_MOST_JOIN_SECONDS: Final = 30.0
_MOST_INSERT_MS: Final = 300_000  # the longest single insert: a member that does not poll meanwhile is given up


@dataclass(frozen=True, slots=True)
class _Held:
    """Rows that were read and not committed."""

    entry: Entry
    partition: TopicPartition
    content: Content


class Reader(ConsumerRebalanceListener):  # type: ignore[misc]  # it ships no types
    """One cursor: member of the consumer group `group`; safe to use from several threads, one at a time inside."""

    def __init__(self, settings: KafkaBufferSettings, group: str) -> None:
        self._settings = settings
        self._group = group
        self._lock = threading.Lock()
        self._client: Any = None
        self._held: deque[_Held] = deque()
        self._position = 0
        self._revoked: deque[TopicPartition] = deque()
        self._next: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._ends_due = 0.0
        self._stable_at = 0.0
        self._rows_read, self._messages_read = 1, 1

    # --- what the buffer needs; see `Buffer` ---

    def read(self, max_rows: int, max_bytes: int, after: int) -> list[Entry]:
        """Entries that are not committed and come after position `after`."""
        with self._lock, named_errors(self._settings, f"reading as {self._group}"):
            deadline = time.monotonic() + _FILL_SECONDS
            while self._wants_more(max_rows, max_bytes) and time.monotonic() < deadline:
                self._poll(_IDLE_POLL_MS)
            return self._taken(max_rows, max_bytes, after)

    def commit(self, position: int) -> None:
        """Tells the group that everything up to `position` is stored, except what it has taken from us meanwhile."""
        with self._lock, named_errors(self._settings, f"committing as {self._group}"):
            self._forget_revoked()
            passed = [held for held in self._held if held.entry.position <= position]
            offsets = {held.partition: OffsetAndMetadata(held.content.next_offset, "", -1) for held in passed}
            if offsets:
                self._connected().commit(offsets, timeout_ms=_ANSWER_MS)
            self._held = deque(held for held in self._held if held.entry.position > position)

    def statistics(self) -> Statistics:
        """How far the group is behind in the partitions that are ours; rows not read yet are estimated."""
        with self._lock, named_errors(self._settings, f"polling as {self._group}"):
            self._poll(0 if self._held else _IDLE_POLL_MS)
            held_rows = sum(held.entry.rows for held in self._held)
            unread = self._unread_messages() * self._rows_read // self._messages_read
            return Statistics(held_rows + unread, self._oldest_ns(), self._held_bytes(), _HELD_BYTES)

    def close(self) -> None:
        """Leaves the group, so that others need not wait for us to time out."""
        with self._lock, suppress(kafka_errors.KafkaError):
            client, self._client = self._client, None
            if client is not None:
                client.close(autocommit=False, timeout_ms=_ANSWER_MS)

    # --- the group's news; called in the client's own thread, also while we are in a call of it ---

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """What was read of these and not committed will be read again, by someone."""
        self._revoked.extend(revoked)

    def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        """As `on_partitions_revoked`."""
        self._revoked.extend(lost)

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Nothing to do: the client starts at what is committed."""

    # --- inside ---

    def _connected(self) -> Any:
        if self._client is None:
            require_reachable(self._settings)
            client = start(KafkaConsumer, _options(self._settings, self._group))
            client.subscribe([self._settings.topic], listener=self)
            client.partitions_for_topic(self._settings.topic)  # else it may join before it knows any, and join again
            self._client = client
            self._stable_at = time.monotonic()
        return self._client

    def _poll(self, timeout_ms: int) -> None:
        client = self._connected()
        if not self._is_member(client):
            timeout_ms = _JOIN_POLL_MS
        self._feel_pressure(client)
        fetched = client.poll(timeout_ms=timeout_ms)
        self._forget_revoked()
        for partition, records in fetched.items():
            self._hold(partition, records)
        if time.monotonic() > self._ends_due and client.assignment():
            self._look_ahead(client)

    def _look_ahead(self, client: Any) -> None:
        """Where our partitions end, and where those begin that nothing has been read of yet."""
        ours = client.assignment()
        self._ends = client.end_offsets(list(ours), timeout_ms=_ANSWER_MS)
        for partition in ours - self._next.keys():
            position = client.position(partition, timeout_ms=_ANSWER_MS)
            if position is not None:
                self._next[partition] = position
        self._ends_due = time.monotonic() + _ENDS_SECONDS

    def _is_member(self, client: Any) -> bool:
        """False while the group is being joined.

        kafka-python 3.0 may never end that: when partitions change and a poll's time is up in the middle of joining,
        it forgets to finish. Then only a new member helps.

        Raises:
            Retryable: it has taken too long, and is begun anew with the next call.
        """
        if client.group_metadata().state == MemberState.STABLE:
            self._stable_at = time.monotonic()
            return True
        if time.monotonic() - self._stable_at > _MOST_JOIN_SECONDS:
            self._client = None
            self._revoked.extend(held.partition for held in self._held)
            client.close(autocommit=False, timeout_ms=_ANSWER_MS)
            raise Retryable(f"group {self._group} could not be joined within {_MOST_JOIN_SECONDS} s; it is tried anew")
        return False

    def _feel_pressure(self, client: Any) -> None:
        """Fetches nothing while enough is held; polling goes on, or the group would give us up."""
        if self._held_bytes() >= _HELD_BYTES:
            client.pause(*client.assignment())
        elif client.paused():
            client.resume(*client.paused())

    def _hold(self, partition: TopicPartition, records: list[Any]) -> None:
        place = f"partition {partition.partition} of topic {partition.topic}"
        for content in decode(records, place):
            self._position += content.rows
            entry = Entry(self._position, content.rows, content.content)
            self._held.append(_Held(entry, partition, content))
            self._rows_read += content.rows
        self._messages_read += len(records)
        self._next[partition] = records[-1].offset + 1

    def _forget_revoked(self) -> None:
        gone = {self._revoked.popleft() for _ in range(len(self._revoked))}
        if gone:
            self._held = deque(held for held in self._held if held.partition not in gone)
            for partition in gone:
                self._next.pop(partition, None)
            self._ends_due = 0.0

    def _wants_more(self, max_rows: int, max_bytes: int) -> bool:
        rows = sum(held.entry.rows for held in self._held)
        held_bytes = self._held_bytes()
        return (
            rows < max_rows and held_bytes < min(max_bytes, _HELD_BYTES) and (not rows or self._unread_messages() > 0)
        )

    def _taken(self, max_rows: int, max_bytes: int, after: int) -> list[Entry]:
        taken: list[Entry] = []
        rows: Counter[str] = Counter()
        size_bytes = 0
        for held in self._held:
            if held.entry.position > after:
                kind = held.entry.content.kind if isinstance(held.entry.content, Batch) else "corrupt"
                rows[kind] += held.entry.rows
                size_bytes += held.content.size_bytes
                if taken and (rows[kind] > max_rows or size_bytes > max_bytes):
                    break
                taken.append(held.entry)
        return taken

    def _unread_messages(self) -> int:
        """Messages in our partitions beyond what was read."""
        return sum(max(0, self._end(partition) - offset) for partition, offset in self._next.items())

    def _end(self, partition: TopicPartition) -> int:
        known = self._client.highwater(partition) if partition in self._client.assignment() else None
        return max(known or 0, self._ends.get(partition, 0))

    def _held_bytes(self) -> int:
        return sum(held.content.size_bytes for held in self._held)

    def _oldest_ns(self) -> int | None:
        times = [
            held.entry.content.received_at_ns for held in self._held if not isinstance(held.entry.content, Corrupt)
        ]
        return min(times, default=None)


def _options(settings: KafkaBufferSettings, group: str) -> dict[str, Any]:
    is_json = settings.encoding == "json"
    return {
        **connection(settings),
        "group_id": group,
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "allow_auto_create_topics": False,
        "max_poll_records": _POLL_RECORDS_JSON if is_json else _POLL_RECORDS,
        "fetch_max_bytes": _FETCH_BYTES,
        "max_partition_fetch_bytes": max(1 << 20, settings.max_message_bytes),
        "fetch_max_wait_ms": 100,
        "session_timeout_ms": _SESSION_MS,
        "heartbeat_interval_ms": _HEARTBEAT_MS,
        "max_poll_interval_ms": _MOST_INSERT_MS,
        "metrics_enabled": False,
    }
