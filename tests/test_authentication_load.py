"""The running service under many keys, wrong ones among them, while Postgres stops and starts."""

from collections.abc import Iterator

import pytest

from otlp_receiver.embedded_postgres import EmbeddedPostgres
from otlp_receiver.keys import generate_key
from tests.support.counters import counters, series
from tests.support.keyed_load import as_url, make_keys, send_as
from tests.support.postgres import own_postgres
from tests.support.service import Service, service
from tests.support.waiting import wait_until

_HASH_KEY = "h" * 32
_PROJECTS = [f"project-{number}" for number in range(10)]


@pytest.fixture
def postgres() -> Iterator[EmbeddedPostgres]:
    """A server that the test stops and starts."""
    with own_postgres() as server:
        yield server


@pytest.fixture
def guarded(postgres: EmbeddedPostgres) -> Iterator[Service]:
    """A service that knows its keys from that server, not started."""
    with service() as made:
        made.config["extensions"]["api_keys"] = {}
        made.config["metadata"] = {"postgres": as_url(postgres.start()), "hash_key": _HASH_KEY}
        made.config["receivers"]["otlp"]["protocols"]["http"]["auth"] = {"authenticator": "api_keys"}
        yield made


@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_many_keys_and_an_outage(postgres: EmbeddedPostgres, guarded: Service, count: int) -> None:
    """Good keys are never told that they are wrong, wrong ones never taken; each project has what its keys sent."""
    good = [key.secret for key in make_keys(postgres.start(), _HASH_KEY.encode(), count, _PROJECTS)]
    guarded.start()
    url, few = guarded.url("http"), count // 100

    assert send_as(url, _with_wrong(good, few)) == {200: count, 401: few}
    postgres.stop()
    assert send_as(url, good) == {200: count}
    assert send_as(url, _with_wrong([], few)) == {503: few}
    postgres.start()
    wait_until(lambda: send_as(url, [generate_key().secret]) == {401: 1}, 60)
    assert send_as(url, _with_wrong(good, few)) == {200: count, 401: few}

    stored = counters(guarded)
    sent = {series("otlp_receiver_project_spans", project=each): 3 * count / len(_PROJECTS) for each in _PROJECTS}
    assert {name: value for name, value in stored.items() if name.startswith("otlp_receiver_project_spans")} == sent


def _with_wrong(good: list[str], wrong: int) -> list[str]:
    """The good secrets, with new ones that nobody has strewn among them."""
    mixed = list(good)
    for number in range(wrong):
        mixed.insert(number * 100, generate_key().secret)
    return mixed
