"""Value types: durations, endpoints, ids, DSNs, and the scalars of YAML."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from config.values import (
    format_duration,
    mask_dsn,
    parse_component_id,
    parse_duration_seconds,
    parse_endpoint,
    parse_tcp_endpoint,
)
from config.yaml_tree import plain_value


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("300ms", 0.3),
        ("1m30s", 90.0),
        ("1.5h", 5400.0),
        ("2us", 2e-6),
        ("2µs", 2e-6),
        ("7ns", 7e-9),
        ("0", 0.0),
        ("0s", 0.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    """Go's notation in seconds, exact to the nanosecond."""
    assert parse_duration_seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "1.5", "s", "5 s", "-5s", "5sec", "1s5", ".5s", "٣s", "9" * 400 + "h", "1s\n", True, None, 5]
)
def test_no_durations(text: Any) -> None:
    """A number without a unit could be anything, so it is an error, as is what Go does not read."""
    with pytest.raises(ValueError, match="expected a duration such as 300ms, 5s or 1m30s"):
        parse_duration_seconds(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"), (90.0, "1m30s"), (0.3, "300ms"), (1.5, "1.5s"), (3600.0, "1h"), (5400.5, "1h30m0.5s"),
        (2e-6, "2us"), (1.5e-5, "15us"), (7e-9, "7ns"), (0.0015, "1.5ms"), (36000.0, "10h"),
    ],
)  # fmt: skip
def test_printed_durations(seconds: float, text: str) -> None:
    """Durations are printed as people write them."""
    assert format_duration(seconds) == text


@given(st.integers(min_value=0, max_value=10**15))
def test_durations_read_back(duration_ns: int) -> None:
    """Every number of nanoseconds is printed so that it is read as the same number (up to eleven days)."""
    seconds = parse_duration_seconds(f"{duration_ns}ns")

    assert parse_duration_seconds(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    "text", ["127.0.0.1:4317", "localhost:0", ":4317", "[::1]:65535", "my-host.example:1", "unix:/run/x.sock"]
)
def test_endpoints(text: str) -> None:
    """Addresses are taken as they are written."""
    assert parse_endpoint(text) == text


@pytest.mark.parametrize("text", ["unix:/run/x.sock", "unix:///run/x.sock", "/run/x.sock"])
def test_paths_of_sockets(text: str) -> None:
    """Each way to write the path of a unix socket means the same, where one is allowed."""
    assert parse_endpoint(text) == "unix:/run/x.sock"
    with pytest.raises(ValueError, match="expected host:port"):
        parse_tcp_endpoint(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4317",
        "host",
        "host:",
        "host:x",
        "host:70000",
        "host:-1",
        "a b:1",
        "::1:4317",
        "h:4317/x",
        "http://h:1",
        "h:\u0661",
        "unix:x",
        "unix://x",
        "unix:/",
        "x.sock",
        "/run/",
        4317,
        None,
    ],
)
def test_no_endpoints(text: Any) -> None:
    """What a socket could not be bound to is refused before anything starts."""
    with pytest.raises(ValueError, match="expected host:port such as"):
        parse_endpoint(text)


@pytest.mark.parametrize("text", ["otlp", "otlp/2", "health_check/a-b.c/d", "o/é"])
def test_component_ids(text: str) -> None:
    """Ids are those of the Collector."""
    assert parse_component_id(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "/a", "otlp/", "2otlp", "otlp/a b", "otlp/\n", "otlp/\u202ea", "otlp/a=b", "o" * 64, "otlp/" + "x" * 1025],
)
def test_no_component_ids(text: str) -> None:
    """Names that would break logs, labels or terminals are refused."""
    with pytest.raises(ValueError, match="expected a component id"):
        parse_component_id(text)


@pytest.mark.parametrize(
    ("dsn", "masked"),
    [
        ("embedded", "embedded"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgresql://user@host:5432/db", "postgresql://user@host:5432/db"),
        ("postgresql://user:pw@host:5432/db", "postgresql://user:[REDACTED]@host:5432/db"),
        ("postgresql://user:p@:/w@host/db", "postgresql://user:[REDACTED]@host/db"),
        ("postgres://:pw@host/db", "postgres://:[REDACTED]@host/db"),
        ("postgresql://host/db?sslmode=x&password=pw", "postgresql://host/db?sslmode=x&password=[REDACTED]"),
        ("postgresql://host/db?p%61ssword=pw&a=b", "postgresql://host/db?p%61ssword=[REDACTED]&a=b"),
        ("postgresql://user:line\nbreak@host/db", "postgresql://user:[REDACTED]@host/db"),
    ],
)  # fmt: skip
def test_masked_dsns(dsn: str, masked: str) -> None:
    """Who and where stay readable, what lets one in does not."""
    assert mask_dsn(SecretStr(dsn)) == masked


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("~", None), ("null", None), ("true", True), ("FALSE", False), ("yes", "yes"), ("on", "on"),
        ("5", 5), ("-5", -5), ("010", 10), ("0x1F", 31), ("0o17", 15), ("1_000", 1000), ("12:30", "12:30"),
        ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("-.inf", -math.inf), ("1.2.3", "1.2.3"), ("0123abc", "0123abc"),
        ("2026-01-01", "2026-01-01"), ("9" * 101, "9" * 101), ("=", "="), ("<<", "<<"),
    ],
)  # fmt: skip
def test_plain_scalars(text: str, value: object) -> None:
    """The core schema of YAML 1.2, with underscores in numbers; everything else is text."""
    assert plain_value(text) == value
    assert type(plain_value(text)) is type(value)
