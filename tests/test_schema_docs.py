"""The page on the record is derived from the schema."""

from pathlib import Path

from pipelines.schema import TABLES
from pipelines.schema_docs import docs_record_markdown


def test_page_is_current() -> None:
    """docs/record.md is what the schema gives now; else run `make docs`."""
    page = Path(__file__).parent.parent / "docs" / "record.md"

    assert page.read_text("utf-8") == docs_record_markdown()


def test_every_column_has_a_line() -> None:
    """Each column of each table is on the page with its documentation."""
    page = docs_record_markdown()

    assert not [c.name for table in TABLES.values() for c in table.columns if f"| `{c.name}` | {c.doc} |" not in page]
