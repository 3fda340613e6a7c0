"""Value types of the configuration: durations and endpoints."""

import re
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, WithJsonSchema

_UNITS_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")


def parse_duration_seconds(value: Any) -> float:
    """Seconds of a Go-style duration such as `300ms` or `1m30s`; numbers already are seconds (defaults in code)."""
    if isinstance(value, float):
        return value
    if value in (0, "0"):
        return 0.0
    text = str(value)
    if not text or "".join(match.group(0) for match in _PART.finditer(text)) != text:
        raise ValueError(f"expected a duration such as 300ms, 5s or 1m30s, got {value!r}")
    return sum(float(number) * _UNITS_SECONDS[unit] for number, unit in _PART.findall(text))


def parse_endpoint(value: Any) -> str:
    """`host:port`, with `localhost` and empty hosts allowed, port 0 meaning any free one; or `unix:/path`."""
    text = str(value)
    host, separator, port = text.rpartition(":")
    if text.startswith("unix:"):
        return text
    if not separator or not port.isdigit() or int(port) > 65535 or " " in host:  # noqa: PLR2004 - largest TCP port
        raise ValueError(f"expected host:port such as 127.0.0.1:4317, got {value!r}")
    return text


Duration = Annotated[
    float, BeforeValidator(parse_duration_seconds), WithJsonSchema({"type": "string", "examples": ["300ms", "5s", "1m30s"]})
]
"""Seconds, written Go-style in YAML."""

Endpoint = Annotated[
    str, BeforeValidator(parse_endpoint), WithJsonSchema({"type": "string", "examples": ["127.0.0.1:4317"]})
]
"""`host:port`."""
