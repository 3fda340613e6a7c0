"""Quotas in the running service: two ingest processes, both transports, keys and quotas made on the command line."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
import requests

from otlp_receiver.quotas import EXCHANGE_SECONDS
from tests.support.counters import growth, series
from tests.support.otlp import export, span, to_protobuf
from tests.support.reporting import Report
from tests.support.senders import PROTOBUF, TRACES
from tests.support.service import Service, service
from tests.support.waiting import wait_until

_ROOT: Final = Path(__file__).parent.parent
_BATCH: Final = 10
_LIMIT: Final = 200
_BURST: Final = 100
_PROCESSES: Final = 2
_SENDERS: Final = 6
"""Of either transport; each on a connection of its own, which the kernel gives to one of the processes."""
_SECONDS: Final = 20.0
_STALLED: Final = ("not durable within", "looking up a key takes too long", "keys cannot be looked up")
"""What a machine that stalls for seconds makes of a request: any sender tries again."""


@pytest.fixture(scope="module")
def guarded() -> Iterator[Service]:
    """A service whose receivers ask for keys, on two ingest processes."""
    with service() as made:
        made.config["extensions"]["api_keys"] = {}
        made.config["service"]["workers"] = _PROCESSES
        for protocol in made.config["receivers"]["otlp"]["protocols"].values():
            protocol["auth"] = {"authenticator": "api_keys"}
        made.start()
        yield made
        made.stop()


def _command(guarded: Service, *words: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "otlp_receiver", *words, "--config", str(guarded.directory / "receiver.yaml")]
    said = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


def _project(guarded: Service, name: str) -> str:
    """The secret of a new project's key."""
    return str(_command(guarded, "projects", "create", name, "--json")[0]["secret_key"])


def _body(number: int, place: int) -> bytes:
    trace_id = f"{place + 1:08x}{number + 1:024x}"
    return to_protobuf(export(*(span(trace_id=trace_id, span_id=f"{each + 1:016x}") for each in range(_BATCH))))


@dataclass
class _Sent:
    """What a sender of its own connection was told.

    Attributes:
        taken: spans.
        refused: requests that the quota refused.
        later: requests that were to be sent again since keys or the disk took too long, as on a machine that stalls.
    """

    taken: int = 0
    refused: int = 0
    later: int = 0
    failures: list[str] = field(default_factory=list)


def _over_http(guarded: Service, secret: str, place: int, until: float, sent: _Sent) -> None:
    headers = {"Content-Type": PROTOBUF, "x-api-key": secret}
    with requests.Session() as session:
        for number in range(1_000_000):
            if time.monotonic() > until:
                return
            url = guarded.url("http") + "/v1/traces"
            answer = session.post(url, data=_body(number, place), headers=headers, timeout=60)
            _note(sent, answer.status_code, answer.content.decode("latin-1"))
            assert answer.status_code == 200 or int(answer.headers["Retry-After"]) >= 1


def _over_grpc(guarded: Service, secret: str, place: int, until: float, sent: _Sent) -> None:
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{guarded.ports['grpc']}", options) as channel:
        call: Any = channel.unary_unary(TRACES)
        for number in range(1_000_000):
            if time.monotonic() > until:
                return
            try:
                call(_body(number, place), metadata=(("x-api-key", secret),), timeout=60)
                _note(sent, grpc.StatusCode.OK)
            except grpc.RpcError as error:
                _note(sent, error.code(), error.details() or "")


def _note(sent: _Sent, code: Any, text: str = "") -> None:
    """Impatient, so that all of the limit is used: what comes once a second comes late."""
    if code in (200, grpc.StatusCode.OK):
        sent.taken += _BATCH
        return
    if code in (429, grpc.StatusCode.RESOURCE_EXHAUSTED):
        sent.refused += 1
    elif any(each in text for each in _STALLED):
        sent.later += 1
    else:
        sent.failures.append(f"{code}: {text}")
    time.sleep(0.1)


