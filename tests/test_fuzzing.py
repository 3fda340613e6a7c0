"""Coverage-guided fuzzing of decode and map, time-boxed, and that hostile requests leave no memory behind."""

import gc
import os
import random
import re
import subprocess
import sys
import tracemalloc
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pyarrow as pa
import pytest

from config.conventions import load_conventions
from otlp_receiver.app import transform
from otlp_receiver.mapping import keys, plan
from pipelines.ingest import Encoding
from tests.support.corpus import recordings
from tests.support.mutations import mutated
from tests.support.span_tables import request

_ROOT: Final = Path(__file__).parent.parent
_SEED: Final = int("CI" in os.environ)  # as in conftest.py: the same for each push; 0 is another one each time
_SLACK_BYTES: Final = 64 * 1024
"""About a hundredth of what the test decodes."""


@pytest.mark.skipif(
    find_spec("atheris") is None and "CI" not in os.environ,
    reason="atheris, the fuzzer, has wheels for Linux on x86-64 up to Python 3.13 only; CI runs this",
)
@pytest.mark.parametrize("rounds", [1, pytest.param(30, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_no_bytes_crash_the_decoder(encoding: Encoding, rounds: int, tmp_path: Path) -> None:
    """Bytes that were bred for coverage are mapped or refused, never raised about, in bounded time and memory."""
    command = [sys.executable, "-m", "tests.support.fuzz_decode", encoding, str(tmp_path), "-max_total_time=15"]
    for _ in range(rounds):
        ended = subprocess.run(
            [*command, f"-seed={_SEED}"],
            cwd=_ROOT,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        found = [f"{path.name}: {path.read_bytes()!r}" for path in tmp_path.glob("found-*")]
        assert (ended.returncode, found) == (0, []), ended.stderr[-5_000:]
        executed = re.search(r"number_of_executed_units: (\d+)", ended.stderr)
        assert executed is not None
        assert int(executed[1]) > 0


def test_hostile_requests_leave_no_memory_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of broken requests, no two alike, are decoded and mapped, and the memory is what it was before."""
    for module in (keys, plan):  # what is remembered on purpose is bounded, and forgotten
        monkeypatch.setattr(module, "_MOST_REMEMBERED", 2**8)
    decode_and_map = transform(load_conventions())
    bodies = [(each.decompressed(), each.encoding) for each in recordings()[::12] if each.signal == "traces"]
    chance = random.Random(1)

    def one_round() -> tuple[int, int]:
        for body, encoding in bodies:
            decode_and_map([request(mutated(body, chance, chance.randrange(1, 9)), encoding)])
        gc.collect()
        return tracemalloc.get_traced_memory()[0], pa.total_allocated_bytes()

    one_round()
    tracemalloc.start()
    try:
        rounds = [one_round() for _ in range(6)]
    finally:
        tracemalloc.stop()
    python_bytes, arrow_bytes = (rounds[-1][index] - rounds[0][index] for index in range(2))
    assert python_bytes < _SLACK_BYTES
    assert arrow_bytes == 0
