"""What tests of several files share: one running service, and its log beside a failed test."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from tests.support.service import Service, service

# A push is judged by the same examples each time; new ones are looked for at every desk, where HYPOTHESIS finds them.
settings.register_profile("ci", derandomize=True)
if "CI" in os.environ:
    settings.load_profile("ci")


@pytest.fixture(scope="session")
def running() -> Iterator[Service]:
    """The whole service, started once; tests tell their spans from others' by trace id or service name."""
    with service() as started:
        started.start()
        yield started
        assert started.stop() == 0, started.log()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Adds the service's log to the report of a failed test that used it."""
    report: pytest.TestReport = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Service):
                report.sections.append(("log of the service", value.log()))
    return report
