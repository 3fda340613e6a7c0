"""Applications on released OpenTelemetry JS packages: installed on first use, run, and what they say they sent.

The lock files name no host, so that any registry will do: `npm install --omit-lockfile-registry-resolved` writes them.
"""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.otlp import Attributes, Event, Export, Link, Resource, Scope, Span, Value

_FOLDER: Final = Path(__file__).parent.parent / "node"
_LANGFUSE: Final = "langfuse-5.11"
_INSTALL_SECONDS: Final = 600
_RUN_SECONDS: Final = 60
_RECORDED_FLAGS: Final = 0x101
"""Sampled, and "has is-remote" (trace.proto, SpanFlags)."""


@dataclass(frozen=True, slots=True)
class Release:
    """One release of the JS exporters, and what it does in its own way.

    Attributes:
        version: of the packages; a folder of tests/node.
        flags: what it says in `Span.flags`.
        rounded: it makes times, and whole numbers beyond 32 bits, a double.
        zeroed: in protobuf it makes 0 of whole numbers beyond 64 bits.
        cut_emoji: what half an emoji reads as when sent as protobuf; releases on protobufjs send three bytes.
    """

    version: str
    flags: int = 0
    rounded: bool = False
    zeroed: bool = False
    cut_emoji: str = "\ufffd" * 3


RELEASES: Final = (
    Release("0.301.0", flags=_RECORDED_FLAGS, cut_emoji="\ufffd"),
    Release("0.44.0", zeroed=True),
    Release("0.27.0", rounded=True),
)


@dataclass(frozen=True, slots=True)
class Sent:
    """What an application was told by its exporter (code 0 is success), and the request as a reader shall find it."""

    told: dict[str, Any]
    export: Export


def send(release: Release, encoding: str, url: str, compression: str) -> Sent:
    """Run `application.js` on a release; encoding is http (JSON), proto or grpc."""
    _install(release.version)
    command = [_program("node"), str(_FOLDER / "application.js"), release.version, encoding, url, compression]
    ended = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=_RUN_SECONDS, check=False)
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout)
    return Sent(said["told"], _Reading(release, encoding).export(said))


def run_langfuse(variables: dict[str, str]) -> dict[str, Any]:
    """What `langfuse.js` prints, on the clients of _LANGFUSE, with these variables."""
    _install(_LANGFUSE)
    command = [_program("node"), str(_FOLDER / "langfuse.js"), _LANGFUSE]
    environment = {"PATH": os.environ["PATH"], **variables}
    ended = subprocess.run(
        command, env=environment, capture_output=True, encoding="utf-8", timeout=_RUN_SECONDS, check=False
    )
    assert ended.returncode == 0, ended.stderr
    said: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return said


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.fail(
            f"{name} is not installed: these tests run real Node.js exporters. Cure: install Node.js 20 or newer"
        )
    return found


@cache
def _install(version: str) -> None:
    """Exactly what the lock file says; nothing is run or fetched when it is there already."""
    folder = _FOLDER / version
    lock, installed = folder / "package-lock.json", folder / "node_modules" / ".installed-from"
    if installed.exists() and installed.read_bytes() == lock.read_bytes():
        return
    command = [_program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    ended = subprocess.run(
        command, cwd=folder, capture_output=True, encoding="utf-8", timeout=_INSTALL_SECONDS, check=False
    )
    assert ended.returncode == 0, f"npm ci in {folder} failed:\n{ended.stderr}"
    installed.write_bytes(lock.read_bytes())


class _Reading:
    """The description that `application.js` prints, as the request that the release makes of it."""

    def __init__(self, release: Release, encoding: str) -> None:
        self._release = release
        self._is_json = encoding == "http"
        self._cut_emoji = "\ufffd" if self._is_json else release.cut_emoji

    def export(self, said: dict[str, Any]) -> Export:
        scope = Scope(**said["scope"], spans=[self._span(each) for each in said["spans"]])
        return [Resource(attributes=self._attributes(said["resource"]), scopes=[scope])]

    def _span(self, said: dict[str, Any]) -> Span:
        plain = ("trace_id", "span_id", "parent_id", "name", "kind", "status_code", "status_message")
        return Span(
            **{name: said[name] for name in plain},
            flags=self._release.flags,
            start_ns=self._time(said["start"]),
            end_ns=self._time(said["end"]),
            attributes=self._attributes(said["attributes"]),
            events=[
                Event(
                    name=each["name"], time_ns=self._time(each["time"]), attributes=self._attributes(each["attributes"])
                )
                for each in said["events"]
            ],
            links=[
                Link(
                    trace_id=each["trace_id"],
                    span_id=each["span_id"],
                    attributes=self._attributes(each["attributes"]),
                )
                for each in said["links"]
            ],
        )

    def _time(self, parts: list[int]) -> int:
        """Unix nanoseconds from seconds and nanoseconds; a rounded one has other digits in JSON than in binary."""
        exact = parts[0] * 10**9 + parts[1]
        if not self._release.rounded:
            return exact
        return int(Decimal(repr(float(exact)))) if self._is_json else int(float(exact))

    def _attributes(self, said: dict[str, Any]) -> Attributes:
        return [(key, self._value(value)) for key, value in said["map"]]

    def _value(self, said: Any) -> Value:
        match said:
            case str():
                return "".join(self._cut_emoji if 0xD800 <= ord(each) <= 0xDFFF else each for each in said)
            case list():
                return [self._value(each) for each in said]
            case {"number": str(text)}:
                return self._number(text)
            case {"bytes": str(text)}:
                return bytes.fromhex(text)
            case {"map": list(pairs)}:
                return {key: self._value(value) for key, value in pairs}
        return said

    def _number(self, text: str) -> Value:
        """JavaScript has doubles only: a whole one is sent as an integer, JSON has no way to say NaN."""
        if text in ("NaN", "Infinity", "-Infinity"):
            return None if self._is_json else float(text)
        value = float(text)
        if not value.is_integer() or (self._release.rounded and abs(value) >= 2**31):
            return value
        if abs(value) >= 2**63:
            return 0 if self._release.zeroed and not self._is_json else value
        return int(value)
