"""`explain`: what filled each column, what was left, and files of every kind."""

import gzip
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from otlp_receiver.cli.explanation import explain_request
from otlp_receiver.cli.main import app
from tests.support.configs import MINIMAL
from tests.support.corpus import Recording, recordings
from tests.support.log_requests import record
from tests.support.log_requests import to_protobuf as logs_to_protobuf
from tests.support.mapping import PLAN
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


def _explained_recording(recording: Recording) -> list[dict[str, Any]]:
    found = explain_request(recording.decompressed(), recording.encoding, PLAN.conventions)
    return [asdict(span) for span in found.spans]


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


# --- why -------------------------------------------------------------------------------------------------------------


def test_what_a_dialect_was_known_by_is_told(tmp_path: Path) -> None:
    """The scope where it tells, else the first attribute; other dialects on the same span are named too."""
    mixed = Span(attributes=[("ai.model.id", "m"), ("gen_ai.request.model", "m"), ("http.route", "/chat")])
    file = tmp_path / "request.pb"
    file.write_bytes(to_protobuf(export(mixed, scope="ai")))
    (span,) = json.loads(_explain(file, "--json").stdout)["spans"]
    assert (span["convention"], span["recognised_by"]) == ("Vercel AI SDK", "scope ai")
    assert span["also"] == [
        "OpenTelemetry GenAI (attribute gen_ai.request.model)",
        "HTTP, RPC and databases (attribute http.route)",
    ]
    (span,) = _explained(tmp_path, mixed)
    assert span["recognised_by"] == "attribute ai.model.id"


def test_what_was_not_taken_is_told(tmp_path: Path) -> None:
    """Of two values for one column the one that lost is named; one that says the same is no loss."""
    (span,) = _explained(
        tmp_path,
        Span(
            attributes=[
                ("gen_ai.request.model", "a"),
                ("ai.model.id", "b"),
                ("gen_ai.usage.input_tokens", 5),
                ("ai.usage.inputTokens", 5),
            ]
        ),
    )
    assert span["lost"] == [{"column": "request_model", "source": "ai.model.id", "value": "b"}]
    assert span["copies"] == ["ai.usage.inputTokens"]


