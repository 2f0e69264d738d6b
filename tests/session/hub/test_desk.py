from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest
import trio

from relayd.config.hub import HubSettings
from relayd.config.providers import Dialect
from relayd.config.schema import Settings
from relayd.config.snapshot import Snapshot
from relayd.core.refusals import Refusal, RefusalCode
from relayd.observe.bus import Bus
from relayd.session.admission import Grant
from relayd.session.hub.admission import STRANGER
from relayd.session.hub.desk import Entry, HubDesk
from relayd.session.hub.manners import STRANGERS_MAX
from tests.session.hub.stage import Places, make_desk, turning
from tests.session.hub.test_identity import SNAPSHOT

GRANT = Grant(
    key=STRANGER,
    dialect=Dialect.HUB,
    client_address="127.0.0.1",
    granted_at=0.0,
    wall_granted_at=0.0,
)


@attrs.frozen
class Made:
    desk: HubDesk
    places: Places


@pytest.fixture
async def made() -> Iterator[Made]:  # type: ignore[misc]  # a fixture with a clock around it
    places = Places()
    with turning() as reactor:
        yield Made(make_desk(reactor, places, Bus(), SNAPSHOT, None), places)


async def test_who_is_known_takes_one_place(made: Made) -> None:
    entry = await made.desk.enter(GRANT, is_stranger=False)
    assert isinstance(entry, Entry)
    assert (made.places.taken, made.desk.antechamber.waiting) == (["(stranger)"], 0)
    for _ in range(2):
        entry.leave()
    assert made.places.taken == []


async def test_a_stranger_waits_in_the_antechamber_too(made: Made) -> None:
    entry = await made.desk.enter(GRANT, is_stranger=True)
    assert isinstance(entry, Entry)
    assert made.desk.antechamber.waiting == 1
    entry.leave_antechamber()
    assert (made.places.taken, made.desk.antechamber.waiting) == (["(stranger)"], 0)
    entry.leave()
    assert (made.places.taken, made.desk.antechamber.waiting) == ([], 0)


async def test_who_is_refused_holds_nothing(made: Made) -> None:
    made.places.refuses = RefusalCode.OVERLOAD
    refused = await made.desk.enter(GRANT, is_stranger=True)
    assert isinstance(refused, Refusal)
    assert made.desk.antechamber.waiting == 0


async def test_nor_does_who_does_not_wait(made: Made) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await made.desk.enter(GRANT, is_stranger=True)
    assert scope.cancelled_caught
    assert (made.places.taken, made.desk.antechamber.waiting) == ([], 0)


async def test_a_full_antechamber_takes_no_place(made: Made) -> None:
    made.desk.antechamber.waiting = STRANGERS_MAX
    refused = await made.desk.enter(GRANT, is_stranger=True)
    assert isinstance(refused, Refusal)
    assert (refused.code, made.places.taken) == (RefusalCode.OVERLOAD, [])


async def test_another_configuration_has_other_bounds(made: Made) -> None:
    snapshot = Snapshot.of(Settings(hub=HubSettings(history_count=3)))
    made.desk.apply(snapshot)
    assert made.desk.snapshot is snapshot
    assert made.desk.hub.bounds.ring_messages_max == 3
