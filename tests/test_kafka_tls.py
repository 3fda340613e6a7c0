"""Encrypted connections to Kafka: certificates of both sides, accounts, and what is said when they are wrong."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from pipelines.errors import Retryable
from tests.support.buffers import ALL, batches
from tests.support.certificates import Authority
from tests.support.kafka import LEAVES_SOCKETS, Broker, broker, kafka_buffer, kafka_settings
from tests.support.records import ids, observations
from tests.support.waiting import wait_until

pytestmark = LEAVES_SOCKETS
_ACCOUNT: Final = {"username": "app", "password": "app-secret"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs the broker's certificate and those of its clients."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def encrypted(authority: Authority) -> Iterator[Broker]:
    """A broker with encrypted ports."""
    with broker(authority) as made:
        yield made


def _goes_through(settings: dict[str, Any]) -> None:
    """What is appended can be read and committed."""
    with kafka_buffer(settings, "store") as buffer:
        buffer.check()
        buffer.append([observations(5)])
        wait_until(lambda: buffer.statistics("store").rows_behind == 5)
        entries = buffer.read("store", *ALL)
        assert sorted(ids(batches(entries))) == sorted(ids([observations(5)]))
        buffer.commit("store", entries[-1].position)


def _refusal(settings: dict[str, Any]) -> str:
    """Why an append is refused; never with the password."""
    with kafka_buffer(settings) as buffer, pytest.raises(Retryable) as caught:
        buffer.append([observations(1)])
    assert _ACCOUNT["password"] not in str(caught.value)
    return str(caught.value)


def _tls(authority: Authority, **more: str) -> dict[str, str]:
    return {"ca_file": str(authority.file), **more}


def test_certificates_of_both_sides(encrypted: Broker, authority: Authority) -> None:
    """With a certificate that the broker asks for records get through; without one the likely cause is named."""
    issued = authority.issue("client")
    own = _tls(authority, cert_file=str(issued.certificate), key_file=str(issued.key))
    _goes_through(kafka_settings([encrypted.ssl_address], tls=own))
    assert "`tls`" in _refusal(kafka_settings([encrypted.ssl_address], tls=_tls(authority)))


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_accounts_over_tls(encrypted: Broker, authority: Authority, mechanism: str) -> None:
    """With the right password records get through, encrypted; a wrong one is named as the likely cause."""
    address, tls = [encrypted.sasl_ssl_address], _tls(authority)
    _goes_through(kafka_settings(address, tls=tls, sasl={"mechanism": mechanism, **_ACCOUNT}))
    wrong = {"mechanism": mechanism, "username": "app", "password": "guessed"}
    said = _refusal(kafka_settings(address, tls=tls, sasl=wrong))
    assert "`sasl`" in said
    assert "guessed" not in said


def test_a_broker_that_nobody_vouches_for(encrypted: Broker, tmp_path: Path) -> None:
    """A certificate of another authority is refused before any password is sent, and the setting is named."""
    sasl = {"mechanism": "PLAIN", **_ACCOUNT}
    for tls in (_tls(Authority(tmp_path)), {}):
        said = _refusal(kafka_settings([encrypted.sasl_ssl_address], tls=tls, sasl=sasl))
        assert "CERTIFICATE_VERIFY_FAILED" in said
        assert "`tls`" in said


def test_tls_on_one_side_only(encrypted: Broker, authority: Authority) -> None:
    """Where one side encrypts and the other does not, the refusal names the setting."""
    assert "`tls`" in _refusal(kafka_settings([encrypted.address], tls=_tls(authority)))
    assert "`tls`" in _refusal(kafka_settings([encrypted.ssl_address]))
