"""Listening addresses."""

import socket

import pytest

from otlp_receiver.sockets import address, bind


def test_free_port_is_told() -> None:
    """Port 0 becomes a port that can be told."""
    (bound,) = bind("127.0.0.1:0", shared=True)
    with bound:
        assert address(bound) == f"127.0.0.1:{bound.getsockname()[1]}"
        assert bound.getsockname()[1] > 0


def test_localhost_and_empty_host() -> None:
    """Names and an empty host are understood, with one port on all their addresses."""
    for endpoint in ("localhost:0", ":0"):
        sockets = bind(endpoint, shared=True)
        assert len({bound.getsockname()[1] for bound in sockets}) == 1
        for bound in sockets:
            bound.close()


def test_sharing() -> None:
    """Processes of one service share a port, and the check without sharing still sees that it is taken."""
    (first,) = bind("127.0.0.1:0", shared=True)
    with first:
        first.listen()
        (second,) = bind(address(first), shared=True)
        second.close()

        with pytest.raises(OSError, match=f"cannot listen on {address(first)}: .*; stop what listens there"):
            bind(address(first), shared=False)


def test_port_of_another_program() -> None:
    """A port that somebody else has is one clear line with address and cure, and stays theirs."""
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        endpoint = f"127.0.0.1:{foreign.getsockname()[1]}"
        with pytest.raises(OSError, match=f"cannot listen on {endpoint}: .*; stop what listens there"):
            bind(endpoint, shared=True)


@pytest.mark.parametrize("endpoint", ["no-such-host.invalid:4317", "192.0.2.1:4317", "unix:/no/directory/otlp.sock"])
def test_addresses_that_are_not_here(endpoint: str) -> None:
    """A name that does not resolve, an address of another machine, and a path that is not there name the endpoint."""
    with pytest.raises(OSError, match=f"cannot listen on {endpoint}: "):
        bind(endpoint, shared=True)


def test_ipv6() -> None:
    """IPv6 hosts are written and told in brackets."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 on this machine")
    try:
        (bound,) = bind("[::1]:0", shared=True)
    except OSError:
        pytest.skip("no IPv6 loopback on this machine")
    with bound:
        assert address(bound).startswith("[::1]:")
