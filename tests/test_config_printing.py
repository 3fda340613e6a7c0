"""The printed configuration: complete, readable back, without secrets."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from config.loader import load
from config.printing import print_config
from config.settings import Settings
from tests.support.configs import MINIMAL, loaded

EXAMPLES = sorted((Path(__file__).parent.parent / "config" / "examples").glob("*.yaml"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_read_back(tmp_path: Path, example: Path) -> None:
    """What is printed loads as the same configuration."""
    config = load([example])

    assert loaded(tmp_path, print_config(config)) == config


def test_everything_is_spelled_out(tmp_path: Path) -> None:
    """Defaults are printed, durations in Go's notation, what is off is left out."""
    text = print_config(loaded(tmp_path, MINIMAL.replace("grpc:, http:", "grpc:"), "service.shutdown_timeout=90s"))

    assert "max_recv_msg_size_mib: 64" in text
    assert "shutdown_timeout: 1m30s" in text
    assert "flush_interval: 200ms" in text
    assert "http" not in text
    assert "null" not in text


def test_awkward_text_reads_back(tmp_path: Path) -> None:
    """Dollars, quotes, text that looks like numbers and other scripts survive."""
    awkward = ["${env:HOME}", "$$x$", "0123", "true", "", "a: b", "# c", "'\"\\", "日本\n", "\x07", " x "]
    config = loaded(tmp_path, MINIMAL)
    redactions = load(overrides=["processors.redaction="]).processors["redaction"]
    for text in awkward:
        changed = config.model_copy(update={"processors": {"redaction": redactions.model_copy(update={"mask": text})}})

        assert loaded(tmp_path, print_config(changed)) == changed


def test_secrets_are_masked() -> None:
    """The password of a DSN is not printed, the rest of it is."""
    text = print_config(load(overrides=["metadata.postgres=postgresql://otel:hunter2@db/otel"]))

    assert "postgres: postgresql://otel:[REDACTED]@db/otel" in text
    assert "hunter2" not in text


def test_any_secret_is_masked() -> None:
    """A secret in whatever model is printed as [REDACTED], whether or not its author thought of printing."""

    class Door(Settings):
        """Has a key."""

        key: SecretStr
        spare: SecretStr | None = None

    dumped = Door(key=SecretStr("hunter2"), spare=SecretStr("hunter2")).model_dump(mode="json")

    assert dumped == {"key": "[REDACTED]", "spare": "[REDACTED]"}


def test_secrets_do_not_show_in_repr() -> None:
    """A configuration in a traceback or a log does not tell passwords."""
    config = load(overrides=["metadata.postgres=postgresql://otel:hunter2@db/otel"])

    assert "hunter2" not in repr(config)
    assert "hunter2" not in str(config.model_dump())
