"""The server that all rows of all tables are run against."""

from collections.abc import Iterator

import pytest

from tests.conformance.front_door import FrontDoor, front_door


@pytest.fixture(scope="package")
def door() -> Iterator[FrontDoor]:
    """Started once, with a size limit that a test can afford to pass."""
    with front_door(max_mib=1) as started:
        yield started
