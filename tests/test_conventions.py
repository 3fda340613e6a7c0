"""The convention files: valid, and the page about them current and complete."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from config.conventions import FIELD_NAMES, Convention, Source, load_conventions
from config.conventions_docs import PAGE, conventions_markdown, coverage_of
from config.conventions_fields import MEANING
from config.conventions_own import EXAMPLE
from tests.support.coverage import coverage_table
from tests.support.golden import FOLDER as GOLDEN

_FOLDER = Path(__file__).parent.parent / "config" / "conventions"


def test_every_convention_file_is_loaded_in_order() -> None:
    """All files are valid, their names are their own, and they come by precedence."""
    conventions = load_conventions()

    assert sorted(each.name for each in conventions) == sorted(file.stem for file in _FOLDER.glob("*.yaml"))
    assert [convention.precedence for convention in conventions] == sorted(each.precedence for each in conventions)


def test_the_page_is_current() -> None:
    """docs/conventions.md is what the files and the golden records say; `make docs` writes it."""
    assert PAGE.read_text("utf-8") == conventions_markdown(coverage_table())


def test_the_page_leaves_out_no_key() -> None:
    """Every attribute key, prefix, event and scope of every convention file stands on the page."""
    page = conventions_markdown("")
    for convention in load_conventions():
        for name in _names(convention):
            assert f"`{name}" in page, f"{convention.name}: {name}"


def _names(convention: Convention) -> list[str]:
    sources = _all(convention.fields)
    sources += _all(convention.resource_fields) + _all(convention.parameters.values)
    entries = (convention.parameters, convention.metadata, convention.trace_metadata)
    return [
        *(source.key or source.indexed for source in sources),
        *(name for each in entries for name in (*each.prefixes, *(source.key for source in each.objects))),
        *(convention.parameters.keys | convention.parameters.own_keys | convention.types | convention.message_events),
        *(convention.lifted_events + convention.score_events + convention.first_token_events),
        *convention.recognise.scopes,
    ]


def _all(sources: Mapping[str, Sequence[Source]]) -> list[Source]:
    return [source for each in sources.values() for source in each]


def test_the_page_gives_the_order_of_the_engine() -> None:
    """Places ascend within each field, and legacy names come last."""
    tables = re.findall(r"^### `(\w+)`\n\n.*\n\n((?:\|.*\n)+)", conventions_markdown(""), re.MULTILINE)
    places = {name: [row.split(" | ")[0].strip("| ") for row in rows.splitlines()[2:]] for name, rows in tables}
    for name, found in places.items():
        numbers = [int(place) for place in found if place != "resource"]
        assert numbers == sorted(numbers), name
    assert places["provider"][-1] == "110"
    assert places["environment"][-1] == "resource"


def test_every_field_has_a_meaning() -> None:
    """What a field is for is said for all of them, and for no other."""
    assert {*MEANING} == {*FIELD_NAMES}


def test_what_was_seen_of_the_sources_is_kept() -> None:
    """The page without the golden records at hand keeps the table that it has, one row a source."""
    table = coverage_table()
    rows = [line.split(" | ")[0].strip("| ") for line in table.splitlines() if line.startswith("| ")]
    assert coverage_of(conventions_markdown(table)) == table
    assert sorted(row for row in rows if row not in ("source", "---")) == sorted(
        path.stem for path in GOLDEN.rglob("*.yaml")
    )


def test_the_example_on_the_page_is_the_tried_one() -> None:
    """What readers copy is the file that another test runs."""
    assert f"```yaml\n{EXAMPLE.read_text('utf-8')}```\n" in conventions_markdown("")


def test_a_misspelt_field_is_refused() -> None:
    """A convention cannot name a field that the record does not have."""
    with pytest.raises(ValidationError, match="modell"):
        Convention.model_validate({"name": "x", "title": "X", "precedence": 30, "fields": {"modell": ["a.b"]}})