@pytest.mark.parametrize(
    ("attributes", "scope", "notes"),
    [
        (
            {"gen_ai.usage.input_tokens": 3260, "gen_ai.usage.cache_read.input_tokens": 2051},
            "x",
            [
                (
                    "input_tokens 3260 = 1209 input + 2051 input_cached_tokens: "
                    "gen_ai.usage.input_tokens = 3260 counts the cached ones as well"
                )
            ],
        ),
        (
            {"gen_ai.usage.input_tokens": 22, "gen_ai.usage.cache_read.input_tokens": 2051},
            "x",
            [
                (
                    "input_tokens 2073 = 22 input + 2051 input_cached_tokens: "
                    "gen_ai.usage.input_tokens = 22 leaves the cached ones out"
                )
            ],
        ),
        (
            {"gen_ai.usage.reasoning.output_tokens": 7, "gen_ai.usage.total_tokens": 9},
            "x",
            [
                "output_tokens 7 = 0 output + 7 output_reasoning_tokens: no whole was sent, only its parts",
                "total 9 was sent, 2 more than input and output: other",
            ],
        ),
        (
            {"langfuse.observation.usage_details": '{"input": 1, "output": 2}', "gen_ai.usage.input_tokens": 5},
            "x",
            ["buckets as langfuse.observation.usage_details gives them"],
        ),
        ({"gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 2}, "x", []),
    ],
    ids=["inside", "beside", "parts alone", "given", "plain"],
)
def test_tokens_are_added_up(tmp_path: Path, attributes: dict[str, Any], scope: str, notes: list[str]) -> None:
    """How numbers that contain each other, or do not, became buckets that do not."""
    file = tmp_path / "request.pb"
    file.write_bytes(to_protobuf(export(Span(attributes=[*attributes.items()]), scope=scope)))
    (span,) = json.loads(_explain(file, "--json").stdout)["spans"]
    assert span["usage"] == notes


def test_traces_are_explained(tmp_path: Path) -> None:
    """Name, user, session, tags, public, metadata, input and output of a trace, each with the span it is from."""
    root = Span(
        name="root",
        attributes=[
            ("langfuse.trace.name", "checkout"),
            ("langfuse.trace.public", True),
            ("langfuse.trace.metadata.plan", "pro"),
            ("langfuse.trace.input", "question"),
            ("langfuse.trace.tags", ["a", "b"]),
            ("user.id", "u-1"),
        ],
    )
    child = Span(span_id="2122232425262728", parent_id=root.span_id, attributes=[("session.id", "s-1")])
    file = tmp_path / "request.pb"
    file.write_bytes(to_protobuf(export(root, child)))
    (trace,) = json.loads(_explain(file, "--json").stdout)["traces"]
    told = f"said of the trace by span {root.span_id}"
    assert trace["id"] == root.trace_id
    assert _filled(trace) == {
        "name": ([told], "checkout"),
        "user_id": ([f"its root, span {root.span_id}"], "u-1"),
        "session_id": ([f"span {child.span_id}, the earliest that says it"], "s-1"),
        "public": ([told], "true"),
        "tags": (["all of its spans"], "a, b"),
        "metadata[plan]": ([told], "pro"),
        "input": ([told], "question"),
    }


def test_log_events_are_explained(tmp_path: Path) -> None:
    """Log records are told from spans; each event says which span it completes, other records are rejected."""
    file = tmp_path / "request.pb"
    event = record("gen_ai.user.message", {"content": "hi"}, trace_id="ab" * 16, span_id="cd" * 8)
    file.write_bytes(logs_to_protobuf([event, record("", "plain")]))
    shown = _explain(file).stdout
    assert "request.pb: protobuf, 1 log event, 1 rejected" in shown
    assert f"completes span {'cd' * 8} of trace {'ab' * 16}\n" in shown
    assert "event gen_ai.user.message" in shown
    assert '[{"role":"user","parts":[{"type":"text","content":"hi"}]}]' in shown


# --- one recording of each family of dialects ------------------------------------------------------------------------

_FAMILIES = {
    "js/vercel-ai-6": "Vercel AI SDK",
    "js/vercel-ai-7": "Vercel AI SDK 7",
    "js/langfuse-5": "Langfuse",
    "js/openinference": "OpenInference",
    "js/traceloop-0.27": "OpenLLMetry (Traceloop)",
    "js/mastra-1.71": "Mastra",
    "js/genkit-1.42": "Genkit",
    "python/otel-openai-v2": "OpenTelemetry GenAI",
    "python/pydantic-ai-2": "Pydantic AI",
    "python/logfire": "Pydantic Logfire",
    "python/mlflow": "MLflow",
    "python/litellm-otel": "LiteLLM",
    "python/google-adk": "Google ADK",
    "python/haystack-native": "Haystack",
    "python/strands-agents": "Strands Agents",
    "python/langwatch": "LangWatch",
    "python/openlit": "OpenLIT",
    "python/semantic-kernel": "Semantic Kernel",
    "python/ms-agent-framework": "Microsoft Agent Framework",
    "python/azure-ai-inference": "Azure AI Inference",
    "python/fastmcp-native": "Model Context Protocol",
}


@pytest.mark.parametrize(("source", "title"), _FAMILIES.items())
def test_recordings_are_explained(source: str, title: str) -> None:
    """Each family is recognised, says by what, and accounts for every attribute, families and objects included."""
    found = [each for each in recordings() if each.signal == "traces" and each.file.startswith(f"{source}/")]
    seen: set[str] = set()
    for recording in found[:5]:
        sent = [span for resource in recording.export() for scope in resource.scopes for span in scope.spans]
        explained = _explained_recording(recording)
        assert [one["id"] for one in explained] == [span.span_id for span in sent]
        seen.update(one["convention"] for one in explained if one["recognised_by"])
        for span, one in zip(sent, explained, strict=True):
            assert [key for key, value in span.attributes if not _is_told(key, value, one)] == [], span.name
    assert title in seen


def _is_told(key: str, value: Any, explained: dict[str, Any]) -> bool:
    """Whether an attribute is named, alone, with a place in it, or with others of its family; or has its entry."""
    lost = [one["source"] for one in explained["lost"]]
    sources = [source for one in explained["filled"] for source in one["sources"]]
    told = {source.split(" = ")[0].split("#")[0] for source in [*sources, *lost, *explained["copies"]]}
    families = tuple(source.removesuffix("N") for source in told if source.endswith(".N"))
    entries = {*explained["metadata"]}
    return (
        key in told | entries
        or key.startswith(families or ("\0",))
        or any(key.endswith(f".{entry}") for entry in entries)
        or value in ("", None, [], {})
    )


# --- whose conventions -----------------------------------------------------------------------------------------------


def test_the_conventions_of_a_pipeline_are_asked_for(tmp_path: Path) -> None:
    """With several pipelines one must be named, and it must exist."""
    file, config = tmp_path / "request.pb", tmp_path / "my.yaml"
    file.write_bytes(to_protobuf(export(_CALL)))
    text = MINIMAL.replace("local:", "local:\n  local/b: {directory: b}")
    text = text.replace("  otlp:", "  otlp/b: {protocols: {grpc: {endpoint: 'localhost:1'}}}\n  otlp:")
    own = "conventions: [{name: acme, title: Acme, precedence: 5, fields: {agent_name: [acme.ticket]}}]"
    config.write_text(f"{text}    traces/b: {{receivers: [otlp/b], buffer: local/b, exporters: [debug], {own}}}\n")
    unnamed, wrong, named = (
        _explain(file, "--config", str(config), *more, "--json")
        for more in ((), ("--pipeline", "traces/c"), ("--pipeline", "traces/b"))
    )
    assert unnamed.exit_code == wrong.exit_code == 1
    assert "say which with --pipeline (traces, traces/b)" in unnamed.stderr
    assert "no pipeline traces/c: it has traces, traces/b" in wrong.stderr
    assert _filled(json.loads(named.stdout)["spans"][0])["agent_name"] == (["acme.ticket"], "T-1")


# --- for people ------------------------------------------------------------------------------------------------------


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
