"""The Centrifuge protocol, as its SDKs speak it."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

import relayd
from relayd.core.refusals import RefusalCode
from relayd.dialect.hub_topics import SELECTORS_MAX, Selector
from relayd.dialect.hub_wanted import Wanted
from tests.session.hub.signing import NOW, OTHER_SECRET, token
from tests.session.hub.stage import CENTRIFUGE, EPOCH, WORKFLOW, Client, Stage
from tests.session.hub.test_identity import OPERATOR, PUBLISHER, USER

OTHER_EPOCH = "ffffffffffffffff"


def error(code: int, message: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - as JSON has it
    return {"error": {"code": code, "message": message} | more}


async def subscribe(client: Client, channel: str = WORKFLOW, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - likewise
    reply = await client.ask(subscribe={"channel": channel} | more)
    subscribed: dict[str, Any] = reply["subscribe"]
    return subscribed


# -- who it is


async def test_a_token_in_the_connect_command_says_who_it_is(stage: Stage) -> None:
    client = await stage.client(CENTRIFUGE, None)
    assert (stage.places.taken, stage.desk.antechamber.waiting) == (["(stranger)"], 1)
    assert await client.connect(token(exp=NOW + 90)) == {
        "client": "sess_0",
        "version": relayd.__version__,
        "ping": 25,
        "pong": True,
        "expires": True,
        "ttl": pytest.approx(89, abs=1),
    }
    assert (stage.places.taken, stage.desk.antechamber.waiting) == (["(token)"], 0)
    facts = client.session.reporter.facts
    assert (facts.key, facts.tenant) == ("jwt:alice", "acme")


async def test_a_key_may_be_the_token_and_counts_for_itself(stage: Stage) -> None:
    client = await stage.client(CENTRIFUGE, None)
    connected = await client.connect(USER)
    assert "ttl" not in connected
    assert stage.places.taken == ["user"]


async def test_who_came_with_a_credential_needs_no_other(stage: Stage) -> None:
    client = await stage.client(CENTRIFUGE, USER)
    assert (await client.connect())["client"] == "sess_0"
    assert stage.places.taken == ["user"]


@pytest.mark.parametrize("bad", [None, "no key", token(OTHER_SECRET)])
async def test_a_token_that_is_none_ends_it_with_4500(stage: Stage, bad: str | None) -> None:
    client = await stage.client(CENTRIFUGE, None)
    await client.send({"id": 1, "connect": {} if bad is None else {"token": bad}})
    code, text = await client.closed()
    assert (code, text.split(":")[0]) == (4500, "bad token")
    assert (await stage.line(client))["key"] == "(stranger)"


async def test_an_expired_token_is_an_error_so_that_the_client_gets_another(stage: Stage) -> None:
    client = await stage.client(CENTRIFUGE, None)
    reply = await client.ask(connect={"token": token(exp=NOW - 60)})
    assert reply == error(109, "token expired")
    await client.connect(token())


@pytest.mark.parametrize(
    ("refused", "code"),
    [
        (RefusalCode.SESSION_LIMIT_REACHED, 4504),
        (RefusalCode.INSUFFICIENT_QUOTA, 4503),
        (RefusalCode.OVERLOAD, 1013),
    ],
)
async def test_whom_there_is_no_room_for_ends(
    stage: Stage, refused: RefusalCode, code: int
) -> None:
    client = await stage.client(CENTRIFUGE, None)
    stage.places.refuses = refused
    await client.send({"id": 1, "connect": {"token": USER}})
    assert (await client.closed())[0] == code


@pytest.mark.parametrize("first", [{"id": 1, "subscribe": {"channel": WORKFLOW}}, {}])
async def test_connect_comes_first(stage: Stage, first: dict[str, Any]) -> None:
    client = await stage.client(CENTRIFUGE, USER)
    await client.send(first)
    assert await client.closed() == (4501, "bad request: one connect comes first")


async def test_and_once(stage: Stage) -> None:
    client = await stage.connected()
    await client.send({"id": 9, "connect": {}})
    assert (await client.closed())[0] == 4501


@pytest.mark.parametrize("key", [None, USER])
async def test_who_does_not_connect_in_time_ends(
    stage: Stage, patient: MockClock, key: str | None
) -> None:
    began = trio.current_time()
    client = await stage.client(CENTRIFUGE, key)
    assert await client.closed() == (4009, "no connect command in time")
    assert trio.current_time() - began == pytest.approx(10, abs=0.5)


async def test_a_ping_is_sent_whatever_the_client_says(stage: Stage, patient: MockClock) -> None:
    client = await stage.connected()
    began, seen = trio.current_time(), []
    for number in range(3):
        await trio.sleep(10)
        await client.send({"id": number + 5, "presence_stats": {"channel": WORKFLOW}})
        while (reply := await client.json()) == {}:
            seen.append(number)
        assert reply["id"] == number + 5
    assert seen == [2]
    await client.send({})
    assert await client.json() == {}
    assert trio.current_time() - began == pytest.approx(50, abs=0.5)


# -- channels


async def test_events_of_a_channel(stage: Stage) -> None:
    stage.publish()
    client = await stage.connected()
    assert await subscribe(client) == {"epoch": EPOCH, "offset": 1}
    stage.publish(data={"a": 1})
    stage.publish("workflow:other")
    push = (await client.json())["push"]
    assert (push["channel"], push["pub"]["offset"]) == (WORKFLOW, 2)
    assert (push["pub"]["data"]["event"], push["pub"]["data"]["data"]) == ("e", {"a": 1})
    assert await client.ask(unsubscribe={"channel": WORKFLOW}) == {"unsubscribe": {}}
    stage.publish()
    assert await client.ask(presence_stats={"channel": WORKFLOW}) == {
        "presence_stats": {"num_clients": 0}
    }


async def test_several_commands_in_one_message(stage: Stage) -> None:
    client = await stage.connected()
    lines = b"\n".join(
        b'{"id":%d,"subscribe":{"channel":"workflow:%d"}}' % (number, number)
        for number in range(1, 101)
    )
    await client.send(lines)
    assert [reply["id"] for reply in await client.jsons(100)] == list(range(1, 101))


async def test_what_was_missed_is_in_the_reply(stage: Stage) -> None:
    for number in range(3):
        stage.publish(data=number)
    client = await stage.connected()
    found = await subscribe(client, recover=True, epoch=EPOCH, offset=1, recoverable=True)
    missed = found.pop("publications")
    assert found == {
        "epoch": EPOCH,
        "offset": 1,
        "recoverable": True,
        "positioned": True,
        "was_recovering": True,
        "recovered": True,
    }
    assert [(each["offset"], each["data"]["data"]) for each in missed] == [(2, 1), (3, 2)]
    stage.publish()
    assert (await client.json())["push"]["pub"]["offset"] == 4


async def test_a_place_that_is_gone_is_not_recovered(stage: Stage) -> None:
    stage.publish()
    client = await stage.connected()
    found = await subscribe(client, recover=True, epoch=OTHER_EPOCH, offset=9)
    assert (found["recovered"], found["offset"], found["epoch"]) == (False, 1, EPOCH)
    other = await client.ask(
        subscribe={"channel": "workflow:o", "recover": True, "epoch": OTHER_EPOCH, "flag": 2}
    )
    assert other == error(112, "unrecoverable position")
    assert set(client.session.guest.subscriber.followed) == {WORKFLOW}


async def test_a_recovery_of_much_waits_until_the_last_was_taken(stage: Stage) -> None:
    for topic in range(6):
        for _ in range(12):
            stage.publish(f"workflow:{topic}", data="x" * 60_000)
    client = await stage.connected()
    await client.send(
        *(
            {
                "id": 100 + topic,
                "subscribe": {
                    "channel": f"workflow:{topic}",
                    "recover": True,
                    "epoch": EPOCH,
                    "offset": 0,
                },
            }
            for topic in range(6)
        )
    )
    replies = await client.jsons(6)
    assert [len(reply["subscribe"]["publications"]) for reply in replies] == [12] * 6


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ({"subscribe": {"channel": "ops"}}, 103),
        ({"subscribe": {"channel": "workflow:*"}}, 102),
        ({"subscribe": {"channel": "nothing"}}, 102),
        ({"presence_stats": {"channel": "ops"}}, 103),
        ({"history": {"channel": "tenant:other"}}, 103),
        ({"history": {"channel": WORKFLOW, "since": {"offset": 3, "epoch": EPOCH}}}, 112),
        ({"publish": {"channel": WORKFLOW, "data": {}}}, 103),
        ({"presence": {"channel": WORKFLOW}}, 108),
        ({"sub_refresh": {"channel": WORKFLOW}}, 108),
        ({"rpc": {"method": "x"}}, 104),
        ({"subscribe": {"channel": 7}}, 107),
    ],
)
async def test_what_cannot_be_done(stage: Stage, command: dict[str, Any], code: int) -> None:
    client = await stage.connected()
    reply = await client.ask(**command)
    assert reply["error"]["code"] == code


async def test_a_channel_is_subscribed_once_and_only_so_many_are(stage: Stage) -> None:
    client = await stage.connected()
    await subscribe(client)
    again = await client.ask(subscribe={"channel": WORKFLOW})
    assert again == error(105, "already subscribed")
    others = tuple(
        Selector(f"workflow:{number}", is_prefix=False) for number in range(SELECTORS_MAX - 1)
    )
    subscriber = client.session.guest.subscriber
    stage.hub.subscribe(subscriber, Wanted(topics=others), trio.current_time())
    reply = await client.ask(subscribe={"channel": "workflow:more"})
    assert reply == error(106, "limit exceeded")


async def test_publishing(stage: Stage) -> None:
    reader, writer = await stage.connected(), await stage.connected(PUBLISHER)
    await subscribe(reader)
    event = {"event": "token_usage", "data": {"input_tokens": 3}, "node_id": "n"}
    assert await writer.ask(publish={"channel": WORKFLOW, "data": event}) == {"publish": {}}
    assert await writer.ask(publish={"channel": WORKFLOW, "data": [1]}) == {"publish": {}}
    first, second = [push["push"]["pub"]["data"] for push in await reader.jsons(2)]
    assert (first["event"], first["node_id"], first["tenant"]) == ("token_usage", "n", "acme")
    assert (second["event"], second["data"]) == ("message", [1])
    bad = await writer.ask(publish={"channel": WORKFLOW, "data": {"event": "a b", "data": 1}})
    assert bad == error(107, "bad request")
    stage.desk.pace = lambda tenant, count, now: 0.5
    fast = await writer.ask(publish={"channel": WORKFLOW, "data": event})
    assert fast == error(111, "too many requests", temporary=True)


async def test_history(stage: Stage) -> None:
    for number in range(4):
        stage.publish(data=number)
    client = await stage.connected()

    async def history(**asked: Any) -> list[int]:  # noqa: ANN401 - as JSON has it
        found = (await client.ask(history={"channel": WORKFLOW} | asked))["history"]
        assert (found["epoch"], found["offset"]) == (EPOCH, 4)
        return [each["data"]["data"] for each in found["publications"]]

    assert await history() == []
    assert await history(limit=-1) == [0, 1, 2, 3]
    assert await history(limit=2, since={"offset": 1, "epoch": EPOCH}) == [1, 2]
    assert await history(limit=2, reverse=True) == [3, 2]


async def test_an_operator_knows_a_session_of_relayd_s_own_by_its_name(stage: Stage) -> None:
    client = await stage.connected(OPERATOR)
    stage.publish("session:sess_7", tenant="acme")
    await subscribe(client, "session:sess_7")
    found = await client.ask(presence_stats={"channel": "session:sess_7"})
    assert found["presence_stats"]["num_clients"] == 1
    stage.publish("session:sess_7", tenant="acme")
    assert (await client.json())["push"]["pub"]["data"]["tenant"] == "acme"


# -- another token


async def test_another_token_in_time(stage: Stage) -> None:
    client = await stage.connected(token())
    reply = await client.ask(refresh={"token": token(exp=NOW + 900)})
    assert reply["refresh"]["ttl"] == pytest.approx(899, abs=1)
    expired = await client.ask(refresh={"token": token(exp=NOW - 60)})
    assert expired == error(109, "token expired")


async def test_another_token_may_show_less(stage: Stage) -> None:
    client = await stage.connected(token())
    await subscribe(client)
    await subscribe(client, "session:s")
    await client.ask(refresh={"token": token(topics=["session:*"])})
    assert (await client.json())["push"] == {
        "channel": WORKFLOW,
        "unsubscribe": {"code": 2000, "reason": "not allowed"},
    }
    stage.publish()
    stage.publish("session:s")
    assert (await client.json())["push"]["channel"] == "session:s"


async def test_a_token_of_somebody_else_ends_it(stage: Stage) -> None:
    client = await stage.connected(token())
    await client.send({"id": 5, "refresh": {"token": token(sub="bob")}})
    assert await client.closed() == (4500, "bad token: it is somebody else's")


async def test_what_is_no_command_ends_it(stage: Stage) -> None:
    client = await stage.connected()
    await client.send(b'{"subscribe":{"channel":"workflow:w"}}')
    assert await client.closed() == (4501, "bad request: subscribe without an id")
