"""`explain`: what filled each column, what was left, and files of every kind."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from otlp_receiver.cli.main import app
from tests.support.otlp import Event, Link, Span, export, to_json, to_protobuf

_CALL = Span(
    name="chat gpt-5-mini",
    status_code=2,
    status_message="the model stopped",
    attributes=[
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", "gpt-5-mini"),
        ("gen_ai.request.temperature", 0.2),
        ("gen_ai.system", "openai"),
        ("gen_ai.usage.input_tokens", 12),
        ("gen_ai.usage.cache_read.input_tokens", 0),
        ("gen_ai.system_instructions", "Be brief."),
        ("gen_ai.input.messages", '[{"role":"user","parts":[{"type":"text","content":"hi"}]}]'),
        ("acme.ticket", "T-1"),
        ("acme.note", "\x1b[2J"),
    ],
    events=[Event(name="cache.hit", attributes=[("acme.key", "k")]), Event(name="bare")],
    links=[Link(trace_id="ab" * 16, span_id="cd" * 8)],
)
_OLD = Span(
    span_id="2122232425262728",
    parent_id=_CALL.span_id,
    name="old",
    attributes=[("gen_ai.operation.name", "chat")],
    events=[Event(name="gen_ai.user.message", attributes=[("content", "hello")])],
)


def _explain(file: Path, *options: str, columns: str = "120") -> Result:
    return CliRunner().invoke(app, ["explain", str(file), *options], env={"COLUMNS": columns})


def _explained(tmp_path: Path, *spans: Span) -> list[dict[str, Any]]:
    file = tmp_path / "request.pb"
    file.write_bytes(to_protobuf(export(*spans)))
    spans_found: list[dict[str, Any]] = json.loads(_explain(file, "--json").stdout)["spans"]
    return spans_found


def _filled(span: dict[str, Any]) -> dict[str, tuple[list[str], str]]:
    return {one["column"]: (one["sources"], one["value"]) for one in span["filled"]}


def test_every_column_names_what_filled_it(tmp_path: Path) -> None:
    """Attributes, several for one column, parameters, the type's rule, status and span name are told apart."""
    (span,) = _explained(tmp_path, _CALL)
    filled = _filled(span)
    assert span["convention"] == "OpenTelemetry GenAI"
    assert filled["type"] == (["gen_ai.operation.name = chat"], "GENERATION")
    assert filled["name"] == (["span name"], "chat gpt-5-mini")
    assert filled["model"] == filled["request_model"] == (["gen_ai.request.model"], "gpt-5-mini")
    assert filled["model_parameters[temperature]"] == (["gen_ai.request.temperature"], "0.2")
    assert filled["input_tokens"] == (["gen_ai.usage.input_tokens"], "12")
    assert filled["usage_details[input_cached_tokens]"] == (["gen_ai.usage.cache_read.input_tokens"], "0")
    assert sorted(filled["input"][0]) == ["gen_ai.input.messages", "gen_ai.system_instructions"]
    assert filled["level"] == (["status"], "ERROR")
    assert filled["status_message"] == (["status"], "the model stopped")


def test_what_is_left_is_named(tmp_path: Path) -> None:
    """Attributes of no column, those that say the same again, events and links are all accounted for."""
    (span,) = _explained(tmp_path, _CALL)
    assert span["metadata"] == {"acme.ticket": "T-1", "acme.note": "\x1b[2J"}
    assert span["copies"] == ["gen_ai.system"]
    assert span["events"] == [["cache.hit", {"acme.key": "k"}], ["bare", {}]]
    assert span["links"] == [f"{'ab' * 16} {'cd' * 8}"]


def test_messages_from_events_are_told(tmp_path: Path) -> None:
    """A half that came as one event a message names the event."""
    (span,) = _explained(tmp_path, _OLD)
    sources, value = _filled(span)["input"]
    assert sources == ["event gen_ai.user.message"]
    assert json.loads(value)[0]["parts"][0]["content"] == "hello"


