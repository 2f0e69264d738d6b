"""Clients whose connections break a hundred times miss nothing and get nothing twice."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio

from relayd.observe.events import LogEvent
from tests.integration.hub_clients import ALL, Kind, name_of
from tests.integration.hub_house import Client, Forwarder, House, Ticking

pytestmark = pytest.mark.slow

DROPS = 100
EVENTS_PER_S = 50
CUT_BYTES_MAX = 4000
"""Up to here a connection may break anywhere: in its 101, in what it missed, in what comes then."""


@pytest.mark.parametrize("kind", ALL, ids=name_of)
async def test_no_gap_and_no_duplicate(kind: Kind, tmp_path: Path, nursery: trio.Nursery) -> None:
    house = House(tmp_path, nursery)
    relayd = await house.start()
    forwarder = Forwarder(house.address)
    await nursery.start(forwarder.run)
    client = await kind.start(forwarder.address, nursery)
    await client.told("connected" if kind.scheme == "http" else FOLLOWS[kind.name])
    ticking = Ticking(house, 1 / EVENTS_PER_S)
    nursery.start_soon(ticking.run)

    await drop(forwarder, client, random.Random(7))
    published = await ticking.stop()
    await client.up_to(published)

    assert client.offsets == list(range(1, published + 1))
    assert client.numbers == client.offsets
    assert client.of("resync") == []
    assert [each for each in client.of("subscribed") if each["recovered"] is False][1:] == []
    assert relayd.of(LogEvent.SESSION_CRASHED) == []


FOLLOWS = {
    "centrifuge-python": "subscribed",
    "centrifuge-js": "subscribed",
    "council": "welcome",
}
"""What a client says when it has begun to follow."""


async def drop(forwarder: Forwarder, client: Client, chance: random.Random) -> None:
    """Cut the connection while events come, and the next one before it has brought much."""
    for cut in range(2, DROPS + 1, 2):
        await client.one_more()
        await forwarder.cut(next_after=chance.randrange(CUT_BYTES_MAX))
        await forwarder.until_cut(cut)
