"""`send-sample`: agent runs to look at, sent as an application would send them."""

import time
from random import Random
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from otlp_receiver.cli.output import count_text, fail, program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import ReadableSpan
    from rich.progress import Progress

    from otlp_receiver.cli.otlp_sender import OtlpSender

_MOST_TRACES: Final = 100_000
_REQUEST_SPANS: Final = 512
# Runs are spread over the recent past: about one a minute and a half, at most a day back.
_SPACING_SECONDS: Final = 90
_LONGEST_PAST_SECONDS: Final = 24 * 3600
_SESSIONS_PER_USER: Final = 3


def send_sample(
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, max=_MOST_TRACES, help="How many agent runs, each a trace.")
    ] = 1,
    endpoint: Annotated[
        str, typer.Option(metavar="URL", help="OTLP endpoint. Default: http://127.0.0.1:4317, for HTTP port 4318.")
    ] = "",
    protocol: Annotated[Literal["grpc", "http/protobuf"], typer.Option(help="How to send.")] = "grpc",
    seed: Annotated[
        int | None, typer.Option(help="Same number, same conversations; ids and times are always new.")
    ] = None,
) -> None:
    """Send sample agent runs to the running service, over OTLP.

    The first is a trip planner: streamed model calls, tools, retrieval with
    embeddings and reranking, a tool that times out and is tried again,
    cached tokens. Further ones vary: models, users, sessions, errors,
    durations, times of the past day.

    Uses the real OpenTelemetry SDK, so OTEL_EXPORTER_OTLP_HEADERS counts.

    For example:

      otlp-receiver send-sample
      otlp-receiver send-sample --count 1000
      otlp-receiver send-sample --protocol http/protobuf
    """
    from otlp_receiver.cli.otlp_sender import DEFAULT_ENDPOINTS, OtlpSender, SendError

    target = endpoint or DEFAULT_ENDPOINTS[protocol]
    try:
        sender = OtlpSender(target, protocol)
        spans, trace_id = _send(sender, count, Random(seed))  # noqa: S311 - variety, not secrecy
        sender.close()
    except SendError as error:
        fail(str(error))
    traces = f"{count_text(count)} trace{'s' * (count > 1)}"
    typer.echo(f"Sent {traces} with {count_text(spans)} spans to {target} ({protocol}); all were accepted.\n")
    typer.echo(f"See what arrived:\n\n  {program()} trace {trace_id}\n  {program()} traces")


def _send(sender: "OtlpSender", count: int, rng: Random) -> tuple[int, str]:
    """Send all runs, several in a request; returns the number of spans and the id of the first trace."""
    from opentelemetry.trace import format_trace_id

    waiting: list[ReadableSpan] = []
    sent, trace_id = 0, ""
    with _progress(count) as progress:
        task = progress.add_task("", total=count)
        for number, spans in enumerate(_runs(count, rng), 1):
            if not spans:
                fail("the OpenTelemetry SDK recorded no span; is OTEL_SDK_DISABLED set?")
            trace_id = trace_id or format_trace_id(spans[0].context.trace_id)
            waiting += spans
            if len(waiting) >= _REQUEST_SPANS or number == count:
                sender.send(waiting)
                sent += len(waiting)
                waiting.clear()
                progress.update(task, completed=number)
    return sent, trace_id


def _progress(count: int) -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("traces sent"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    screen = Console(stderr=True)
    return Progress(*columns, console=screen, transient=True, disable=count == 1 or not screen.is_terminal)


def _runs(count: int, rng: Random) -> "Iterator[tuple[ReadableSpan, ...]]":
    """The finished spans of each run; the first one has ended just now."""
    from otlp_receiver.cli.sample_agent import sample_run
    from otlp_receiver.cli.sample_spans import SampleRecorder
    from otlp_receiver.cli.sample_texts import USERS

    recorder = SampleRecorder(rng)
    now_ns = time.time_ns()
    past_ns = min(count * _SPACING_SECONDS, _LONGEST_PAST_SECONDS) * 10**9
    for number in range(count):
        run = sample_run(rng, number)
        user = rng.choice(USERS)
        identity = {"user.id": user, "gen_ai.conversation.id": f"{user}-{rng.randrange(_SESSIONS_PER_USER) + 1}"}
        ago_ns = rng.randrange(past_ns) if number else 0
        yield recorder.record(run, now_ns - recorder.duration_ns(run) - ago_ns, identity)
