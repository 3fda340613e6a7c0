"""Buffers, by component type."""

from collections.abc import Callable
from typing import Any, Final

from pipelines.buffers.base import ENTRY_ROWS, Buffer, Corrupt, Entry, Statistics
from pipelines.buffers.local import LocalBuffer
from pipelines.dead_letters import DeadLetterStore


def _kafka_buffer(settings: Any, name: str) -> Buffer:
    from pipelines.buffers.kafka import KafkaBuffer

    return KafkaBuffer(settings, name)


def _kafka_letters(settings: Any, _name: str) -> DeadLetterStore:
    from pipelines.buffers.kafka_letter_reader import DeadLetterTopic

    return DeadLetterTopic(settings)


def _local_letters(settings: Any, name: str) -> DeadLetterStore:
    return LocalBuffer(settings, name).dead_letters


BUFFERS: Final[dict[str, Callable[[Any, str], Buffer]]] = {"kafka": _kafka_buffer, "local": LocalBuffer}
"""Component type → factory of (its settings, its id)."""

_LETTERS: Final[dict[str, Callable[[Any, str], DeadLetterStore]]] = {"kafka": _kafka_letters, "local": _local_letters}

__all__ = [
    "BUFFERS",
    "ENTRY_ROWS",
    "Buffer",
    "Corrupt",
    "Entry",
    "LocalBuffer",
    "Statistics",
    "dead_letters_of",
    "open_buffer",
]


def open_buffer(buffer_id: str, settings: Any) -> Buffer:
    """An open buffer; call it in the process that is to use it, and close it there.

    Raises:
        Permanent: it cannot be used; the message names the place and the cure.
    """
    buffer = BUFFERS[buffer_id.partition("/")[0]](settings, buffer_id)
    buffer.open()
    return buffer


def dead_letters_of(buffer_id: str, settings: Any) -> DeadLetterStore:
    """The dead letters beside a buffer, which need not be open, and is not touched."""
    return _LETTERS[buffer_id.partition("/")[0]](settings, buffer_id)
