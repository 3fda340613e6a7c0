"""The service's own metrics, as a dashboard sees them."""

from collections.abc import Iterator
from contextlib import contextmanager

import requests

from tests.support.service import Service


def counters(service: Service) -> dict[str, float]:
    """Every series of port 8888 by name and labels."""
    lines = requests.get(service.url("metrics") + "/metrics", timeout=10).text.splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


@contextmanager
def growth(service: Service) -> Iterator[dict[str, float]]:
    """Filled at the end of the block with how much each series has grown; what has not grown is left out."""
    before = counters(service)
    grown: dict[str, float] = {}
    yield grown
    after = counters(service)
    grown.update({name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)})


def series(name: str, **labels: str) -> str:
    """A series as the page spells it: labels in the order of their names."""
    inside = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    return f"{name}{{{inside}}}"
