"""Who can reach a listener: what must be said before one is open to other machines, and what is logged then."""

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from config import Config, ConfigErrors
from config.exposure import is_local
from otlp_receiver.preflight import endpoints, give_hints
from tests.support.configs import MINIMAL, loaded

_OPEN = "Whoever can reach this endpoint may use it: it has no authentication."
_STORE = MINIMAL.replace("debug", "chdb")


def _warnings(config: Config, only: str | None = None) -> list[Any]:
    with capture_logs() as logs:
        give_hints(config, only)
    return [entry["endpoint"] for entry in logs if entry["event"] == _OPEN]


@pytest.mark.parametrize(
    ("endpoint", "local"),
    [
        ("127.0.0.1:4317", True),
        ("127.8.0.1:4317", True),
        ("localhost:4317", True),
        ("[::1]:4317", True),
        ("unix:/run/otlp.sock", True),
        ("0.0.0.0:4317", False),
        (":4317", False),
        ("[::]:4317", False),
        ("10.1.2.3:4317", False),
        ("otel.example.com:4317", False),
    ],
)
def test_what_others_can_reach(tmp_path: Path, endpoint: str, local: bool) -> None:  # noqa: FBT001 - a row of the table
    """Loopback and unix sockets need no word; all else is an error until it is said who may use it."""
    text = MINIMAL.replace("grpc:,", f"grpc: {{endpoint: '{endpoint}'}},")
    assert is_local(endpoint) is local

    if local:
        assert _warnings(loaded(tmp_path, text)) == []
        return
    with pytest.raises(ConfigErrors, match="is reachable from other machines"):
        loaded(tmp_path, text)
    open_to_all = loaded(tmp_path, text.replace(f"'{endpoint}'", f"'{endpoint}', auth: none"))
    assert _warnings(open_to_all) == [endpoint]
    assert _warnings(open_to_all, "export") == []


def test_keys_silence_the_warning(tmp_path: Path) -> None:
    """A listener that asks for keys is not warned of, nor does an extension without an endpoint disturb."""
    text = _STORE.replace("grpc:,", "grpc: {endpoint: '0.0.0.0:4317', auth: {authenticator: api_keys}},")
    config = loaded(tmp_path, text + "extensions: {api_keys: , sql_http: {endpoint: '0.0.0.0:8123', auth: none}}\n")

    assert _warnings(config) == ["0.0.0.0:8123"]
    assert _warnings(config, "ingest") == []
    assert "extensions::api_keys::endpoint" not in dict(endpoints(config, None))


def test_sql_on_loopback_needs_no_word(tmp_path: Path) -> None:
    """The embedded defaults start as they did, without keys and without a warning."""
    assert _warnings(loaded(tmp_path, _STORE + "extensions: {sql_http: }\n")) == []
