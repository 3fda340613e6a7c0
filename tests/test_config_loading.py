"""Loading: defaults, sources and their merging, `--set`, empty values, anchors."""

import socket
from pathlib import Path

import pytest

from config import Config, ConfigErrors
from config.loader import load
from config.models import ChdbExporterSettings, FileExporterSettings, LocalBufferSettings, OtlpReceiverSettings
from tests.support.configs import MINIMAL, loaded, told


def test_no_sources_give_the_embedded_defaults() -> None:
    """Without --config the embedded set-up runs, on the ports that a Collector user expects."""
    config = load()

    assert config.receivers["otlp"].protocols.grpc.endpoint == "127.0.0.1:4317"
    assert config.receivers["otlp"].protocols.http.endpoint == "127.0.0.1:4318"
    assert list(config.extensions) == ["health_check", "sql_http"]
    assert config.service.pipelines["traces"].exporters == ("chdb",)
    assert config.service.telemetry.metrics.address == "127.0.0.1:8888"


def test_embedded_defaults_spell_out_the_models_defaults(tmp_path: Path) -> None:
    """What the default file writes is what the models give by themselves, so neither can drift."""
    bare = """
receivers: {otlp: {protocols: {grpc:, http:}}}
processors: {cost:}
buffers: {local:}
exporters: {chdb:}
extensions: {health_check:, sql_http:}
service: {pipelines: {traces: {receivers: [otlp], processors: [cost], buffer: local, exporters: [chdb]}}}
"""
    assert loaded(tmp_path, bare) == load()


def test_components_are_typed_by_their_id(tmp_path: Path) -> None:
    """The part of an id before the slash picks the model, the whole id is the key."""
    config = loaded(tmp_path, MINIMAL, "exporters.file/a.path=x", "exporters.chdb=")

    assert isinstance(config.receivers["otlp"], OtlpReceiverSettings)
    assert isinstance(config.buffers["local"], LocalBufferSettings)
    assert isinstance(config.exporters["file/a"], FileExporterSettings)
    assert isinstance(config.exporters["chdb"], ChdbExporterSettings)


def test_loading_opens_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """`validate` may run anywhere: loading never touches the network."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)

    assert isinstance(load(), Config)


def test_settings_are_frozen() -> None:
    """A configuration never changes under those who hold it."""
    config = load()

    with pytest.raises(ValueError, match="frozen"):
        config.service.workers = 2


# --- several sources -------------------------------------------------------------------------------------------------


def test_later_sources_merge_maps_and_replace_lists(tmp_path: Path) -> None:
    """Mappings merge deep, lists and values are replaced, and what is not named stays."""
    base = tmp_path / "base.yaml"
    base.write_text(MINIMAL)
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(
        "exporters: {file: {path: out.jsonl}}\n"
        "receivers: {otlp: {protocols: {grpc: {endpoint: 0.0.0.0:1, auth: none}}}}\n"
        "service: {workers: 3, pipelines: {traces: {exporters: [file]}}}\n"
    )

    config = load([base, str(overlay)])

    assert config.service.workers == 3
    assert config.service.pipelines["traces"].exporters == ("file",)
    assert config.service.pipelines["traces"].receivers == ("otlp",)
    assert config.receivers["otlp"].protocols.grpc.endpoint == "0.0.0.0:1"
    assert config.receivers["otlp"].protocols.http.endpoint == "127.0.0.1:4318"
    assert list(config.exporters) == ["debug", "file"]


def test_later_null_wipes_a_section(tmp_path: Path) -> None:
    """An empty value takes away what earlier sources said, so that defaults or later sources stand alone."""
    base = tmp_path / "base.yaml"
    base.write_text(MINIMAL + "  telemetry: {logs: {level: debug}}\nextensions: {health_check:}\n")
    wipe = tmp_path / "wipe.yaml"
    wipe.write_text("extensions:\nservice: {telemetry: null}\n")

    config = load([base, wipe])

    assert config.extensions == {}
    assert config.service.telemetry.logs.level == "info"


def test_sources_without_content_are_passed_over(tmp_path: Path) -> None:
    """An overlay in which everything is commented out changes nothing."""
    (tmp_path / "base.yaml").write_text(MINIMAL)
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")

    sources = [tmp_path / "empty.yaml", tmp_path / "base.yaml", tmp_path / "empty.yaml"]

    assert load(sources) == load([tmp_path / "base.yaml"])


def test_sources_by_scheme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """file:, env: and yaml: name sources as they do for the Collector."""
    (tmp_path / "base.yaml").write_text(MINIMAL)
    monkeypatch.setenv("OVERLAY", "service: {workers: 2}")

    config = load([f"file:{tmp_path / 'base.yaml'}", "env:OVERLAY", "yaml:exporters::debug::verbosity: detailed"])

    assert config.service.workers == 2
    assert config.exporters["debug"].verbosity == "detailed"


def test_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    """Files from editors that write a mark load like any other."""
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())

    assert load([path]) == loaded(tmp_path, MINIMAL)


# --- overrides -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("service.workers=4", ("service", "workers", 4)),
        ("service.workers=", ("service", "workers", 1)),
        ("service.shutdown_timeout=1m", ("service", "shutdown_timeout", 60.0)),
        ("service.extensions=[health_check]", ("service", "extensions", ("health_check",))),
    ],
)
def test_set_has_the_last_word(override: str, expected: tuple[str, str, object]) -> None:
    """--set replaces one value by its path; the value is YAML and empty means the default."""
    section, key, value = expected

    assert getattr(getattr(load(overrides=["service.workers=2", override]), section), key) == value


def test_set_keeps_text_that_looks_like_a_number() -> None:
    """The shell eats quotes, so text given by --set stays as typed where text is wanted."""
    config = load(overrides=["metadata.directory=0123", "buffers.local.directory=true"])

    assert config.metadata.directory == "0123"
    assert config.buffers["local"].directory == "true"


def test_set_may_hold_equals_signs_and_references(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first = separates, and substitution works as in a file."""
    monkeypatch.setenv("NAME", "x")

    assert load(overrides=["metadata.directory=a=${env:NAME}=b$$c"]).metadata.directory == "a=x=b$c"


