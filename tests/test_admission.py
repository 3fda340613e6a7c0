"""Admission by bytes."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otlp_receiver.admission import LEAST_LEASE_BYTES, Admission
from otlp_receiver.replies import MEMORY_FULL, TOO_LARGE, Refused
from pipelines.metrics import INFLIGHT_BYTES

MIB = 1024 * 1024


def test_bytes_are_given_back() -> None:
    """A lease holds what it was told, and everything is given back when it ends, by an error too."""
    admission = Admission(MIB)

    with suppress(ValueError), admission.lease() as lease:
        lease.hold(500_000)
        assert admission.held_bytes == 500_000
        raise ValueError

    assert admission.held_bytes == 0


def test_a_lease_only_grows() -> None:
    """What was announced stays held while fewer bytes have arrived."""
    admission = Admission(MIB)

    with admission.lease() as lease:
        lease.hold(500_000)
        lease.hold(100)
        assert admission.held_bytes == 500_000
        lease.hold(600_000)
        assert admission.held_bytes == 600_000


def test_no_room_is_refused_until_there_is_some() -> None:
    """Above the limit a request is told to come back, what others hold stays, and room helps."""
    admission = Admission(MIB)

    with admission.lease() as big:
        big.hold(MIB - LEAST_LEASE_BYTES)
        with admission.lease() as small, pytest.raises(Refused) as refusal:
            small.hold(2 * LEAST_LEASE_BYTES)
        assert refusal.value.situation is MEMORY_FULL
        assert admission.held_bytes == MIB - LEAST_LEASE_BYTES

    with admission.lease() as again:
        again.hold(2 * LEAST_LEASE_BYTES)


def test_what_never_fits_is_too_large() -> None:
    """A request larger than everything would be sent again for ever, so it is refused for good."""
    admission = Admission(MIB)

    with admission.lease() as lease, pytest.raises(Refused) as refusal:
        lease.hold(MIB + 1)

    assert refusal.value.situation is TOO_LARGE
    assert admission.held_bytes == 0


def test_tiny_requests_are_bounded() -> None:
    """A request costs memory even without a body, so the number of requests is bounded too."""
    admission = Admission(4 * LEAST_LEASE_BYTES)
    leases = [admission.lease() for _ in range(4)]
    for lease in leases:
        lease.__enter__()

    with pytest.raises(Refused):
        admission.lease().__enter__()

    for lease in leases:
        lease.__exit__(None, None, None)
    assert admission.held_bytes == 0


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 400_000)), max_size=50))
def test_never_above_the_limit(steps: list[tuple[int, int]]) -> None:
    """Whatever eight requests ask for, in whatever order, the limit holds and the count ends at zero."""
    admission = Admission(MIB)
    leases = [admission.lease() for _ in range(8)]
    for index, size_bytes in steps:
        try:
            leases[index].hold(size_bytes)
        except Refused:
            leases[index].__exit__(None, None, None)
        assert 0 <= admission.held_bytes <= MIB

    for lease in leases:
        lease.__exit__(None, None, None)
    assert admission.held_bytes == 0


def test_gauge_follows() -> None:
    """The gauge shows the held bytes to the MiB."""
    admission = Admission(64 * MIB)

    with admission.lease() as lease:
        lease.hold(10 * MIB + 5)
        shown = INFLIGHT_BYTES._value.get()

    assert shown == 10 * MIB
    assert INFLIGHT_BYTES._value.get() == 0
