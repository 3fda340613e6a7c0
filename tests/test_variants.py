"""The schema's variants, which `make bench` measures: each of them changes what is declared now."""

import pytest

from benchmarks.compared import changed
from benchmarks.variants import DECLARED, VARIANTS
from exporters.clickhouse_sql import ddl


@pytest.mark.parametrize("name", [name for name, variant in VARIANTS.items() if variant.changes])
def test_variants_are_of_this_schema(name: str) -> None:
    """What a variant changes is in the schema's statements, so that its figures are not those of the declared one."""
    declared = ddl("otel", 90)

    assert changed(declared, VARIANTS[name].changes) != declared


def test_variants_differ() -> None:
    """Each is something of its own, and none but one is the declared schema."""
    variants = list(VARIANTS.values())

    assert len(set(variants)) == len(variants)
    assert variants.index(VARIANTS[DECLARED]) == 0


def test_what_is_gone_is_told() -> None:
    """A pattern that no statement has is an error that names it."""
    with pytest.raises(ValueError, match="no statement of the schema has GONE"):
        changed(ddl("otel", 0), (("GONE", "x"),))
