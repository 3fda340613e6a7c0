"""Writing to Kafka: idempotent, acknowledged by all in-sync replicas, or refused in time to tell the sender."""

import threading
import time
from collections.abc import Iterable
from typing import Any, Final

from kafka import KafkaProducer
from kafka import errors as kafka_errors

from config.kafka import KafkaBufferSettings
from pipelines.buffers.kafka_client import connection, describe, require_reachable, start
from pipelines.buffers.kafka_messages import Message
from pipelines.errors import Retryable

# Senders are answered after 5 s (`pipelines.ingest.APPEND_TIMEOUT_SECONDS`): the client must have given up before.
SEND_SECONDS: Final = 4.5
_REQUEST_MS: Final = 3_000
_METADATA_MS: Final = 2_000
_CLOSE_SECONDS: Final = 10.0
_REQUEST_BYTES: Final = 64 << 20  # of all partitions together; brokers take 100 MiB


class Producer:
    """Sends messages and waits for them; threads may share it.

    A client that has failed is not trusted again, the next `send` begins a new one: kafka-python 3.0 may never send
    again after its broker was away, and its own retries end with `SEND_SECONDS` anyway.
    """

    def __init__(self, settings: KafkaBufferSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._client: Any = None

    def send(self, messages: Iterable[tuple[str, Message]]) -> None:
        """Returns once every in-sync replica has every message; each comes with its topic.

        Raises:
            Retryable: not within `SEND_SECONDS`; some messages may have been written, and some may still be.
        """
        deadline = time.monotonic() + SEND_SECONDS
        client = self._connected()
        try:
            waiting = [
                client.send(topic, value=message.value, key=message.key, headers=message.headers)
                for topic, message in messages
            ]
            for each in waiting:
                each.get(timeout=max(0.0, deadline - time.monotonic()))
        except (kafka_errors.KafkaError, OSError) as error:
            self._discard(client)
            raise Retryable(f"Kafka cannot take records now: {describe(error)}") from error

    def close(self) -> None:
        """May be called twice; waits for what is on its way."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            _close(client)

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                require_reachable(self._settings)
                try:
                    self._client = start(KafkaProducer, _options(self._settings))
                except (kafka_errors.KafkaError, OSError) as error:
                    raise Retryable(f"Kafka cannot be reached: {describe(error)}") from error
            return self._client

    def _discard(self, client: Any) -> None:
        with self._lock:
            if self._client is client:
                self._client = None
        client._sender.force_close()  # noqa: SLF001 - close() waits for what never ends, then leaves its thread behind


def _close(client: Any) -> None:
    try:
        client.close(timeout=_CLOSE_SECONDS)
    except kafka_errors.KafkaError:
        client._sender.force_close()  # noqa: SLF001 - as above


def _options(settings: KafkaBufferSettings) -> dict[str, Any]:
    compression = settings.compression if settings.encoding == "json" else "none"  # others come compressed
    return {
        **connection(settings),
        "enable_idempotence": True,
        "acks": "all",
        "compression_type": None if compression == "none" else compression,
        "batch_size": settings.max_message_bytes,
        "max_request_size": max(_REQUEST_BYTES, settings.max_message_bytes),
        "request_timeout_ms": _REQUEST_MS,
        "delivery_timeout_ms": int(SEND_SECONDS * 1000),
        "max_block_ms": _METADATA_MS,
        "allow_auto_create_topics": False,
        "metrics_enabled": False,
    }
