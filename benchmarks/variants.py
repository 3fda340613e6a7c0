"""The schema's alternatives by figures: what rows cost to insert and to merge, their size, what questions cost.

`make bench BENCH=variants` measures them all, BENCH_VARIANTS='maps LZ4; no indexes' some. Each has a process of its
own, in which the declared schema takes the same rows by turns. The questions of `benchmarks.queries` are asked of
BENCH_VARIANT_ROWS rows (10,000,000; 0 for none) where an answer might come faster or slower: hours, and 7 GB of disk.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from benchmarks.measure import Figure, Report, percentile
from benchmarks.replayed import COPY_ROWS
from exporters.clickhouse_calls import COUNTING_TABLES

DECLARED: Final = "as declared"


@dataclass(frozen=True, slots=True)
class Variant:
    """What is not as declared.

    Attributes:
        changes: patterns and their replacements, in the statements that make the schema.
        settings: of each INSERT.
        block_rows: observations of each INSERT.
        left_out: materialized views that are dropped.
        encoded: texts of few values are handed over as Arrow dictionaries.
    """

    changes: tuple[tuple[str, str], ...] = ()
    settings: str = ""
    block_rows: int = COPY_ROWS
    left_out: tuple[str, ...] = ()
    encoded: bool = False


def _other(pattern: str, replacement: str) -> Variant:
    return Variant(((pattern, replacement),))


def _tables(settings: str) -> Variant:
    return _other(r"\nSETTINGS (?=[^\n]*ttl_only)", f"\nSETTINGS {settings}, ")


_TEXTS: Final = r"(`(?:input|output|tool_definitions)` String .*)ZSTD\(3\)"
_TEXT_MAPS: Final = r"Map\(LowCardinality\(String\), String\)"
_MAPS: Final = r"(`\w+` Map\(.*)ZSTD\(1\)"
_IDS: Final = r"(`(?:trace_id|id|parent_observation_id)` String .*)ZSTD\(1\)"
_LONGER: Final = "max_compress_block_size = 4194304"
_FROM_64_MIB: Final = "min_bytes_for_wide_part = 67108864, min_level_for_wide_part = 1"
_KEY: Final = r"ORDER BY \(project_id, trace_id, id\)"

VARIANTS: Final[dict[str, Variant]] = {
    DECLARED: Variant(),
    "texts ZSTD(1)": _other(_TEXTS, r"\1ZSTD(1)"),
    "texts ZSTD(2)": _other(_TEXTS, r"\1ZSTD(2)"),
    "texts ZSTD(6)": _other(_TEXTS, r"\1ZSTD(6)"),
    "texts ZSTD(1, 22)": _other(_TEXTS, r"\1ZSTD(1, 22)"),
    "texts LZ4": _other(_TEXTS, r"\1LZ4"),
    "4 MiB at a time": _tables(_LONGER),
    "4 MiB at a time with texts ZSTD(1)": Variant(((_TEXTS, r"\1ZSTD(1)"), *_tables(_LONGER).changes)),
    "4 MiB at a time with texts ZSTD(1, 22)": Variant(((_TEXTS, r"\1ZSTD(1, 22)"), *_tables(_LONGER).changes)),
    "maps LZ4": _other(_MAPS, r"\1LZ4"),
    "maps keyed by String": _other(_TEXT_MAPS, "Map(String, String)"),
    "maps in buckets": _tables("map_serialization_version = 'with_buckets'"),
    "maps as arrays of pairs": _other(_TEXT_MAPS + "(?= COMMENT)", "Array(Tuple(LowCardinality(String), String))"),
    "few values as String": _other(r"LowCardinality\(String\)", "String"),
    "ids LZ4": _other(_IDS, r"\1LZ4"),
    "ids uncompressed": _other(_IDS, r"\1NONE"),
    "times DoubleDelta": _other(r"Delta\(8\), LZ4", "DoubleDelta, LZ4"),
    "times ZSTD(1)": _other(r"Delta\(8\), LZ4", "Delta(8), ZSTD(1)"),
    "counts Delta and ZSTD(1)": _other(r"T64, LZ4", "Delta, ZSTD(1)"),
    "counts ZSTD(1)": _other(r"T64, LZ4", "T64, ZSTD(1)"),
    "no indexes": _other(r",\n    INDEX [^\n]*?(?=,?\n)", ""),
    "indexes at 0.01": _other(r"bloom_filter\(0.0001\)", "bloom_filter(0.01)"),
    "key by hour": _other(_KEY, "ORDER BY (project_id, toStartOfHour(start_time), trace_id, id)"),
    "granules of 2,048": _tables("index_granularity = 2048"),
    "granules of any size": _tables("index_granularity_bytes = 104857600"),
    "parts wide": _tables("min_bytes_for_wide_part = 0"),
    "parts compact": _tables("min_bytes_for_wide_part = 1000000000000"),
    "no sparse columns": _tables("ratio_of_defaults_for_sparse_serialization = 1"),
    "merged by rows": _tables("enable_vertical_merge_algorithm = 0"),
    "merged parts wide from 64 MiB": _tables(_FROM_64_MIB),
    "merged parts wide from 64 MiB, by columns": _tables(
        f"{_FROM_64_MIB}, vertical_merge_algorithm_min_rows_to_activate = 1"
    ),
    "no counting": Variant(left_out=tuple(table.feed for table in COUNTING_TABLES)),
    "no call_rows": Variant(left_out=("call_rows_feed",)),
    "no call_parent_rows": Variant(left_out=("call_parent_rows_feed",)),
    "copies merged on insert": Variant(settings="optimize_on_insert = 1"),
    "blocks of 8,192": Variant(block_rows=COPY_ROWS // 2),
    "blocks of 32,768": Variant(block_rows=COPY_ROWS * 2),
    "blocks of 65,536": Variant(block_rows=COPY_ROWS * 4),
    "not synced": _tables("fsync_after_insert = 0, fsync_part_directory = 0"),
    "few values as dictionaries": Variant(encoded=True),
}  # fmt: skip
"""All that was tried. What was decided: docs/decisions/0011-schema-by-figures.md."""

_ASKED: Final = (DECLARED, "texts ZSTD(1)", "no indexes", "key by hour")
"""Of whose rows questions are asked: what the others change, a merged day does not show."""

_NAMES: Final = os.environ.get("BENCH_VARIANTS", "")
_ROWS: Final = os.environ.get("BENCH_VARIANT_ROWS", "10000000")


def variants_stage(report: Report) -> None:
    """Each variant beside the declared schema; last, what questions cost."""
    names = [name.strip() for name in _NAMES.split(";") if name.strip()] or list(VARIANTS)
    for name in names:
        declared, varied = _measured(name)
        rows = declared["rows"]
        value = ", ".join(_beside(what, declared[what], varied[what], rows) for what in ("insert", "merge"))
        size = f"{varied['bytes'] / rows:,.0f} bytes a row ({varied['bytes'] / declared['bytes'] - 1:+.0%})"
        beside = ", ".join(f"{what} {_micros(declared[what], rows):.1f}" for what in ("insert", "merge"))
        report.add(
            "variants", Figure(name, f"{value}, {size}", f"declared: {beside} µs, {declared['bytes'] / rows:,.0f}")
        )
    for name in _ASKED if int(_ROWS) else ():
        if name in names:
            for question, times in _measured(name, _ROWS).items():
                report.add("variants", Figure(f"{name}: {question}, {int(_ROWS):,} rows", _asked(*times)))


def _measured(*arguments: str) -> Any:
    command = [sys.executable, "-m", "benchmarks.compared", *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _beside(what: str, declared: list[float], varied: list[float], rows: int) -> str:
    """Rounds are compared one by one: the load of a shared machine changes between them."""
    change = median(theirs / ours for ours, theirs in zip(declared, varied, strict=True)) - 1
    return f"{what} {_micros(varied, rows):.1f} µs of processor a row ({change:+.0%})"


def _micros(seconds: list[float], rows: int) -> float:
    return median(seconds) / rows * len(seconds) * 1e6


def _asked(processor_seconds: list[float], clock_seconds: list[float]) -> str:
    kinds = {"processor": processor_seconds, "clock": clock_seconds}
    shown = ("{} p50 {:.0f} ms, p95 {:.0f} ms".format(name, *_millis(times)) for name, times in kinds.items())
    return "; ".join(shown)


def _millis(seconds: list[float]) -> tuple[float, float]:
    return percentile(seconds, 0.5) * 1000, percentile(seconds, 0.95) * 1000
