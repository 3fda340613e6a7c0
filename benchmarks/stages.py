"""The stages on their own, in this process: decode, map, append, export."""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import orjson
import pyarrow as pa

from benchmarks.bare import insert_rate
from benchmarks.fresh_ids import FreshIds
from benchmarks.measure import Figure, Report, cpu_seconds, per_second
from benchmarks.payloads import SHAPES, Generator
from config.conventions import load_conventions
from config.models import ChdbExporterSettings, LocalBufferSettings
from otlp_receiver.decode import decode, lenient, native
from otlp_receiver.mapping import Plan, map_spans
from pipelines.batch import Batch
from pipelines.blocks import join
from pipelines.buffers import LocalBuffer
from pipelines.ingest import Request
from tests.support.otlp import to_json
from tests.support.otlp_reading import from_protobuf

_SPANS: Final = 4096
_BLOCK_ROWS: Final = 16384
_BLOCKS: Final = 4

_Parser = tuple[str, Callable[[bytes], object]]
"""A library's name, and what it makes of a body."""


def _requests(shape: str, spans_per_request: int, spans: int = _SPANS, seed: int = 1) -> list[Request]:
    template = FreshIds(Generator(seed).request(shape, spans_per_request), seed)
    count = max(1, spans // spans_per_request)
    return [Request(template.next(), "protobuf", "default", time.time_ns()) for _ in range(count)]


def _cases() -> Iterator[tuple[str, int, list[Request]]]:
    for shape in SHAPES:
        for spans_per_request in (1, 64, 512):
            yield shape, spans_per_request, _requests(shape, spans_per_request)


def _rate(spans_per_second: float, requests: list[Request], spans_per_request: int) -> str:
    span_bytes = sum(len(request.body) for request in requests) / (len(requests) * spans_per_request)
    return f"{spans_per_second:,.0f} spans/s, {spans_per_second * span_bytes / 1e6:,.0f} MB/s"


def decode_stage(report: Report) -> None:
    """Request bytes to SpanTable by each decoder, beside the bare parsing of the same bytes."""
    protobuf_parser = ("protobuf", lenient.request_class().FromString)
    for shape, spans_per_request, requests in _cases():
        what = f"{shape}, {spans_per_request} spans a request"
        _decode_case(report, what, requests, spans_per_request, protobuf_parser)
    for spans_per_request in (1, 64, 512):
        requests = [_as_json(request) for request in _requests("chat", spans_per_request)]
        what = f"chat in JSON, {spans_per_request} spans a request"
        _decode_case(report, what, requests, spans_per_request, ("orjson", orjson.loads))


def _as_json(request: Request) -> Request:
    """The same in OTLP/JSON, compact as JavaScript writes it."""
    body = orjson.dumps(orjson.loads(to_json(from_protobuf(request.body))))
    return replace(request, body=body, encoding="json")


def _decode_case(report: Report, what: str, requests: list[Request], spans_per_request: int, parser: _Parser) -> None:
    spans = len(requests) * spans_per_request
    name, parse = parser

    def parse_all() -> int:
        for request in requests:
            parse(request.body)
        return spans

    def work(decoder: native.Decoder) -> int:
        decode(requests, decoder)
        return spans

    decoders: tuple[native.Decoder, ...] = ("native", "python") if native.kernel() else ("python",)
    bare = per_second(parse_all)
    rates = {decoder: per_second(partial(work, decoder)) for decoder in decoders}
    for decoder, ours in rates.items():
        other = f"Python decoder {rates['python']:,.0f} spans/s ({ours / rates['python']:.1f} times), "
        beside = f"{other if decoder != 'python' else ''}{name} parse alone {bare:,.0f} spans/s ({ours / bare:.0%})"
        value = _rate(ours, requests, spans_per_request)
        report.add("decode", Figure(f"{what}, {decoder} decoder", value, beside))


def map_stage(report: Report) -> None:
    """SpanTable to observations and traces, beside the decode of the same requests."""
    plan = Plan(load_conventions())
    for shape, spans_per_request, requests in _cases():
        table, _ = decode(requests)
        spans = table.spans.num_rows

        def work(table: object = table, requests: list[Request] = requests, spans: int = spans) -> int:
            map_spans(plan, table, requests)  # type: ignore[arg-type]  # a default argument binds the loop variable
            return spans

        def both(requests: list[Request] = requests, spans: int = spans) -> int:
            map_spans(plan, decode(requests)[0], requests)
            return spans

        ours, together = per_second(work), per_second(both)
        what = f"{shape}, {spans_per_request} spans a request"
        value = f"{_rate(ours, requests, spans_per_request)}, {1e6 / ours:.1f} µs a span"
        report.add("map", Figure(what, value, f"decode and map {together:,.0f} spans/s"))


def append_stage(report: Report) -> None:
    """Batches into the local buffer, fsynced, beside a bare write and fsync of their bytes."""
    for shape, spans_per_request in (("small", 512), ("chat", 512), ("large", 512)):
        requests = _requests(shape, spans_per_request, 2048)
        batches = map_requests(requests)
        spans = sum(batch.rows for batch in batches if batch.kind == "observations")
        with tempfile.TemporaryDirectory() as directory:
            buffer = LocalBuffer(LocalBufferSettings(directory=directory, max_size_mib=16384), "local")
            buffer.open()

            def work(buffer: LocalBuffer = buffer, batches: list[Batch] = batches, spans: int = spans) -> int:
                buffer.append(batches)
                return spans

            ours = per_second(work)
            buffer.close()
            bare = _bare_append(Path(directory) / "bare", batches, spans)
        what = f"{shape}, groups of {spans} spans"
        beside = f"Arrow IPC to a file with fsync {bare:,.0f} spans/s ({ours / bare:.0%})"
        report.add("append", Figure(what, _rate(ours, requests, spans_per_request), beside))


def mapped_batches(shape: str, spans: int, seed: int = 1) -> list[Batch]:
    """The batches that so many spans become."""
    return map_requests(_requests(shape, min(512, spans), spans, seed))


def map_requests(requests: list[Request]) -> list[Batch]:
    """What requests become."""
    return map_spans(Plan(load_conventions()), decode(requests)[0], requests)


def _bare_append(path: Path, batches: list[Batch], spans: int) -> float:
    import os

    with path.open("wb") as file:

        def work() -> int:
            for batch in batches:
                with pa.ipc.new_stream(file, batch.records.schema) as writer:
                    writer.write_batch(batch.records)
            file.flush()
            os.fsync(file.fileno())
            return spans

        return per_second(work)


def export_stage(report: Report) -> None:
    """Blocks into chDB through the exporter, beside the bare INSERT of the same rows."""
    from exporters.chdb_store import ChdbExporter

    blocks = [join(mapped_batches("chat", _BLOCK_ROWS, seed)) for seed in range(1, 2 * _BLOCKS + 1)]
    with tempfile.TemporaryDirectory() as directory:
        exporter = ChdbExporter("chdb", ChdbExporterSettings(path=f"{directory}/chdb"))
        exporter.open()
        try:
            began = time.perf_counter()
            with cpu_seconds() as cpu:
                for block in blocks[:_BLOCKS]:
                    for batch in block:
                        exporter.export(batch)
            ours = _BLOCKS * _BLOCK_ROWS / (time.perf_counter() - began)
            bare = insert_rate(exporter.settings.path, [block[0] for block in blocks[_BLOCKS:]])
        finally:
            exporter.close()
    micros = cpu[0] / (_BLOCKS * _BLOCK_ROWS) * 1e6
    value = f"{ours:,.0f} spans/s, {micros:.0f} µs of processor a span, with trace rows and fsync"
    beside = f"bare INSERT {bare:,.0f} rows/s ({ours / bare:.0%})"
    report.add("export", Figure(f"chat, {_BLOCK_ROWS:,} rows a block", value, beside))
