"""What a process does to stay small."""

import asyncio
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from otlp_receiver import lean

MIB = 2**20


def in_a_process(code: str) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("pages", [lean._PAGES, Path("/nowhere")], ids=["as here", "not Linux"])
def test_resident_bytes(monkeypatch: pytest.MonkeyPatch, pages: Path) -> None:
    """The number is the system's own, wherever it is read, and follows what is taken."""
    monkeypatch.setattr(lean, "_PAGES", pages)
    before = lean.resident_bytes()
    taken = bytearray(b"x") * (64 * MIB)

    assert lean.resident_bytes() > before + 48 * MIB
    assert abs(lean.resident_bytes() - psutil.Process().memory_info().rss) < 16 * MIB
    assert len(taken) == 64 * MIB


def test_as_many_files_as_allowed() -> None:
    """The soft limit on open files becomes the hard one, from where no rights are needed."""
    code = (
        "import resource; from otlp_receiver.lean import allow_many_connections\n"
        "_, hard = resource.getrlimit(resource.RLIMIT_NOFILE); hard = min(hard, 4096) if hard > 0 else 4096\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard)); allow_many_connections()\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard))"
    )

    assert in_a_process(code) == "True\n"


@pytest.mark.skipif(sys.platform != "linux", reason="glibc keeps free memory in a way of its own")
def test_free_memory_is_given_back() -> None:
    """Small blocks below one that is kept are free and still resident, until they are given back."""
    code = (
        "from otlp_receiver.lean import give_back, resident_bytes, share_arenas; share_arenas()\n"
        "before = resident_bytes(); blocks = [bytes(2000) for _ in range(100_000)]; kept = blocks[-1]; del blocks\n"
        "free = resident_bytes() - before; give_back(); print(free >> 20, (resident_bytes() - before) >> 20)"
    )
    free_mib, left_mib = map(int, in_a_process(code).split())

    assert free_mib > 100
    assert left_mib < 50


@pytest.mark.skipif(sys.platform != "linux", reason="mappings are listed on Linux alone")
def test_code_of_the_start_is_let_go() -> None:
    """Libraries that were loaded lose pages, and work as before."""
    code = (
        "import numpy, pyarrow as pa; from otlp_receiver.lean import give_back_code, resident_bytes\n"
        "before = resident_bytes(); give_back_code(); print(before - resident_bytes() >> 20)\n"
        "print(int(numpy.arange(5) @ numpy.arange(5)), pa.array([3, 1, 2]).sort().to_pylist())"
    )
    let_go_mib, *results = in_a_process(code).splitlines()

    assert int(let_go_mib) >= 10
    assert results == ["30 [1, 2, 3]"]


def test_code_is_what_comes_from_files() -> None:
    """Neither data, which may have been changed, nor code that was made in memory is let go."""
    mappings = (
        "1000-3000 r-xp 00000000 fe:00 42   /lib/with space.so\n"
        "3000-4000 r--p 00000000 fe:00 42   /lib/with space.so\n"
        "4000-5000 rwxp 00000000 fe:00 42   /lib/with space.so\n"
        "5000-6000 r-xp 00000000 00:00 0 \n"
        "7000-8000 r-xp 00000000 00:00 0    [vdso]\n"
    )

    assert list(lean._code(mappings)) == [(0x1000, 0x3000)]


@pytest.mark.parametrize(
    ("sizes", "times"),
    [
        pytest.param([100, 100, 300, *[120] * 12], 1, id="free at once"),
        pytest.param([100, 300, 300, 300, *[120] * 12], 3, id="in use until the third time"),
    ],
)
def test_given_back_once_the_peak_is_over(monkeypatch: pytest.MonkeyPatch, sizes: list[int], times: int) -> None:
    """Memory is given back after it has grown, until it has shrunk and not for ever."""
    remaining = iter(sizes)
    given_back: list[int] = []
    monkeypatch.setattr(lean, "_LOOK_SECONDS", 0.001)
    monkeypatch.setattr(lean, "_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(lean, "_BUSY", 1e9)
    monkeypatch.setattr(lean, "give_back", lambda: given_back.append(1))

    async def scenario() -> None:
        with pytest.raises(RuntimeError):  # the sizes are used up
            await lean.give_back_when_idle(lambda: next(remaining) * MIB)

    asyncio.run(scenario())
    assert len(given_back) == times
