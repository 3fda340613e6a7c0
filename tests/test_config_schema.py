"""What is published from the models: the JSON Schema and the configuration page, current and true."""

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from config.docs import config_schema_json, configuration_markdown
from config.json_schema import json_schema
from config.loader import load
from config.models import SECTIONS
from tests.support.configs import MINIMAL

ROOT = Path(__file__).parent.parent
FILES = [ROOT / "config" / "default.yaml", *sorted((ROOT / "config" / "examples").glob("*.yaml"))]


def faults(document: Any) -> list[str]:
    """Where the schema does not agree with a document."""
    validator = Draft202012Validator(json_schema())
    return ["/".join(map(str, error.absolute_path)) for error in validator.iter_errors(document)]


def minimal() -> dict[str, Any]:
    document: dict[str, Any] = YAML(typ="safe", pure=True).load(MINIMAL.replace("grpc:, http:", "grpc: , http: "))
    return document


def test_published_files_are_current() -> None:
    """docs/configuration.md and docs/config.schema.json are what `python -m config.docs` writes."""
    assert (ROOT / "docs" / "configuration.md").read_text("utf-8") == configuration_markdown()
    assert (ROOT / "docs" / "config.schema.json").read_text("utf-8") == config_schema_json()


def test_schema_is_a_schema() -> None:
    """Editors can use it: it is valid JSON Schema 2020-12."""
    Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_shipped_files_agree(path: Path) -> None:
    """Every shipped configuration loads, and agrees with the schema."""
    assert load([path]).service.pipelines
    assert faults(YAML(typ="safe", pure=True).load(path.read_text("utf-8"))) == []


def test_substitutions_and_empty_values_agree() -> None:
    """`${...}` may stand for a number, an enumeration, a list or a section; an empty value for any default."""
    document = minimal()
    document["buffers"]["local"] = {"max_size_mib": "${env:MIB:-5}", "directory": None}
    document["exporters"]["debug"] = {"verbosity": "${env:V}", "block": {"flush_interval": "${env:I}"}}
    document["exporters"]["file/2"] = "${file:exporter.yaml}"
    document["service"]["pipelines"]["traces"]["exporters"] = "${env:LIST}"
    document["service"]["workers"] = None
    document["extensions"] = "${file:extensions.yaml}"

    assert faults(document) == []


def test_parts_of_a_configuration_agree() -> None:
    """A file may be one of several, so no section is required."""
    assert faults({"service": {"workers": 2}}) == []


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("buffers", "local", {"max_size_mib": "5"}),
        ("buffers", "local", {"max_size_mib": 0}),
        ("buffers", "local", {"max_sise_mib": 5}),
        ("buffers", "kafka", {}),
        ("exporters", "debug", {"verbosity": "loud"}),
        ("exporters", "debug", {"block": {"flush_interval": "5"}}),
        ("exporters", "debug", {"block": {"flush_interval": 5}}),
        ("exporters", "file", {"rotation": {}}),
        ("service", "pipelines", {"metrics": {}}),
        ("service", "worker", 1),
        ("metadata", "directory", 5),
    ],
)
def test_schema_refuses_what_loading_refuses(section: str, key: str, value: object) -> None:
    """Unknown keys and types, wrong types and bounds show up in the editor already."""
    document = minimal()
    document.setdefault(section, {})[key] = value

    assert faults(document) == [section]


def test_every_setting_is_documented() -> None:
    """Each component has its table, and no key is left without a meaning."""
    page = configuration_markdown()
    rows = [line for line in page.splitlines() if line.startswith("| `")]

    assert all(f"### {name}\n" in page for types in SECTIONS.values() for name in types)
    assert [row for row in rows if not row.strip("| ").split(" | ")[-1].strip()] == []
    assert "| `flush_interval`" not in page
    assert "| `block.flush_interval` | duration | `200ms` |" in page
