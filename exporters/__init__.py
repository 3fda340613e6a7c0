"""Exporters, by component type: one module per sink."""

from collections.abc import Callable
from typing import Any, Final

from exporters.debug import DebugExporter
from exporters.file import FileExporter
from pipelines.errors import Permanent
from pipelines.export import Exporter

__all__ = ["EXPORTERS", "build_exporter"]


def _chdb(exporter_id: str, settings: Any) -> Exporter:
    # Imported only where it is used: it is optional, and half a gigabyte.
    try:
        from exporters.chdb_store import ChdbExporter
    except ModuleNotFoundError as error:
        if error.name != "chdb":
            raise
        raise Permanent(
            f"exporter {exporter_id} needs the `embedded` extra: pip install 'otlp-receiver[embedded]'"
        ) from error
    return ChdbExporter(exporter_id, settings)


def _clickhouse(exporter_id: str, settings: Any) -> Exporter:
    from exporters.clickhouse_native import ClickHouseExporter

    return ClickHouseExporter(exporter_id, settings)


EXPORTERS: Final[dict[str, Callable[[str, Any], Exporter]]] = {
    "chdb": _chdb,
    "clickhouse": _clickhouse,
    "debug": DebugExporter,
    "file": FileExporter,
}
"""Component type → factory of (its id, its settings)."""


def build_exporter(exporter_id: str, settings: Any) -> Exporter:
    """An exporter that is not open yet.

    Raises:
        Permanent: something that it needs is not installed; the message names the cure.
    """
    return EXPORTERS[exporter_id.partition("/")[0]](exporter_id, settings)
