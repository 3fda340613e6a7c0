"""Whatever is given as configuration, loading ends with a configuration or with a printable report."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config import ConfigErrors
from config.loader import load
from config.models import SECTIONS, Config
from config.printing import print_config

ANY_INPUT = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)

TOKENS = st.sampled_from(
    ["a", "receivers", "otlp", ":", ": ", " ", "\n", "\n  ", "- ", "{", "}", "[", "]", ",", "&x ", "*x", "!", "!!str ",
     "|", ">", "'", '"', "\\", "\\U7fffffff", "\\ud800", "%YAML 1.1\n", "%TAG", "---", "...", "#", "? ", "<<", "\t",
     "${", "}", "${env:X}", "$$", ":-", "0", "1e9", "\ufeff", "\x85", "\u2028", "é", "@", "`", "\r\n", "\x07"]
)  # fmt: skip

WORDS = st.sampled_from(
    [*Config.model_fields, *(name for types in SECTIONS.values() for name in types), "traces", "grpc", "http",
     "protocols", "endpoint", "pipelines", "workers", "otlp/2", "verbosity", "${env:HOME}", "${env:NOT_SET:-5}",
     "${file:/}", "127.0.0.1:0", "5s", "local", "block", "retry_on_failure", "path", "blocked_values", "((", "mask"]
)  # fmt: skip
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS | st.text()
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(), inner, max_size=5),
    max_leaves=30,
)
VALID = json.loads(json.dumps(load().model_dump(mode="json")))


def ends_well(*sources: str | Path, overrides: tuple[str, ...] = ()) -> Config | None:
    """Loads; a failure has a line for every problem, and every line can be printed."""
    try:
        return load(sources, overrides)
    except ConfigErrors as errors:
        failure = errors
    lines = str(failure).encode("utf-8").decode("utf-8").split("\n")
    assert len(lines) == len(failure.errors) > 0
    assert all(line.isprintable() and line.strip() for line in lines)
    return None


def paths_of(node: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every place in a tree of mappings."""
    inner = (
        [place for key, value in node.items() for place in paths_of(value, (*path, key))]
        if isinstance(node, dict)
        else []
    )
    return [path, *inner] if path else inner


def replaced(node: Any, path: tuple[str, ...], value: Any) -> Any:
    """The tree with another value in one place."""
    return {**node, path[0]: replaced(node[path[0]], path[1:], value)} if path else value


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "any.yaml"


@ANY_INPUT
@given(body=st.binary(max_size=300))
def test_any_bytes(file: Path, body: bytes) -> None:
    """A file of anything is read or reported."""
    file.write_bytes(body)

    ends_well(file)


@ANY_INPUT
@given(tokens=st.lists(TOKENS, max_size=40))
def test_any_tokens(file: Path, tokens: list[str]) -> None:
    """So is text made of YAML's own signs, where its parser is weakest."""
    file.write_text("".join(tokens), "utf-8", newline="")

    ends_well(file)


@ANY_INPUT
@given(tree=TREES)
def test_any_tree(file: Path, tree: Any) -> None:
    """So is well-formed YAML of any shape, with names that mean something in places where they do not."""
    file.write_text(json.dumps(tree), "utf-8")

    ends_well(file)


@ANY_INPUT
@given(place=st.sampled_from(paths_of(VALID)), value=TREES)
def test_any_value_in_any_place(file: Path, place: tuple[str, ...], value: Any) -> None:
    """A good configuration with one strange value is read or reported; if read, what is printed reads back the same."""
    file.write_text(json.dumps(replaced(VALID, place, value)), "utf-8")

    config = ends_well(file)

    if config is not None:
        file.write_text(print_config(config), "utf-8")
        assert load([file]) == config


@ANY_INPUT
@given(overrides=st.lists(st.text() | st.builds("{}={}".format, WORDS, st.text()), max_size=3).map(tuple))
def test_any_override(overrides: tuple[str, ...]) -> None:
    """Nothing given to --set breaks loading."""
    ends_well(overrides=overrides)


@ANY_INPUT
@given(value=st.text(st.characters(exclude_characters="\0", codec="utf-8")) | st.lists(TOKENS).map("".join))
def test_any_variable(value: str) -> None:
    """Nothing in the environment breaks loading, and text comes through unchanged where text is wanted."""
    try:
        os.environ["ANY_VARIABLE"] = value
    except ValueError:
        return  # lone surrogates cannot be in an environment
    try:
        config = ends_well(
            overrides=("processors.redaction.mask=${env:ANY_VARIABLE}", "service.workers=${ANY_VARIABLE:-1}")
        )
        assert config is None or config.processors["redaction"].mask == value
        config = ends_well(overrides=("processors.redaction.mask=${env:ANY_VARIABLE}",))
        assert config is not None or "${" in value
    finally:
        del os.environ["ANY_VARIABLE"]
