"""Value types of the configuration: what is written in YAML, what it is in code, and how it is printed again.

Parsers raise ValueError saying what was expected; the loader adds what was found, unless it is a secret.
"""

import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, SecretStr, WithJsonSchema

REDACTED: Final = "[REDACTED]"
EMBEDDED: Final = "embedded"
NO_POSTGRES: Final = "none"
UNIX: Final = "unix:"
"""What stands before the path of a unix socket; as gRPC writes it."""
COMPONENT_ID_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9_]{0,62}(/.{1,1024})?$"

_UNIT_NS: Final = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_UNIT: Final = "ns|us|µs|ms|s|m|h"
_PART: Final = re.compile(rf"([0-9]+(?:\.[0-9]+)?)({_UNIT})")
_DURATION_PATTERN: Final = rf"^(0|([0-9]+(\.[0-9]+)?({_UNIT}))+)$"
_LONGEST_NS: Final = (1 << 63) - 1  # as in Go: 292 years
_LONGEST_TEXT: Final = 64
_TCP_EXAMPLES: Final = "host:port such as 127.0.0.1:4317 or [::1]:4317"
_LEAST_HASH_KEY_CHARS: Final = 32
_SOCKET_PATH: Final = re.compile(r"(?:unix:(?://(?=/))?)?(/[^/\0][^\0]*(?<!/))")


@dataclass(frozen=True, slots=True)
class Spelling:
    """Marks a type that is written as text in YAML although it is none in code; `name` is what docs call it."""

    name: str


@dataclass(frozen=True, slots=True)
class Exclusive:
    """Marks a value that only one component may have: `kind` says what would collide."""

    kind: str


def parse_component_id(value: str) -> str:
    """`type` or `type/name`, by the Collector's rule: no spaces, control characters or symbols in a name."""
    if not re.fullmatch(COMPONENT_ID_PATTERN[1:-1], value) or any(
        unicodedata.category(char)[0] in "ZCS" for char in value
    ):
        raise ValueError("expected a component id: type or type/name, without spaces and symbols")
    return value


def parse_duration_seconds(value: Any) -> float:
    """Seconds of a Go-style duration such as `300ms` or `1m30s`; floats already are seconds (defaults in code)."""
    if isinstance(value, float):
        return value
    text = str(value)
    if text == "0":
        return 0.0
    parts = _PART.findall(text) if len(text) <= _LONGEST_TEXT and re.fullmatch(_DURATION_PATTERN[1:-1], text) else []
    duration_ns = sum(Decimal(number) * _UNIT_NS[unit] for number, unit in parts)
    if not parts or duration_ns > _LONGEST_NS:
        raise ValueError("expected a duration such as 300ms, 5s or 1m30s")
    return float(duration_ns / 10**9)


def format_duration(seconds: float) -> str:
    """The shortest Go-style text that `parse_duration_seconds` reads as the same number of nanoseconds."""
    duration_ns = int((Decimal(repr(seconds)) * 10**9).to_integral_value())
    if 0 < duration_ns < _UNIT_NS["s"]:
        unit = next(unit for unit in ("ms", "us", "ns") if duration_ns >= _UNIT_NS[unit])
        return f"{_plain(Decimal(duration_ns) / _UNIT_NS[unit])}{unit}"
    hours, rest = divmod(duration_ns, _UNIT_NS["h"])
    minutes, rest = divmod(rest, _UNIT_NS["m"])
    parts = ((hours, "h"), (minutes, "m"), (Decimal(rest) / _UNIT_NS["s"], "s"))
    return "".join(f"{_plain(Decimal(amount))}{unit}" for amount, unit in parts if amount) or "0s"


def _plain(number: Decimal) -> str:
    return f"{number.normalize():f}"


def parse_endpoint(value: Any) -> str:
    """`host:port` as `parse_tcp_endpoint` takes it, or the absolute path of a unix socket as `unix:/path`.

    gRPC's `unix:///path` is understood, and the Collector's bare path (beside `transport: unix`).
    """
    path = _SOCKET_PATH.fullmatch(value) if isinstance(value, str) else None
    return (
        f"{UNIX}{path[1]}" if path else _tcp_endpoint(value, f"{_TCP_EXAMPLES}, or a path such as unix:///run/x.sock")
    )


def parse_tcp_endpoint(value: Any) -> str:
    """`host:port`, with `localhost` and empty hosts allowed, port 0 meaning any free one."""
    return _tcp_endpoint(value, _TCP_EXAMPLES)


