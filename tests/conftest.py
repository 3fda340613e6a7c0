"""What tests of several files share: one running service, and its log beside a failed test."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import pytest
from hypothesis import settings

from tests.support.reporting import Report
from tests.support.service import Service, service

_FIGURES: Final = "figures"

# A push is judged by the same examples each time; new ones are looked for at every desk, where HYPOTHESIS finds them.
# How long an example takes depends on what else runs, and decides nothing.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("desk", deadline=None)
settings.load_profile("ci" if "CI" in os.environ else "desk")


@pytest.fixture(scope="session")
def running() -> Iterator[Service]:
    """The whole service, started once; tests tell their spans from others' by trace id or service name."""
    with service() as started:
        started.start()
        yield started
        assert started.stop() == 0, started.log()


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Report:
    """Takes figures, which are asked for beside the verdict: they are listed at the end of the run."""
    return partial(record_property, _FIGURES)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Lists the figures; the tests may have run in several processes, whose output nobody sees."""
    reports = [each for some in terminalreporter.stats.values() for each in some if isinstance(each, pytest.TestReport)]
    properties = [each for report in reports if report.when == "call" for each in report.user_properties]
    if figures := [text for name, text in properties if name == _FIGURES]:
        terminalreporter.section("figures")
        for text in figures:
            terminalreporter.write_line(str(text))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Compressed bytes hold the time of day: processes that share the tests must agree on their names."""
    return argname if isinstance(val, bytes) else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Adds the service's log to the report of a failed test that used it."""
    report: pytest.TestReport = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            used = getattr(value, "service", value)  # of what a fault test plays with
            if isinstance(used, Service):
                report.sections.append(("log of the service", used.log()))
    return report
