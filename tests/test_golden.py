"""Every recording maps to its golden record, which was held against what the model server really answered."""

import pytest

from tests.support.golden import FOLDER, golden, read, sources


@pytest.mark.parametrize("source", sources())
def test_recordings_map_to_their_golden_records(source: str) -> None:
    """Type, model, messages, tool calls, usage, identity and what is left to metadata, observation by observation."""
    assert golden(source) == read(source)


def test_no_golden_record_without_a_recording() -> None:
    """Every golden file belongs to a source."""
    assert {str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.rglob("*.yaml")} == {*sources()}