def _tcp_endpoint(value: Any, expected: str) -> str:
    text = value if isinstance(value, str) else ""
    host, separator, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host.replace(":", " ")
    if not separator or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535 or re.search(r"[\s/\[\]]", bare):  # noqa: PLR2004 - largest TCP port
        raise ValueError(f"expected {expected}")
    return text


def parse_origin(value: str) -> str:
    """The origin of a web page, with one `*` at most."""
    if not re.fullmatch(r"[^\s*,]*\*?[^\s*,]*", value) or not value:
        raise ValueError("expected an origin such as https://app.example.com, with one * at most")
    return value


def parse_dsn(value: SecretStr) -> SecretStr:
    """`embedded`, `none` or a Postgres URL; the message never holds the value, for it may hold a password."""
    text = value.get_secret_value()
    if text not in (EMBEDDED, NO_POSTGRES) and not re.match(r"postgres(ql)?://[^/]", text):
        raise ValueError("expected `embedded`, `none` or a DSN such as postgresql://user@host/database")
    return value


def parse_hash_key(value: SecretStr | None) -> SecretStr | None:
    """A key that nobody guesses; empty is none, so that it can come from a variable that is not set everywhere."""
    if value is None or not value.get_secret_value():
        return None
    if len(value.get_secret_value()) < _LEAST_HASH_KEY_CHARS:
        raise ValueError(f"expected {_LEAST_HASH_KEY_CHARS} random characters or more, such as openssl rand -hex 32")
    return value


def mask_dsn(dsn: SecretStr) -> str:
    """The DSN with its passwords as `[REDACTED]`; rather too much is redacted than too little."""
    text = re.sub(r"^([^:]*://[^:@/]*):.*@", rf"\1:{REDACTED}@", dsn.get_secret_value(), flags=re.DOTALL)
    # Names may be percent-encoded, so such parameters are taken for secrets too.
    return re.sub(r"([?&][^=&]*(?:pass|secret|token|key|%)[^=&]*=)[^&]*", rf"\1{REDACTED}", text, flags=re.IGNORECASE)


def parse_expression(value: str) -> str:
    """A regular expression that RE2, as processors use it, accepts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        pc.match_substring_regex(pa.array([""]), pattern=value)
    except pa.ArrowInvalid as error:
        # "Invalid regular expression: <reason>: <part of the value>", of which only the reason may be told.
        reason = str(error).split(": ")[1:2]
        raise ValueError(f"not a regular expression in RE2's syntax: {''.join(reason) or 'invalid'}") from error
    return value


ComponentId = Annotated[
    str,
    AfterValidator(parse_component_id),
    Spelling("id"),
    WithJsonSchema({"type": "string", "pattern": COMPONENT_ID_PATTERN, "examples": ["otlp", "otlp/internal"]}),
]
"""`type[/name]`."""

Duration = Annotated[
    float,
    BeforeValidator(parse_duration_seconds),
    PlainSerializer(format_duration, when_used="json"),
    Spelling("duration"),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": _DURATION_PATTERN}, {"const": 0}],
            "examples": ["300ms", "5s", "1m30s"],
        }
    ),
]
"""Seconds, written Go-style in YAML."""

Endpoint = Annotated[
    str,
    BeforeValidator(parse_endpoint),
    Exclusive("endpoint"),
    Spelling("endpoint"),
    WithJsonSchema({"type": "string", "examples": ["127.0.0.1:4317", "unix:///run/otlp.sock"]}),
]
"""`host:port` or `unix:/path` to listen on."""

TcpEndpoint = Annotated[
    str,
    BeforeValidator(parse_tcp_endpoint),
    Exclusive("endpoint"),
    Spelling("endpoint"),
    WithJsonSchema({"type": "string", "examples": ["127.0.0.1:8888"]}),
]
"""`host:port` to listen on."""

OwnedPath = Annotated[str, Field(min_length=1), Exclusive("path"), Spelling("path")]
"""A file or directory that one component writes; relative to the working directory."""

Expression = Annotated[str, AfterValidator(parse_expression), Spelling("regular expression")]
"""A regular expression in RE2's syntax."""

PostgresDsn = Annotated[
    SecretStr, AfterValidator(parse_dsn), PlainSerializer(mask_dsn, when_used="json"), Spelling("DSN")
]
"""`embedded`, `none` or a Postgres URL; its password is never shown."""

HashKey = Annotated[SecretStr | None, AfterValidator(parse_hash_key), Spelling("secret")]
"""Key of a keyed hash, None when there is none."""
