"""`send-sample` against real receivers: what arrives, and what is said when it does not."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pyarrow.compute as pc
import pytest
from typer.testing import CliRunner, Result

from config.conventions import load_conventions
from otlp_receiver.cli.main import app
from otlp_receiver.cli.output import program
from otlp_receiver.decode import decode
from otlp_receiver.mapping import map_spans
from otlp_receiver.mapping.plan import Plan
from pipelines.batch import Batch
from pipelines.errors import Retryable
from pipelines.ingest import Accepted, BadRequest, Request
from tests.support.receivers import RememberingIntake, grpc_server, http_server, on_uvloop
from tests.support.service import free_ports

_SERVERS: dict[str, Callable[..., Any]] = {"grpc": grpc_server, "http/protobuf": http_server}
_PROTOCOLS = pytest.mark.parametrize("protocol", list(_SERVERS))


def _mapped(requests: list[Request]) -> dict[str, Batch]:
    table, outcomes = decode(requests)
    assert all(isinstance(outcome, Accepted) and not outcome.rejected_spans for outcome in outcomes)
    return {batch.kind: batch for batch in map_spans(Plan(load_conventions()), table, requests)}


async def _send(protocol: str, intake: RememberingIntake, *options: str) -> Result:
    """What the command says to a real receiver in front of `intake`."""
    async with _SERVERS[protocol](intake) as server:
        endpoint = f"http://{server.endpoints[0]}"
        arguments = ["send-sample", "--protocol", protocol, "--endpoint", endpoint, *options]
        return await asyncio.to_thread(CliRunner().invoke, app, arguments)


@_PROTOCOLS
@on_uvloop
async def test_the_first_run_shows_everything(protocol: str) -> None:
    """One run has an agent, model calls, tools, retrieval, an error, streaming, cached tokens, cost, user, session."""
    intake = RememberingIntake()
    done = await _send(protocol, intake)
    assert done.exit_code == 0, done.stderr
    batches = _mapped(intake.consumed)
    rows = batches["observations"].records
    (trace_id,) = set(rows.column("trace_id").to_pylist())
    assert f"{program()} trace {trace_id}\n" in done.stdout
    assert f"1 trace with {rows.num_rows} spans" in done.stdout
    types = {"AGENT", "GENERATION", "TOOL", "EMBEDDING", "RETRIEVER", "RERANKER"}
    assert set(rows.column("type").to_pylist()) == types
    assert rows.column("level").to_pylist().count("ERROR") == 1
    assert rows.column("completion_start_time").null_count < rows.num_rows
    assert "input_cached_tokens" in {key for usage in rows.column("usage_details").to_pylist() for key, _ in usage}
    assert pc.sum(rows.column("total_cost")).as_py() > 0
    trace = batches["traces"].records
    assert trace.column("user_id")[0]["value"].as_py()
    assert trace.column("session_id")[0]["value"].as_py()
    assert batches["scores"].rows == 1


@on_uvloop
async def test_nothing_is_left_to_metadata_but_what_no_column_shows() -> None:
    """The sample speaks the conventions as they are: hardly an attribute has no column."""
    intake = RememberingIntake()
    await _send("grpc", intake, "--count", "30", "--seed", "1")
    rows = _mapped(intake.consumed)["observations"].records
    left = {key for entries in rows.column("metadata").to_pylist() for key, _ in entries}
    assert left <= {
        "error.type",
        "http.response.status_code",
        "gen_ai.tool.type",
        "gen_ai.data_source.id",
        "gen_ai.embeddings.dimension.count",
    }


@_PROTOCOLS
@on_uvloop
async def test_many_runs_look_alive(protocol: str) -> None:
    """A hundred traces differ in models, users, sessions, errors and times; all are of the past, none twice."""
    intake = RememberingIntake()
    done = await _send(protocol, intake, "--count", "100", "--seed", "5")
    assert done.exit_code == 0, done.stderr
    batches = _mapped(intake.consumed)
    rows, traces = batches["observations"].records, batches["traces"].records
    assert len(intake.consumed) < 10
    assert len(set(rows.column("id").to_pylist())) == rows.num_rows
    assert len(set(rows.column("trace_id").to_pylist())) == 100
    assert f"100 traces with {rows.num_rows} spans" in done.stdout
    assert len(set(rows.column("provider").to_pylist()) - {""}) >= 4
    assert len({user["value"] for user in traces.column("user_id").to_pylist()}) > 10
    assert 3 < rows.column("level").to_pylist().count("ERROR") < 100
    starts, ends = (rows.column(name).cast("int64").to_numpy() for name in ("start_time", "end_time"))
    assert (ends >= starts).all()
    assert ends.max() <= intake.consumed[0].received_at_ns
    assert starts.max() - starts.min() > 3600 * 10**9


@on_uvloop
async def test_a_seed_gives_the_same_conversations() -> None:
    """The same seed repeats what is said, never the ids: a second sending adds traces instead of replacing them."""
    sent = []
    for _ in range(2):
        intake = RememberingIntake()
        await _send("grpc", intake, "--count", "5", "--seed", "9")
        rows = _mapped(intake.consumed)["observations"].records
        sent.append((rows.column("output").to_pylist(), set(rows.column("trace_id").to_pylist())))
    (first_outputs, first_ids), (second_outputs, second_ids) = sent
    assert first_outputs == second_outputs
    assert first_ids.isdisjoint(second_ids)


@_PROTOCOLS
@on_uvloop
async def test_rejected_spans_are_an_error(protocol: str) -> None:
    """A partial success, which the SDK's exporters drop, is told with number and reason."""
    done = await _send(protocol, RememberingIntake(Accepted(9, 4, "spans[0].spanId: all zeros")))
    assert done.exit_code == 1
    assert "refused 4 spans: spans[0].spanId: all zeros" in done.stderr
    assert done.stdout == ""


