"""Buffers, by component type."""

from collections.abc import Callable
from typing import Any, Final

from pipelines.buffers.base import ENTRY_ROWS, Buffer, Corrupt, Entry, Statistics
from pipelines.buffers.local import LocalBuffer


def _kafka_buffer(settings: Any, name: str) -> Buffer:
    from pipelines.buffers.kafka import KafkaBuffer

    return KafkaBuffer(settings, name)


BUFFERS: Final[dict[str, Callable[[Any, str], Buffer]]] = {"kafka": _kafka_buffer, "local": LocalBuffer}
"""Component type → factory of (its settings, its id)."""

__all__ = ["BUFFERS", "ENTRY_ROWS", "Buffer", "Corrupt", "Entry", "LocalBuffer", "Statistics", "open_buffer"]


def open_buffer(buffer_id: str, settings: Any) -> Buffer:
    """An open buffer; call it in the process that is to use it, and close it there.

    Raises:
        Permanent: it cannot be used; the message names the place and the cure.
    """
    buffer = BUFFERS[buffer_id.partition("/")[0]](settings, buffer_id)
    buffer.open()
    return buffer
