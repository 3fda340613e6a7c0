"""What a bad configuration is told, word for word."""

from pathlib import Path

import pytest

from config import ConfigErrors
from config.errors import Mark
from config.loader import load
from tests.support.bad_configs import BAD
from tests.support.configs import MINIMAL, told


@pytest.mark.parametrize(("text", "lines"), BAD.values(), ids=BAD.keys())
def test_bad_configuration(tmp_path: Path, text: str, lines: list[str]) -> None:
    """All problems, each with its place, in the order of the file, and nothing but them."""
    assert told(tmp_path, text) == lines


# --- sources and overrides -------------------------------------------------------------------------------------------


def lines_of(*sources: str | Path, overrides: tuple[str, ...] = ()) -> list[str]:
    """What loading these sources fails with."""
    with pytest.raises(ConfigErrors) as caught:
        load(sources, overrides)
    return str(caught.value).splitlines()


def test_unreadable_sources(tmp_path: Path) -> None:
    """Each source that cannot be read is named with the reason, all in one go."""
    missing, latin, large = tmp_path / "missing.yaml", tmp_path / "latin.yaml", tmp_path / "large.yaml"
    latin.write_bytes("a: b\nc: é\n".encode("latin-1"))
    large.write_text("#" * (1 << 20) + "\n")

    assert lines_of(missing, tmp_path, latin, large, "env:NOT_THERE", "https://example.com/c.yaml") == [
        f"{missing}: cannot be read: no such file or directory",
        f"{tmp_path}: cannot be read: is a directory",
        f"{latin}: cannot be read: not UTF-8: byte 0xe9 on line 2",
        f"{large}: cannot be read: larger than 1048576 bytes",
        "env:NOT_THERE: cannot be read: environment variable NOT_THERE is not set",
        "https://example.com/c.yaml: cannot be read: only files, env: and yaml: are read",
    ]


def test_unreadable_sources_hide_what_would_follow(tmp_path: Path) -> None:
    """With a source missing, nothing is said about what the others lack."""
    (tmp_path / "half.yaml").write_text("receivers: {otlp: {protocols: {grpc: }}}\n")

    assert lines_of(tmp_path / "half.yaml", "gone.yaml") == ["gone.yaml: cannot be read: no such file or directory"]


@pytest.mark.parametrize("override", ["service.workers", "=1", "a..b=1", ".".join(["a"] * 100) + "=1"])
def test_overrides_that_are_none(override: str) -> None:
    """--set without a path or a value says what it expects."""
    (line,) = lines_of(overrides=(override,))

    assert line == f"--set {override.partition('=')[0]}: expected key.key=value, such as service.workers=2"


def test_overrides_are_named_in_errors() -> None:
    """A fault that --set brought points to it, after those of the files."""
    overrides = ("service.workers=x", "service.wrokers=2", "exporters=5", "metadata.directory=''")

    assert lines_of(overrides=overrides) == [
        "--set service.workers: service::workers: expected a whole number, got 'x'",
        "--set service.wrokers: service::wrokers: unknown key (did you mean 'workers'?)",
        "--set exporters: exporters: expected a mapping of component ids, got 5",
        "--set metadata.directory: metadata::directory: must not be empty, got ''",
    ]


def test_faults_of_the_defaults_come_before_those_of_overrides() -> None:
    """An override that does not fit the embedded defaults is reported with both places."""
    overrides = ("service.workers=0", "service.pipelines.traces.exporters=[]", "exporters=")

    assert lines_of(overrides=overrides) == [
        (
            "config/default.yaml:16:3: extensions::sql_http: "
            "needs a chdb exporter in a pipeline: it serves the embedded store"
        ),
        "--set service.workers: service::workers: must be at least 1, got 0",
        (
            "--set service.pipelines.traces.exporters: service::pipelines::traces::exporters: "
            "must have at least one exporter"
        ),
        "--set exporters: exporters: no exporter configuration specified in config",
    ]


def test_errors_are_in_the_order_of_the_sources(tmp_path: Path) -> None:
    """Faults of the first source come first, whatever the files are called."""
    first, second = tmp_path / "z.yaml", tmp_path / "a.yaml"
    first.write_text(MINIMAL + "  wrokers: 1\n")
    second.write_text("exporters:\n  debug: {verbosity: x}\n")

    lines = lines_of(first, second)

    assert [line.split(":")[0] for line in lines] == [str(first), str(second)]


# --- hostile files ---------------------------------------------------------------------------------------------------


def test_alias_bomb(tmp_path: Path) -> None:
    """Nine lines of aliases that stand for a thousand million values are refused, not unfolded."""
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))

    assert told(tmp_path, bomb) == ["my.yaml:5:50: more than 20000 values, aliases counted in full"]


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 2000, "? " * 2000, "{a: " * 5000], ids=["[", "- ", "? ", "{"])
def test_deep_nesting(tmp_path: Path, text: str) -> None:
    """Nesting ends at a level that no configuration needs, long before the interpreter's stack does."""
    (line,) = told(tmp_path, text)

    assert line.endswith("nested deeper than 64 levels")


def test_deep_aliases(tmp_path: Path) -> None:
    """Aliases cannot be stacked beyond the same level."""
    text = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [[[[[[[[[*a{n - 1}]]]]]]]]]\n" for n in range(1, 20))

    (line,) = told(tmp_path, text)

    assert line.endswith("nested deeper than 64 levels")


def test_too_many_values(tmp_path: Path) -> None:
    """A file of countless values is refused early."""
    (line,) = told(tmp_path, "a: [" + "1, " * 300_000 + "]")

    assert line.endswith("more than 20000 values, aliases counted in full")


def test_marks_without_lines() -> None:
    """A place without lines, such as --set, is printed by its name alone."""
    assert str(Mark("--set a.b").error("a::b", "no")) == "--set a.b: a::b: no"
    assert str(Mark("f", 3, 4).error("", "no")) == "f:3:4: no"
