"""`make bench`: every figure with its baseline from the same run; a full run writes benchmarks/README.md."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.auth import auth_stage
from benchmarks.kafka import kafka_stage
from benchmarks.measure import Report, versions
from benchmarks.queries import queries_stage, storage_stage
from benchmarks.stages import append_stage, decode_stage, export_stage, map_stage
from benchmarks.whole import ingest_stage, socket_stage

STAGES: Final[dict[str, Callable[[Report], None]]] = {
    "decode": decode_stage,
    "map": map_stage,
    "append": append_stage,
    "export": export_stage,
    "ingest": ingest_stage,
    "auth": auth_stage,
    "sockets": socket_stage,
    "kafka": kafka_stage,
    "storage": storage_stage,
    "queries": queries_stage,
}

_HEAD: Final = """\
# Benchmarks

Written by `make bench`; `make bench BENCH='decode map'` runs some and writes nothing. Spans: *chat* ~2.3 KB with 18
attributes, *large* ~20 KB, *small* two attributes. The load generator runs on the same cores as the service. Absolute
figures belong to the machine below; ratios travel.
"""


def main(names: list[str]) -> int:
    """Run the named stages, or all of them."""
    unknown = [name for name in names if name not in STAGES]
    if unknown:
        print(f"unknown benchmark {', '.join(unknown)}; there are {', '.join(STAGES)}", file=sys.stderr)
        return 2
    report, page = Report(), Path(__file__).parent / "README.md"
    for name in names or STAGES:
        STAGES[name](report)
        if not names:  # after each: half an hour's figures are not to be lost
            page.write_text(f"{_HEAD}\nMachine: {versions()}\n\n{report.markdown()}", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
