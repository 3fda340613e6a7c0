"""The convention files: valid, and the page about them current."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from config.conventions import Convention, load_conventions
from config.conventions_docs import PAGE, conventions_markdown


def test_every_convention_file_is_loaded_in_order() -> None:
    """All files are valid, their names are their own, and they come by precedence."""
    conventions = load_conventions()

    assert [convention.name for convention in conventions] == ["otel_genai", "general"]
    assert [convention.precedence for convention in conventions] == sorted(each.precedence for each in conventions)


def test_the_page_is_current() -> None:
    """docs/conventions.md is what the files say; `make docs` writes it."""
    page = Path(__file__).parent.parent / PAGE

    assert page.read_text("utf-8") == conventions_markdown()


def test_a_misspelt_field_is_refused() -> None:
    """A convention cannot name a field that the record does not have."""
    with pytest.raises(ValidationError, match="modell"):
        Convention.model_validate({"name": "x", "title": "X", "precedence": 30, "fields": {"modell": ["a.b"]}})
