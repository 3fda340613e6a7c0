"""Recorded scenarios as rows, for the tests of dialects."""

import json
from typing import Any

from tests.support.arrow_rows import Row
from tests.support.golden import mapped, sources
from tests.support.mapping import map_export
from tests.support.otlp import export, span


def rows(source: str, scenario: str, **wanted: Any) -> list[Row]:
    """Observations of a recorded scenario of a Python source that have these columns, by start."""
    found = mapped(sources()[f"python/{source}"][scenario])
    return [row for row in found if all(row[name] == value for name, value in wanted.items())]


def first(source: str, scenario: str, **wanted: Any) -> Row:
    """The first of them."""
    return rows(source, scenario, **wanted)[0]


def of(scope: str, attributes: dict[str, Any], name: str = "span") -> Row:
    """The one observation of a span that no recording has."""
    (row,) = map_export(export(span(attributes, name=name), scope=scope)).observations
    return row


def messages(text: str) -> list[tuple[str, list[Any]]]:
    """Role and parts of each message."""
    return [(message["role"], message["parts"]) for message in json.loads(text)]
