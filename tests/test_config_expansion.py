"""Substitution: what each form becomes, what type it takes, and where it ends."""

from collections.abc import Callable
from pathlib import Path

import pytest

from config import ConfigErrors
from config.models import NO_PROTOCOL
from tests.support.configs import MINIMAL, loaded, told

NO_ID = "expected a component id: type or type/name, without spaces and symbols"

Directory = Callable[[str], str]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from file\n")
    (tmp_path / "nested").write_text("got ${env:NAME}")
    for name, value in {
        "NAME": "world",
        "EMPTY": "",
        "NUMBER": "0123",
        "LEVEL": "debug",
        "WHICH": "NAME",
        "SECRET_FILE": str(tmp_path / "secret"),
        "NESTED_FILE": str(tmp_path / "nested"),
        "DOLLARS": "pa$$word$",
        "INDIRECT": "<${env:NAME}>",
        "YAML_LOOKALIKE": "a: [b",
        "COMMENT_LOOKALIKE": "#hash",
        "MAP_LOOKALIKE": "user: name",
        "LIST": "[debug, file]",
        "ROTATION": "{max_days: ${env:DAYS}, max_backups: 2}",
        "DAYS": "7",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("UNSET", raising=False)


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    """What a text field holds after substitution."""

    def load_directory(written: str) -> str:
        text = MINIMAL + f"metadata:\n  directory: {written}\n"
        return loaded(tmp_path, text).metadata.directory

    return load_directory


@pytest.mark.parametrize(
    ("written", "becomes"),
    [
        ("${env:NAME}", "world"),
        ("${NAME}", "world"),
        ("hello ${env:NAME}!", "hello world!"),
        ("${env:NAME}${NAME}", "worldworld"),
        ("${env:UNSET:-fallback}", "fallback"),
        ("${UNSET:-fallback}", "fallback"),
        ("${env:NAME:-fallback}", "world"),
        ("x${env:UNSET:-}", "x"),
        ("x${env:EMPTY:-fallback}", "x"),
        ("${env:UNSET:-${env:NAME}}", "world"),
        ("${env:UNSET:-${env:UNSET:-deep}}", "deep"),
        ("${env:NAME:-${env:UNSET}}", "world"),
        ("${env:${env:WHICH}}", "world"),
        ("${file:${env:SECRET_FILE}}", "from file"),
        ("${file:${env:NESTED_FILE}}", "got world"),
        ("${env:INDIRECT}", "<world>"),
        ("x$$y", "x$y"),
        ("$${env:NAME}", "${env:NAME}"),
        ("${env:UNSET:-$${env:NAME}}", "${env:NAME}"),
        ("$NAME and a $", "$NAME and a $"),
        ("${env:DOLLARS}", "pa$$word$"),
        ("${env:NUMBER}", "0123"),
        ("${env:YAML_LOOKALIKE}", "a: [b"),
        ("${env:MAP_LOOKALIKE}", "user: name"),
        ("${env:COMMENT_LOOKALIKE}", "#hash"),
        ("${env:LIST}", "[debug, file]"),
        ('"${env:NUMBER}"', "0123"),
    ],
)
def test_text(directory: Directory, written: str, becomes: str) -> None:
    """Every form, where text is wanted: text that looks like something else stays as it is."""
    assert directory(written) == becomes


def test_whole_values_are_yaml(tmp_path: Path) -> None:
    """A value that is one reference takes the type that it looks like: number, list, mapping, nothing."""
    text = MINIMAL.replace("debug:", "debug:\n  file:\n    path: ${env:NUMBER}\n    rotation: ${env:ROTATION}")
    text = text.replace("[debug]", '"${env:LIST}"') + "  workers: '${env:DAYS}'\n  shutdown_timeout: ${env:EMPTY}\n"

    config = loaded(tmp_path, text)

    assert config.exporters["file"].path == "0123"
    assert config.exporters["file"].rotation.max_days == 7
    assert config.exporters["file"].rotation.max_backups == 2
    assert config.service.pipelines["traces"].exporters == ("debug", "file")
    assert config.service.workers == 7
    assert config.service.shutdown_timeout == 25.0


def test_a_section_from_a_file(tmp_path: Path) -> None:
    """Parts of a configuration may live in files of their own, with references inside."""
    (tmp_path / "exporters.yaml").write_text("debug: {verbosity: '${env:UNSET:-normal}'}\n")
    text = MINIMAL.replace("exporters:\n  debug:", f"exporters: ${{file:{tmp_path}/exporters.yaml}}")

    assert loaded(tmp_path, text).exporters["debug"].verbosity == "normal"


def test_overridden_references_are_not_resolved(tmp_path: Path) -> None:
    """A variable that only a replaced value names need not be set."""
    assert loaded(tmp_path, MINIMAL + "  workers: ${env:UNSET}\n", "service.workers=2").service.workers == 2


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("${env:UNSET}", "environment variable UNSET is not set; set it, or write ${env:UNSET:-fallback}"),
        ("a ${UNSET} b", "environment variable UNSET is not set; set it, or write ${env:UNSET:-fallback}"),
        ("${env:${env:WHICH}X}", "environment variable ${env:WHICH}X is not set; set it, or write "),
        ("${env:1A}", "'1A' is not the name of an environment variable (letters, digits and _)"),
        ("${}", "'' is not the name of an environment variable (letters, digits and _)"),
        ("${evn:NAME}", "${evn:...} is not supported, only env and file are (did you mean 'env'?)"),
        ("${https://x/y}", "${https:...} is not supported, only env and file are"),
        ("${env:NAME", "${ is never closed; add the }, or write $${ for the characters themselves"),
        ("${file:/no/such/file}", "cannot read /no/such/file for ${file:...}: no such file or directory"),
        ("${file:/}", "cannot read / for ${file:...}: is a directory"),
        ('"${file:a\\0b}"', "cannot read a\\x00b for ${file:...}: embedded null byte"),
    ],
)
def test_what_cannot_be_replaced(tmp_path: Path, written: str, message: str) -> None:
    """Each fault names the variable or file, the place of the value, and the cure; nothing else is reported."""
    (line,) = told(tmp_path, MINIMAL + f"metadata:\n  directory: {written}\n")

    assert line.startswith(f"my.yaml:11:14: metadata::directory: {message}")