@_PROTOCOLS
@on_uvloop
async def test_a_refused_request_is_an_error(protocol: str) -> None:
    """A request that the receiver refuses for good is told with what the receiver said."""
    done = await _send(protocol, RememberingIntake(BadRequest("no such thing")))
    assert done.exit_code == 1
    assert "did not take the spans: Failed to export" in done.stderr
    assert "no such thing" in done.stderr or protocol == "http/protobuf"  # whose exporter does not read the body
    assert done.stdout == ""


@_PROTOCOLS
def test_a_full_buffer_is_an_error_after_the_retries(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter tries again while it is told to wait; when it gives up the command says so."""
    monkeypatch.setattr("otlp_receiver.cli.otlp_sender._EXPORT_SECONDS", 0.5)

    @on_uvloop
    async def send() -> None:
        done = await _send(protocol, RememberingIntake(Retryable("the buffer is full")))
        assert done.exit_code == 1
        assert "did not take the spans" in done.stderr

    send()


@on_uvloop
async def test_a_switched_off_sdk_is_told() -> None:
    """The variable that switches the SDK off must not look like success."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_SDK_DISABLED", "true")
        done = await _send("grpc", RememberingIntake())
    assert done.exit_code == 1
    assert "is OTEL_SDK_DISABLED set?" in done.stderr


@_PROTOCOLS
def test_nothing_listens(protocol: str) -> None:
    """One line that names the address and the cure, at once."""
    endpoint = f"127.0.0.1:{free_ports(1)[0]}"
    done = CliRunner().invoke(app, ["send-sample", "--protocol", protocol, "--endpoint", endpoint])
    assert done.exit_code == 1
    assert done.stderr.startswith(f"error: no receiver listens at {endpoint} (Connection refused); start it with")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("endpoint", ["ftp://x", "http://", "127.0.0.1:x", "http://127.0.0.1:99999", "::"])
def test_what_is_no_endpoint(endpoint: str) -> None:
    """An impossible address is told with an example of a possible one."""
    done = CliRunner().invoke(app, ["send-sample", "--endpoint", endpoint])
    assert done.exit_code == 1
    assert "is no OTLP endpoint; expected one such as http://127.0.0.1:4317" in done.stderr


def test_proxies_of_the_environment_are_not_for_the_own_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy variable, as most companies set it, does not get between the command and a local receiver."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "grpc_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")

        @on_uvloop
        async def send() -> None:
            for protocol in _SERVERS:
                done = await _send(protocol, RememberingIntake())
                assert done.exit_code == 0, done.stderr

        send()
