"""Processors, by component type: plain callables from batch to batch, without input or output of their own."""

from collections.abc import Callable
from typing import Any, Final

from pipelines.batch import Batch
from pipelines.errors import Permanent
from pipelines.processors.cost import cost
from pipelines.processors.redaction import redaction

__all__ = ["PROCESSORS", "Processor", "build_processor"]

Processor = Callable[[Batch], Batch]
"""Keeps kind and schema; gets batches of every kind."""

PROCESSORS: Final[dict[str, Callable[[Any], Processor]]] = {"cost": cost, "redaction": redaction}
"""Component type → factory of (its settings)."""


def build_processor(processor_id: str, settings: Any) -> Processor:
    """A processor.

    Raises:
        Permanent: the settings cannot work; the message names the id, the setting and the cure.
    """
    try:
        return PROCESSORS[processor_id.partition("/")[0]](settings)
    except Permanent as error:
        raise Permanent(f"processors::{processor_id}::{error}") from error
