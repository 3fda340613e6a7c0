"""Settings of the ClickHouse exporter: what an endpoint means, what is refused, and that nothing tells a password."""

from pathlib import Path

import pytest

from config import ConfigErrors
from config.clickhouse import ClickHouseUrl, parse_clickhouse_url
from config.printing import print_config
from exporters.clickhouse_client import connect
from tests.support.clickhouse import settings_at
from tests.support.configs import MINIMAL, loaded


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("clickhouse://ch", ClickHouseUrl((("ch", 9000),), "default", "", "otel", secure=False)),
        ("clickhouses://ch/x", ClickHouseUrl((("ch", 9440),), "default", "", "x", secure=True)),
        (
            "clickhouse://me:p%40ss:w@a:1,b,[::1]:2/db_1",
            ClickHouseUrl((("a", 1), ("b", 9000), ("::1", 2)), "me", "p@ss:w", "db_1", secure=False),
        ),
    ],
)
def test_parts_of_an_endpoint(text: str, parts: ClickHouseUrl) -> None:
    """User, password, several hosts, ports by scheme, and database."""
    assert parse_clickhouse_url(text) == parts


@pytest.mark.parametrize(
    "text",
    [
        "http://ch:8123/otel",
        "ch:9000",
        "clickhouse://",
        "clickhouse://secret@/otel",
        "clickhouse://u:secret@ch:0/otel",
        "clickhouse://u:secret@ch:65536",
        "clickhouse://u:secret@ch:x",
        "clickhouse://u:secret@a,,b",
        "clickhouse://u:secret@ch/otel;DROP",
        "clickhouse://u:secret@ch/otel?x=1",
        "clickhouse://u:secret@[::1",
    ],
)
def test_what_is_no_endpoint(text: str) -> None:
    """Anything else is refused with an example, and without what may be a password."""
    with pytest.raises(ValueError, match="expected clickhouse://") as caught:
        parse_clickhouse_url(text)

    assert "secret" not in str(caught.value)


def _text(endpoint: str, more: str = "") -> str:
    exporter = f"  clickhouse: {{endpoint: '{endpoint}'{more}}}"
    return MINIMAL.replace("  debug:", exporter).replace("[debug]", "[clickhouse]")


def test_passwords_are_never_printed(tmp_path: Path) -> None:
    """A printed configuration shows the place, not the password."""
    printed = print_config(loaded(tmp_path, _text("clickhouse://me:s3cret@ch:9000/otel")))

    assert "clickhouse://me:[REDACTED]@ch:9000/otel" in printed
    assert "s3cret" not in printed


def test_mistakes_never_tell_passwords(tmp_path: Path) -> None:
    """A bad endpoint is reported by its place in the file."""
    with pytest.raises(ConfigErrors) as caught:
        loaded(tmp_path, _text("clickhouse://me:s3cret@ch:9000/no-name"))

    assert "exporters::clickhouse::endpoint" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_cluster_is_an_identifier(tmp_path: Path) -> None:
    """What goes into SQL as a name is one."""
    with pytest.raises(ConfigErrors, match="plain identifier"):
        loaded(tmp_path, _text("clickhouse://ch", ", cluster: 'a b'"))


def test_the_driver_gets_every_host() -> None:
    """Hosts are tried in the order given."""
    client = connect(settings_at("clickhouses://a:1,b,[::1]:2/db"))

    assert list(client.connection.hosts) == [("a", 1), ("b", 9440), ("::1", 2)]
    assert client.connection.secure_socket
