"""`make bench`: every figure with its baseline from the same run; a full run writes benchmarks/README.md."""

import sys
from collections.abc import Callable
from typing import Final

from benchmarks.auth import auth_stage
from benchmarks.goals import PAGE, numbers
from benchmarks.kafka import kafka_stage
from benchmarks.measure import Report, versions
from benchmarks.queries import queries_stage, storage_stage
from benchmarks.stages import append_stage, decode_stage, export_stage, map_stage
from benchmarks.variants import variants_stage
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

_BY_NAME_ONLY: Final[dict[str, Callable[[Report], None]]] = {"variants": variants_stage}
"""Hours, for a decision and not for the page."""

_HEAD: Final = """\
# Benchmarks

Written by `make bench`; `make bench BENCH='decode map'` runs some and writes nothing. Spans: *chat* ~2.3 KB with 18
attributes, *large* ~20 KB, *small* two attributes. The load generator runs on the same cores as the service. Absolute
figures belong to the machine below; ratios travel.
"""


def main(names: list[str]) -> int:
    """Run the named stages, or all of them."""
    stages = {**STAGES, **_BY_NAME_ONLY}
    unknown = [name for name in names if name not in stages]
    if unknown:
        print(f"unknown benchmark {', '.join(unknown)}; there are {', '.join(stages)}", file=sys.stderr)
        return 2
    report = Report()
    for name in names or STAGES:
        stages[name](report)
        if not names:  # after each: half an hour's figures are not to be lost
            PAGE.write_text(f"{_HEAD}\nMachine: {versions()}\n\n{report.markdown()}\n{numbers(report)}", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
