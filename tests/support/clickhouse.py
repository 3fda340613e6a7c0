"""A ClickHouse server to test the exporter with: see `tests.support.containers`; else our front before chDB."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from config.models import ClickHouseExporterSettings
from exporters.clickhouse_client import connect
from exporters.clickhouse_native import ClickHouseExporter
from tests.support import containers
from tests.support.clickhouse_front import clickhouse_front


def _given() -> str:
    """`clickhouse://user:password@host:port` of a real server; each test has a database of its own there."""
    return os.environ.get("CLICKHOUSE_URL") or (containers.clickhouse() if containers.docker_runs() else "")


def settings_at(endpoint: str, **settings: Any) -> ClickHouseExporterSettings:
    """An exporter's settings."""
    return ClickHouseExporterSettings(endpoint=SecretStr(endpoint), **settings)


@contextmanager
def server() -> Iterator[str]:
    """Endpoint with a database that is not there yet."""
    given = _given()
    if not given:
        with clickhouse_front() as front:
            yield front.endpoint
        return
    endpoint = urlsplit(given)._replace(path=f"/otel_test_{uuid.uuid4().hex}").geturl()
    try:
        yield endpoint
    finally:
        settings = settings_at(endpoint)
        with connect(settings) as client:
            client.execute(f"DROP DATABASE IF EXISTS {settings.url.database}")


@contextmanager
def exporter_at(endpoint: str, **settings: Any) -> Iterator[ClickHouseExporter]:
    """An open exporter; rows of any time stay."""
    exporter = ClickHouseExporter("clickhouse", settings_at(endpoint, ttl_days=0, **settings))
    try:
        exporter.open()
        yield exporter
    finally:
        exporter.close()


def lines(exporter: ClickHouseExporter, rest: str, columns: str = "*") -> list[str]:
    """Rows of `SELECT columns FROM otel.rest` as JSON that the engine itself writes, nothing rounded on the way."""
    query = f"SELECT formatRowNoNewline('JSONCompactEachRow', {columns}) FROM {exporter.settings.url.database}.{rest}"
    return [row[0] for row in exporter._execute(query)]


def count(exporter: ClickHouseExporter, view: str, condition: str = "1") -> int:
    """How many rows are seen without FINAL."""
    rows = exporter._execute(f"SELECT count() FROM {exporter.settings.url.database}.{view} WHERE {condition}")
    return int(rows[0][0])