def _send(guarded: Service, secrets: Sequence[str]) -> list[_Sent]:
    """What senders of both transports were told, by key."""
    until, sent = time.monotonic() + _SECONDS, [_Sent() for _ in secrets]
    threads = [
        threading.Thread(target=send, args=(guarded, secret, place * len(secrets) + number, until, sent[number]))
        for number, secret in enumerate(secrets)
        for place, send in enumerate([_over_http, _over_grpc] * _SENDERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sent


def _wait_for_refusal(guarded: Service, secret: str) -> requests.Response:
    """Send until the quota is known and used up."""
    answers: list[requests.Response] = []

    def is_refused() -> bool:
        headers = {"Content-Type": PROTOBUF, "x-api-key": secret}
        url = guarded.url("http") + "/v1/traces"
        answers.append(requests.post(url, data=_body(len(answers), 1 << 24), headers=headers, timeout=60))
        assert answers[-1].status_code in (200, 429), answers[-1].text
        return answers[-1].status_code == 429

    wait_until(is_refused, 60)
    return answers[-1]


def test_limits_hold(guarded: Service, report: Report) -> None:
    """Two processes keep a project's limit on both transports within what is documented; others are not refused."""
    limited, free = _project(guarded, "limited"), _project(guarded, "free")
    _command(guarded, "quotas", "set", "limited", "--spans-per-second", str(_LIMIT), "--spans-burst", str(_BURST))
    _wait_for_refusal(guarded, limited)
    began = time.monotonic()
    with growth(guarded) as grown:
        sent, others = _send(guarded, [limited, free])
    seconds = time.monotonic() - began

    in_flight = 2 * _SENDERS * _BATCH * _PROCESSES
    most = (
        _BURST + _LIMIT * (1.01 * seconds + 2 * EXCHANGE_SECONDS) + in_flight
    )  # decision 0010; without a limit ten times that come
    report(
        f"quota of {_LIMIT} spans/s in {seconds:.1f} s: {sent.taken} taken ({sent.taken / seconds:.0f}/s), at most "
        f"{most:.0f}; {sent.refused} requests refused; beside it {others.taken} without a quota; "
        f"{sent.later + others.later} to be sent again"
    )
    assert (sent.failures, others.failures, others.refused) == ([], [], 0)
    assert sent.refused > 0
    assert _LIMIT < sent.taken <= most
    refusals = grown[series("otlp_receiver_quota_refusals", project="limited", quota="spans_per_second")]
    assert refusals == sent.refused
    assert all(project != "free" for project in _refused_projects(grown))


def _refused_projects(grown: dict[str, float]) -> list[str]:
    return [name.partition('project="')[2].partition('"')[0] for name in grown if "quota_refusals" in name]


def test_a_month_and_its_end(guarded: Service) -> None:
    """A month that is used up refuses in every process, is told for an hour at most, and ends with the quota."""
    secret = _project(guarded, "monthly")
    _command(guarded, "quotas", "set", "monthly", "--spans-per-month", "50")
    refused = _wait_for_refusal(guarded, secret)
    assert "50 spans per month" in refused.text
    assert 1 <= int(refused.headers["Retry-After"]) <= 3600

    (shown,) = _command(guarded, "quotas", "show", "monthly", "--json")
    assert shown["spans_per_month"] == 50
    wait_until(lambda: _command(guarded, "quotas", "show", "monthly", "--json")[0]["month_spans"] >= 50, 60)
    _command(guarded, "quotas", "clear", "monthly")
    headers = {"Content-Type": PROTOBUF, "x-api-key": secret}
    url = guarded.url("http") + "/v1/traces"
    wait_until(lambda: requests.post(url, data=_body(0, 1 << 25), headers=headers, timeout=60).status_code == 200, 60)


def test_what_was_taken_is_counted(guarded: Service) -> None:
    """The month's usage is what was stored, also when the service was stopped right after it."""
    secret = _project(guarded, "counted")
    headers = {"Content-Type": PROTOBUF, "x-api-key": secret}
    for number in range(30):
        answer = requests.post(
            guarded.url("http") + "/v1/traces", data=_body(number, 1 << 26), headers=headers, timeout=60
        )
        assert answer.status_code == 200
    assert guarded.stop() == 0
    (shown,) = _command(guarded, "quotas", "show", "counted", "--json")
    assert (shown["month_spans"], shown["month_bytes"]) == (30 * _BATCH, 30 * len(_body(0, 1 << 26)))
    guarded.start()
