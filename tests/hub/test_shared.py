"""Encoding once, for all."""

from __future__ import annotations

import pytest

from relayd.hub.shared import TORN_EPOCH, Shared, Warm, Wire, size_of
from tests.hub.making import EPOCH, publication, shared, told

WIRES = list(Wire)


@pytest.mark.parametrize("wire", WIRES)
def test_all_clients_of_a_wire_share_the_same_bytes(wire: Wire) -> None:
    made = shared()
    Warm(10_000).keep(made)

    assert made.encoded(wire) is made.encoded(wire)


def test_the_oldest_lose_their_bytes() -> None:
    first, second = shared(1), shared(2)
    warm = Warm(first.size)
    warm.keep(first)
    before = first.encoded(Wire.COUNCIL)
    warm.keep(second)
    warm.keep(second)

    assert len(warm) == 1
    assert not first.warm
    assert first.encoded(Wire.COUNCIL) == before
    assert first.encoded(Wire.COUNCIL) is not before


@pytest.mark.parametrize("wire", WIRES)
def test_no_encoding_is_longer_than_it_counts(wire: Wire) -> None:
    long = publication(
        2**60,
        tenant="\x01" * 64,
        topic="workflow:" + "w" * 128,
        event="e" * 64,
        session_id="\x02" * 128,
        node_id="\x03" * 128,
        data=b'"%b"' % (b"x" * 65_000),
    )

    assert len(Shared(publication=long, at=0.0).encoded(wire)) <= size_of(long)


def test_a_torn_id_names_no_place() -> None:
    made = shared(3)
    torn = made.torn()

    assert told(made.encoded(Wire.COUNCIL))["id"] == f"{EPOCH}:3"
    assert told(torn.encoded(Wire.COUNCIL)) == told(made.encoded(Wire.COUNCIL)) | {
        "id": f"{TORN_EPOCH}:3"
    }
    assert (torn.origin, torn.size) == (made, made.size)


def test_an_event_knows_its_topics() -> None:
    both = (("acme", "workflow:w1"), ("", "ops"))

    assert shared().topics == (("acme", "workflow:w1"),)
    assert Shared(publication=publication(), at=0.0, siblings=both).topics == both
