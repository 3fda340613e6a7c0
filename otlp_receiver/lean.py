"""Memory that a process need not have, and memory given back."""

import asyncio
import ctypes
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Final

_PAGES: Final = Path("/proc/self/statm")
"""Second: resident pages; proc_pid_statm(5)."""
_MAPPINGS: Final = Path("/proc/self/maps")
_DONT_NEED: Final = 4
"""MADV_DONTNEED of Linux's mman.h."""
_MOST_FILES: Final = 1 << 20
"""Linux grants no more unless its `fs.nr_open` was raised."""
_ARENA_MAX: Final = -8
"""M_ARENA_MAX of glibc's malloc.h."""
_ARENAS: Final = 2
_LOOK_SECONDS: Final = 1.0
_WORTH_BYTES: Final = 64 * 2**20
"""Below this growth there is little to give back."""
_AGAIN_SECONDS: Final = 10.0
"""What was in use the last time, by requests that wait for a disk for example, may be free now."""
_BUSY: Final = 0.2
"""Processor seconds a second from which on memory is needed again at once; to give it back then costs page faults."""


class _LeftOut(MetaPathFinder):
    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in self._names:
            raise ModuleNotFoundError("left out to save memory", name=fullname)
        return None


def leave_out(*names: str) -> None:
    """Let the imports of optional packages fail, as if they were not installed; to be called before they are tried."""
    sys.meta_path.insert(0, _LeftOut(names))


def allow_many_connections() -> None:
    """As many open files as the system grants without more rights: each connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if most == resource.RLIM_INFINITY else min(most, _MOST_FILES)
    with suppress(OSError, ValueError):  # granted less than it says; what there was stays
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def share_arenas() -> None:
    """Let threads share glibc's heaps, since what is free in one is of no use to another; to be called at the start."""
    if hasattr(_c_library(), "mallopt"):
        _c_library().mallopt(_ARENA_MAX, _ARENAS)


def resident_bytes() -> int:
    """Memory that the process has at the moment."""
    try:
        return int(_PAGES.read_bytes().split()[1]) * resource.getpagesize()
    except FileNotFoundError:  # not Linux
        return int(_process().memory_info().rss)


async def give_back_when_idle(memory: Callable[[], int] = resident_bytes) -> None:
    """Runs until cancelled: what a peak has left free in the allocator goes back to the system once it is over."""
    quiet_bytes, used_seconds, given_at = memory(), time.process_time(), -_AGAIN_SECONDS
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        before_seconds, used_seconds = used_seconds, time.process_time()
        now_bytes = memory()
        is_idle = used_seconds - before_seconds < _BUSY * _LOOK_SECONDS
        if is_idle and now_bytes > quiet_bytes + _WORTH_BYTES and time.monotonic() - given_at >= _AGAIN_SECONDS:
            await asyncio.to_thread(give_back)
            given_at = time.monotonic()
        quiet_bytes = min(quiet_bytes, now_bytes)


def give_back() -> None:
    """Return free memory to the system, where the C library can (glibc)."""
    if hasattr(_c_library(), "malloc_trim"):
        _c_library().malloc_trim(0)


def give_back_code() -> None:
    """Let go of the pages of libraries that only the start has run; what is needed again comes from the page cache.

    They cost the machine nothing, since files are cached once for all processes and dropped when memory is short. But
    they count as ours, a quarter of an idle process, and by that a container is judged.
    """
    with suppress(FileNotFoundError):  # not Linux
        for start, end in _code(_MAPPINGS.read_text()):
            _c_library().madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _DONT_NEED)


def _code(mappings: str) -> Iterator[tuple[int, int]]:
    """The addresses of code out of files, which nobody has changed since it was read; proc_pid_maps(5)."""
    for line in mappings.splitlines():
        addresses, rights, _, _, inode, *_ = line.split(maxsplit=5)
        if rights == "r-xp" and inode != "0":
            start, _, end = addresses.partition("-")
            yield int(start, 16), int(end, 16)


@cache
def _process() -> Any:
    import psutil  # 1 MB that Linux can do without

    return psutil.Process()


@cache
def _c_library() -> Any:
    return ctypes.CDLL(None)