# --- empty values, anchors -------------------------------------------------------------------------------------------


def test_presence_switches_protocols_on(tmp_path: Path) -> None:
    """`grpc:` alone is on with every default, an absent http is off."""
    protocols = loaded(tmp_path, MINIMAL.replace("grpc:, http:", "grpc:")).receivers["otlp"].protocols

    assert protocols.grpc.max_recv_msg_size_mib == 64
    assert protocols.http is None


def test_keys_without_a_value_take_defaults(tmp_path: Path) -> None:
    """`key:` says nothing, at every level."""
    text = MINIMAL + "  workers:\n  telemetry:\n    logs:\n    metrics: {address: }\nmetadata:\nprocessors:\n"

    assert loaded(tmp_path, text) == loaded(tmp_path, MINIMAL)


def test_anchors_and_merge_keys(tmp_path: Path) -> None:
    """YAML's own means of sharing work; what is written out beats what is merged, earlier maps beat later ones."""
    text = MINIMAL.replace(
        "  debug:\n",
        """  debug: &base
    block: &block {max_rows: 5, flush_interval: 1s}
    verbosity: detailed
  debug/2: {<<: *base, verbosity: normal}
  debug/3: {block: {<<: [{max_rows: 7}, *block]}}
""",
    )

    exporters = loaded(tmp_path, text).exporters

    assert (exporters["debug/2"].block.max_rows, exporters["debug/2"].verbosity) == (5, "normal")
    assert (exporters["debug/3"].block.max_rows, exporters["debug/3"].block.flush_interval) == (7, 1.0)


def test_components_that_nothing_names_are_allowed(tmp_path: Path) -> None:
    """As in the Collector, what is configured but not used is not started and does not disturb."""
    config = loaded(tmp_path, MINIMAL, "receivers.otlp/spare.protocols.grpc.endpoint=127.0.0.1:4317")

    assert "otlp/spare" in config.receivers


def test_port_zero_may_repeat(tmp_path: Path) -> None:
    """Port 0 is any free port, so two of it are no collision."""
    overrides = [f"receivers.otlp.protocols.{protocol}.endpoint=127.0.0.1:0" for protocol in ("grpc", "http")]

    assert loaded(tmp_path, MINIMAL, *overrides).receivers["otlp"].protocols.grpc.endpoint.endswith(":0")


def test_embedded_directory_is_free_beside_a_dsn(tmp_path: Path) -> None:
    """The embedded Postgres' directory is not claimed when a server is used instead."""
    same = ["metadata.directory=./data/buffer"]

    assert any("is taken by" in line for line in told(tmp_path, MINIMAL, *same))
    assert loaded(tmp_path, MINIMAL, *same, "metadata.postgres=postgresql://db/otel").metadata.directory


def test_errors_carry_their_parts(tmp_path: Path) -> None:
    """Callers get file, line, column, path and message on their own, not only as text."""
    path = tmp_path / "my.yaml"
    path.write_text(MINIMAL + "  workers: many\n")

    with pytest.raises(ConfigErrors) as caught:
        load([path])

    (error,) = caught.value.errors
    assert (error.file, error.line, error.column, error.path) == (str(path), 10, 12, "service::workers")
    assert error.message == "expected a whole number, got 'many'"
