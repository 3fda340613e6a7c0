"""`make profile`: where the processor time of the service goes under load, as one flame graph for each half.

py-spy samples a half twice, for its graph and for the list of functions; the load is the same all the time.
"""

import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Literal

from benchmarks.load import Job
from benchmarks.service import Service, running_service, send

_DIRECTORY: Final = Path("build/profile")
_HALVES: Final = ("ingest", "export")
_WARM_SECONDS: Final = 2.0
_HOTTEST: Final = 10
_ASLEEP: Final = ("Condition.wait (", "_worker (concurrent/futures/", "Thread.run (")
"""Threads without work end here; some containers do not let py-spy tell that they sleep."""
_NOT_INSTALLED: Final = "py-spy is not installed. Cure: make install"
_NOT_ALLOWED: Final = (
    "py-spy may not look into other processes. Cure: on Linux `sudo sysctl kernel.yama.ptrace_scope=0`, undone by the "
    "next boot, or root; in a container `--cap-add SYS_PTRACE`; on macOS root."
)


class CannotProfile(Exception):
    """The message names the cure."""


def main(arguments: list[str]) -> int:
    """Write the graphs and print the hottest functions; options that are none of ours go to py-spy."""
    parser = ArgumentParser(prog="make profile PROFILE='...'", description=main.__doc__)
    parser.add_argument("--seconds", type=int, default=10, help="of each of the two samplings")
    parser.add_argument("--transport", choices=("http", "grpc"), default="http")
    parser.add_argument("--shape", choices=("small", "chat", "large"), default="chat")
    parser.add_argument("--spans", type=int, default=512, help="a request")
    parser.add_argument("--connections", type=int, default=8, help="requests in flight")
    options, for_py_spy = parser.parse_known_args(arguments)
    _DIRECTORY.mkdir(parents=True, exist_ok=True)
    try:
        with running_service() as service:
            _profile(service, options, for_py_spy)
    except CannotProfile as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def spy(*arguments: str) -> None:
    """Run py-spy.

    Raises:
        CannotProfile: it is not installed, or refuses.
    """
    try:
        command = [str(Path(sys.executable).with_name("py-spy")), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise CannotProfile(_NOT_INSTALLED) from None
    if done.returncode:
        is_refused = "permission" in done.stderr.lower() or "requires root" in done.stderr.lower()
        raise CannotProfile(_NOT_ALLOWED if is_refused else f"py-spy fails: {done.stderr.strip()}")


def record(pid: int, seconds: int, kind: Literal["flamegraph", "raw"], output: Path, *more: str) -> None:
    """Sample a process into a file, by function; `more` are further options of py-spy. Raises as `spy`."""
    what = ("--pid", str(pid), "--duration", str(seconds), "--format", kind, "--output", str(output))
    spy("record", "--function", *what, *more)


def hottest(stacks: str) -> list[tuple[str, float]]:
    """Functions and their share of the samples, without what they call, from the lines of py-spy's raw format."""
    samples: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        function = stack.rpartition(";")[2]
        if not function.startswith(_ASLEEP):
            samples[function] += int(count)
    return [(function, count / samples.total()) for function, count in samples.most_common(_HOTTEST)]


def _profile(service: Service, options: Namespace, for_py_spy: list[str]) -> None:
    processes = {half: service.children(half)[0] for half in _HALVES}
    for process in processes.values():
        spy("dump", "--pid", str(process.pid))  # says at once what the load would be in vain for
    endpoint = f"127.0.0.1:{service.ports[options.transport]}"
    seconds = 2 * (options.seconds + _WARM_SECONDS)
    job = Job(options.transport, endpoint, options.shape, options.spans, options.connections, seconds)
    with ThreadPoolExecutor() as threads:
        load = threads.submit(send, job)
        time.sleep(_WARM_SECONDS)
        sampled = [
            threads.submit(_sample, half, process.pid, options.seconds, for_py_spy)
            for half, process in processes.items()
        ]
        for half, stacks in zip(_HALVES, sampled, strict=True):
            _print(half, hottest(stacks.result()))
        print(f"\n{load.result().acknowledged_spans / seconds:,.0f} spans/s acknowledged while being sampled")


def _sample(half: str, pid: int, seconds: int, for_py_spy: list[str]) -> str:
    """Writes the graph of a half; returns its stacks."""
    stacks = _DIRECTORY / f"{half}.txt"
    record(pid, seconds, "flamegraph", _DIRECTORY / f"{half}.svg", *for_py_spy)
    record(pid, seconds, "raw", stacks, *for_py_spy)
    return stacks.read_text("utf-8")


def _print(half: str, functions: list[tuple[str, float]]) -> None:
    print(f"\n{half}: {_DIRECTORY / f'{half}.svg'}; share of its samples, without what is called:")
    for function, share in functions:
        print(f"  {share:6.1%}  {function}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
