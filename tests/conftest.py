"""What tests of several files share: one running service, and its log beside a failed test."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.service import Service, service


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
