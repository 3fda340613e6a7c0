"""Writes what arrives to the service's log: the first sign of life, and what became of a span."""

from collections.abc import Callable, Iterable
from typing import Any, Final

import orjson
import structlog

from config.models import DebugExporterSettings
from pipelines.batch import Batch
from pipelines.json_records import json_records

_LONGEST_TEXT: Final = 200
_NORMAL: Final = ("type", "name", "model", "level", "input_tokens", "output_tokens", "total_cost", "value", "label")
_IDENTITY: Final = ("project_id", "trace_id", "observation_id", "id", "parent_observation_id")


class DebugExporter:
    """Logs every batch at the configured verbosity; stores nothing, and so never fails."""

    def __init__(self, exporter_id: str, settings: DebugExporterSettings) -> None:
        self._log = structlog.get_logger("debug").bind(exporter=exporter_id)
        self._write = _VERBOSITIES[settings.verbosity]

    def open(self) -> None:
        """Nothing to do."""

    def export(self, batch: Batch) -> None:
        """Logs the batch: a line for it, and from `normal` on a line for each row."""
        self._log.info("Batch", kind=batch.kind, rows=batch.rows, bytes=batch.size_bytes)
        for fields in self._write(batch):
            self._log.info("Row", kind=batch.kind, **fields)

    def close(self) -> None:
        """Nothing to do."""


def _basic(_batch: Batch) -> Iterable[dict[str, Any]]:
    return ()


def _normal(batch: Batch) -> Iterable[dict[str, Any]]:
    for record in json_records(batch.records):
        shown = {key: record.get(key) for key in (*_IDENTITY, *_NORMAL)}
        yield {key: _short(value) for key, value in shown.items() if value not in (None, "")}


def _detailed(batch: Batch) -> Iterable[dict[str, Any]]:
    for record in json_records(batch.records):
        # As JSON: escaped, so that no text of a span can speak to the terminal.
        yield {"record": orjson.dumps(record).decode()}


def _short(value: Any) -> Any:
    if isinstance(value, dict):  # a ranked value of a partial trace row
        value = value["value"]
    if not isinstance(value, str):
        return value
    text = value if len(value) <= _LONGEST_TEXT else f"{value[:_LONGEST_TEXT]}..."
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


_VERBOSITIES: Final[dict[str, Callable[[Batch], Iterable[dict[str, Any]]]]] = {
    "basic": _basic,
    "normal": _normal,
    "detailed": _detailed,
}