def test_a_fault_is_reported_once(tmp_path: Path) -> None:
    """What follows from a value that could not be had is not reported beside it."""
    text = MINIMAL.replace("[debug]", '["${env:UNSET}"]').replace("debug:", "file: {path: '${env:UNSET}'}")

    lines = told(tmp_path, text + "  pipelines2:\n")

    assert [line.partition(": ")[2].partition(": ")[0] for line in lines] == [
        "exporters::file::path",
        "service::pipelines::traces::exporters[0]",
        "service::pipelines2",
    ]


def test_references_that_lead_back_to_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop of variables ends with a message."""
    monkeypatch.setenv("LOOP", "x${env:LOOP}")

    (line,) = told(tmp_path, MINIMAL + "metadata: {directory: '${env:LOOP}'}\n")

    assert "references nest deeper than 20; does one of them lead back to itself?" in line


def test_references_cannot_multiply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few variables cannot unfold into gigabytes, neither as text nor as lists."""
    for level in range(1, 15):
        monkeypatch.setenv(f"BOMB{level}", f"${{env:BOMB{level - 1}}}" * 10)
        monkeypatch.setenv(f"TREE{level}", "[" + f"'${{env:TREE{level - 1}}}', " * 10 + "]")
    monkeypatch.setenv("BOMB0", "x" * 1000)
    monkeypatch.setenv("TREE0", "[]")

    for name in ("BOMB14", "TREE14"):
        (line,) = told(tmp_path, MINIMAL + f"metadata: {{directory: '${{env:{name}}}'}}\n")
        assert "more than 1000 references" in line


def test_text_is_bounded(tmp_path: Path) -> None:
    """Large files cannot be put in again and again."""
    (tmp_path / "large").write_text("x" * 600_000)

    reference = f"${{file:{tmp_path}/large}}"

    (line,) = told(tmp_path, MINIMAL + f"metadata: {{directory: '{reference}{reference}'}}\n")

    assert "substituted text is longer than 1048576 characters in all" in line


def test_values_from_outside_stay_out_of_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret put into the wrong key is not printed: messages name where it came from instead."""
    monkeypatch.setenv("SECRET", "hunter2")
    (tmp_path / "secret").write_text("hunter2")
    text = MINIMAL + (
        "  workers: ${env:SECRET}\n"
        "  shutdown_timeout: ${env:UNSET:-hunter2}\n"
        "  telemetry:\n"
        "    logs: {level: '${env:SECRET}', encoding: 'x${env:SECRET}'}\n"
        "    metrics: {address: '${env:SECRET}:port'}\n"
        "metadata: {postgres: 'mysql://root:${env:SECRET}@host'}\n"
        "processors:\n"
        "  redaction: {blocked_values: ['(${env:SECRET}']}\n"
        f"  redaction/b: {{mask: {{a: '${{file:{tmp_path}/secret}}'}}}}\n"
    )

    lines = told(tmp_path, text)

    assert len(lines) == 8
    assert "hunter2" not in "\n".join(lines).replace("${env:UNSET:-hunter2}", "")
    assert "service::workers: expected a whole number, got text (from ${env:SECRET})" in lines[0]


def test_empty_variables_are_named(tmp_path: Path) -> None:
    """A required key that ends up empty says which variable was empty."""
    text = MINIMAL.replace("[debug]", "'${env:EMPTY}'").replace("buffer: local", "buffer: '${env:EMPTY}'")
    text = text.replace("{grpc:, http:}", "'${EMPTY}'").replace("debug:", "file: {path: '${env:EMPTY}'}")

    lines = told(tmp_path, text)

    assert [line.partition(": ")[2] for line in lines] == [
        "receivers::otlp::protocols: " + NO_PROTOCOL + " (from ${env:EMPTY})",
        "exporters::file::path: must not be empty, got nothing (from ${env:EMPTY})",
        "service::pipelines::traces::buffer: " + NO_ID + ", got nothing (from ${env:EMPTY})",
        "service::pipelines::traces::exporters: must have at least one exporter (from ${env:EMPTY})",
    ]


def test_ids_from_outside_are_not_shown(tmp_path: Path) -> None:
    """A secret where an id belongs is not shown either, the nearest valid id is."""
    (line,) = told(tmp_path, MINIMAL.replace("[debug]", "['${env:LEVEL}x']"))

    assert line == (
        "my.yaml:9:60: service::pipelines::traces: references exporter ${env:LEVEL} which is not configured "
        "(did you mean 'debug'?)"
    )


def test_invalid_unicode_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are no UTF-8 in a variable are a plain error, and the report can be printed."""
    monkeypatch.setenv("BYTES", b"\xff\xfe".decode("utf-8", "surrogateescape"))

    with pytest.raises(ConfigErrors) as caught:
        loaded(tmp_path, MINIMAL + "metadata: {directory: '${env:BYTES}'}\n")

    assert str(caught.value).encode("utf-8").endswith(b"valid Unicode, got text (from ${env:BYTES})")
