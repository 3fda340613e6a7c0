"""Timing and memory, each figure with what it is compared to."""

import math
import platform
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Final, Self

import psutil

_PACKAGES: Final = ("chdb", "pyarrow", "numpy", "protobuf", "grpcio", "aiohttp", "orjson", "uvloop")
_LEAST_SECONDS: Final = 1.0
_COLUMNS: Final = "| what | measured | beside it, same run | asked for |"


@dataclass
class Figure:
    """One measured figure.

    Attributes:
        what: what was measured.
        value: the figure, with its unit.
        baseline: what it is compared to, and that figure from the same run.
        target: what docs ask for, empty where nothing does.
    """

    what: str
    value: str
    baseline: str = ""
    target: str = ""


@dataclass
class Report:
    """Figures by section, in the order measured; each is printed as soon as it is there."""

    sections: dict[str, list[Figure]] = field(default_factory=dict)

    def add(self, section: str, figure: Figure) -> None:
        """Note and print a figure."""
        self.sections.setdefault(section, []).append(figure)
        print(f"{section}: {figure.what}: {figure.value}  {figure.baseline}  {figure.target}".rstrip(), flush=True)

    def markdown(self) -> str:
        """All sections as tables."""
        lines: list[str] = []
        for section, figures in self.sections.items():
            lines += [f"## {section}", "", _COLUMNS, "|---|---|---|---|"]
            lines += [f"| {each.what} | {each.value} | {each.baseline} | {each.target} |" for each in figures]
            lines.append("")
        return "\n".join(lines)

    @classmethod
    def read(cls, markdown: str) -> Self:
        """The figures of a page that `markdown` has made."""
        report, section = cls(), ""
        for line in markdown.splitlines():
            cells = line.removeprefix("| ").removesuffix(" |").split(" | ")
            if line.startswith("## "):
                section = line.removeprefix("## ")
            elif line.startswith("| ") and line != _COLUMNS:
                report.sections.setdefault(section, []).append(Figure(*(cell.strip() for cell in cells)))
        return report


def versions() -> str:
    """The machine and the versions that the figures belong to."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    memory_gib = psutil.virtual_memory().total / 2**30
    return (
        f"{psutil.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, {packages}."
    )


def per_second(work: Callable[[], int]) -> float:
    """Items per second of `work`, which returns how many it did: the best of the rounds in about a second."""
    work()
    best = 0.0
    until = time.perf_counter() + _LEAST_SECONDS
    while time.perf_counter() < until or not best:
        began = time.perf_counter()
        items = work()
        best = max(best, items / (time.perf_counter() - began))
    return best


@contextmanager
def cpu_seconds() -> Iterator[list[float]]:
    """Processor seconds that this process used inside the block, as the list's one element afterwards."""
    spent: list[float] = []
    before = resource.getrusage(resource.RUSAGE_SELF)
    yield spent
    after = resource.getrusage(resource.RUSAGE_SELF)
    spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def children_cpu_seconds() -> float:
    """Processor seconds of all processes that this one has started and that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of the sorted values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]