def test_every_attribute_is_accounted_for(tmp_path: Path) -> None:
    """No attribute of a span is missing from its explanation."""
    (span,) = _explained(tmp_path, _CALL)
    told = [source.split(" = ")[0] for one in span["filled"] for source in one["sources"]]
    assert {key for key, _ in _CALL.attributes} <= {*told, *span["metadata"], *span["copies"]}


@pytest.mark.parametrize("columns", ["80", "120"])
def test_the_page_fits_the_terminal(tmp_path: Path, columns: str) -> None:
    """For people: names in full, values on one line, nothing wider than the terminal or able to steer it."""
    file = tmp_path / "request.pb"
    file.write_bytes(to_protobuf(export(_CALL, _OLD)))
    shown = _explain(file, columns=columns).stdout
    assert "request.pb: protobuf, 2 spans" in shown
    assert f"span {_OLD.span_id}, child of {_CALL.span_id}" in shown
    assert "gen_ai.usage.cache_read.input_tokens" in shown
    assert "input_cached_tokens" in shown
    assert "event cache.hit\n  acme.key  k" in shown
    assert "event bare\n" in shown
    assert f"link to {'ab' * 16} {'cd' * 8}\n" in shown
    assert "acme.ticket  T-1" in shown
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= int(columns)


@pytest.mark.parametrize("name", ["a.pb", "a.json", "a.pb.gz", "a.json.gz", "json-without-a-name", "pb-without-a-name"])
def test_files_of_every_kind_are_recognised(tmp_path: Path, name: str) -> None:
    """Protobuf and JSON, gzipped or not, with a telling name or none."""
    raw = to_json(export(_CALL)) if "json" in name else to_protobuf(export(_CALL))
    file = tmp_path / name
    file.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    shown = _explain(file)
    assert shown.exit_code == 0
    assert f"{name}: {'json' if 'json' in name else 'protobuf'}, 1 span\n" in shown.stdout


def test_rejected_spans_are_named(tmp_path: Path) -> None:
    """A span that can never be stored is named with its place and the reason; the others are explained."""
    file = tmp_path / "request.json"
    file.write_bytes(to_json(export(_CALL, Span(span_id="00" * 8))))
    shown = _explain(file)
    assert shown.exit_code == 0
    assert "request.json: json, 1 span, 1 rejected" in shown.stdout
    assert "rejected: resourceSpans[0].scopeSpans[0].spans[1].spanId: all zeros, expected a non-zero id" in shown.stdout


def test_an_empty_request_has_no_spans(tmp_path: Path) -> None:
    """An empty body is a valid request."""
    file = tmp_path / "empty.pb"
    file.write_bytes(b"")
    assert _explain(file).stdout == "empty.pb: protobuf, 0 spans\n"


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("broken.json", b'{"resourceSpans":', "is no OTLP trace request in json"),
        ("broken.pb", b"\xff\xff\xff", "is no OTLP trace request in protobuf"),
        ("broken.pb.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\x03broken", "cannot be read"),
        ("cut.pb.gz", gzip.compress(b"x" * 1000)[:-10], "cannot be read"),
    ],
)
def test_broken_files_give_one_clear_line(tmp_path: Path, name: str, body: bytes, message: str) -> None:
    """Exit code 1, the file and the reason; no traceback."""
    file = tmp_path / name
    file.write_bytes(body)
    done = _explain(file)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"error: {file} ")
    assert message in done.stderr
    assert done.stdout == ""


def test_a_gzip_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decompression stops at the limit."""
    monkeypatch.setattr("otlp_receiver.cli.explain._MOST_BYTES", 2**20)
    file = tmp_path / "bomb.pb.gz"
    file.write_bytes(gzip.compress(bytes(2**20 + 1)))
    done = _explain(file)
    assert (done.exit_code, done.stderr) == (1, f"error: {file} holds more than 1 MiB\n")


def test_a_missing_file_is_wrong_usage(tmp_path: Path) -> None:
    """Exit code 2, as for every impossible argument."""
    assert _explain(tmp_path / "none.pb").exit_code == 2
