"""What both wires stand on."""

from __future__ import annotations

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from relayd.config.schema import Settings
from relayd.config.snapshot import Snapshot
from relayd.core.endings import Reason
from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.hub_event import Position
from relayd.dialect.hub_topics import Scope, parse_selector
from relayd.dialect.hub_wanted import Wanted
from relayd.session.hub.guest import NOBODY, Guest
from relayd.session.hub.identity import Identity
from relayd.session.hub.manners import BURST
from tests.session.hub.signing import NOW, token
from tests.session.hub.stage import CENTRIFUGE, EPOCH, WORKFLOW, Stage
from tests.session.hub.test_identity import BOUND, USER


def known(answer: Identity | Refusal) -> Identity:
    assert isinstance(answer, Identity), answer
    return answer


async def guest_of(stage: Stage, key: str | None = None) -> Guest:
    return (await stage.client(CENTRIFUGE, key)).session.guest


async def test_a_stranger_sees_nothing(stage: Stage) -> None:
    guest = await guest_of(stage)
    selector = parse_selector("*")
    assert selector is not None
    guest.follow(Wanted(topics=(selector,)))
    stage.publish()
    stage.publish("ops", tenant="")
    assert guest.subscriber.scope == NOBODY
    assert not guest.subscriber.outbox


async def test_who_enters_counts_for_its_key_and_may_see_what_that_may(stage: Stage) -> None:
    guest = await guest_of(stage)
    assert await guest.enter(USER) is None
    assert stage.places.taken == ["user"]
    assert guest.who.name == "user"
    assert guest.subscriber.scope == Scope(tenant="acme")


async def test_who_is_cancelled_on_the_threshold_is_still_a_stranger(stage: Stage) -> None:
    guest = await guest_of(stage)
    with trio.CancelScope() as scope:
        scope.cancel()
        await guest.enter(USER)
    assert scope.cancelled_caught
    assert (guest.identity, guest.subscriber.scope) == (None, NOBODY)


async def test_who_is_removed_on_the_threshold_is_not_let_in(stage: Stage) -> None:
    guest = await guest_of(stage)
    refusals: list[Refusal | None] = []

    async def enter() -> None:
        refusals.append(await guest.enter(USER))

    async with trio.open_nursery() as nursery:
        stage.places.gate = trio.Event()
        nursery.start_soon(enter)
        await wait_all_tasks_blocked()
        stage.apply(Snapshot.of(Settings()))
        stage.places.gate.set()
    (refusal,) = refusals
    assert refusal is not None
    assert (refusal.code, guest.identity) == (RefusalCode.INVALID_API_KEY, None)


async def test_a_key_is_looked_at_as_before_the_101(stage: Stage) -> None:
    guest = await guest_of(stage)
    found = await guest.enter(BOUND)
    assert isinstance(found, Refusal)
    assert found.code is RefusalCode.ADDRESS_NOT_ALLOWED


async def test_other_rights(stage: Stage) -> None:
    guest = await guest_of(stage, token(topics=["session:*", WORKFLOW]))
    topics = [parse_selector(text) for text in ("session:a", WORKFLOW, "*")]
    chosen = tuple(each for each in topics if each is not None)
    guest.follow(Wanted(topics=chosen))
    narrower = known(guest.identify(token(topics=["session:*"])))
    lost = guest.become(narrower)
    assert [each.text for each in lost] == [WORKFLOW]
    stage.publish()
    assert not guest.subscriber.outbox
    assert guest.become(attrs.evolve(narrower, expires_at=NOW + 999)) == ()


async def test_what_is_asked_is_counted(stage: Stage) -> None:
    guest = await guest_of(stage, USER)
    now = trio.current_time()
    assert [guest.admits(now) for _ in range(BURST + 1)] == [True] * BURST + [False]
    assert guest.verdict.reason is Reason.CONTROL_FLOOD


@pytest.mark.parametrize("offset", [0, 2])
async def test_what_was_missed_stands_before_what_comes(stage: Stage, offset: int) -> None:
    stage.publish(data=1)
    stage.publish(data=2)
    client = await stage.connected()
    guest = client.session.guest
    selector = parse_selector(WORKFLOW)
    assert selector is not None
    since = {WORKFLOW: Position(EPOCH, offset, overall=False)}
    guest.say(b'"before"')
    found = guest.follow(Wanted(topics=(selector,), since=since))
    guest.answer(b'"answer"', missed=found.publications)
    stage.publish(data=3)
    assert len(guest.subscriber.outbox) == 2 + (2 - offset) + 1
    texts = [(await client.text()).payload for _ in range(len(guest.subscriber.outbox))]
    assert texts[:2] == [b'"before"', b'"answer"']
