"""The hub's own wire, as a client meets it."""

from __future__ import annotations

import pytest
from trio.testing import wait_all_tasks_blocked

from relayd.dialect.hub_topics import SELECTORS_MAX
from tests.faults.wire import TEXT, frame
from tests.session.hub.signing import NOW, OTHER_SECRET, token
from tests.session.hub.stage import EPOCH, WORKFLOW, Stage
from tests.session.hub.test_identity import OPERATOR, USER

OTHER_EPOCH = "ffffffffffffffff"


async def test_a_client_is_welcomed_and_hears_all_of_its_tenant(stage: Stage) -> None:
    stage.publish()
    client = await stage.client()
    assert await client.json() == {
        "type": "welcome",
        "client": "sess_0",
        "epoch": EPOCH,
        "seq": 1,
        "topics": ["*"],
        "recovered": None,
    }
    stage.publish("workflow:other", tenant="somebody")
    stage.publish("session:s", "node_state_change", data={"node_id": "n", "status": "done"})
    event = await client.json()
    assert (event["id"], event["seq"], event["topic"]) == (f"{EPOCH}:1", 3, "session:s")
    assert (event["event"], event["data"]["status"]) == ("node_state_change", "done")


async def test_the_query_says_what_comes_and_what_was_missed_comes_first(stage: Stage) -> None:
    for number in range(3):
        stage.publish(data=number)
    stage.publish("workflow:other")
    path = f"/ws?topics={WORKFLOW}&except=noise&since={EPOCH}:1"
    client = await stage.client(path)
    stage.publish(event="noise")
    stage.publish(data=3)
    welcome, *events = await client.jsons(4)
    assert (welcome["recovered"], welcome["topics"]) == (True, [WORKFLOW])
    assert [event["data"] for event in events] == [1, 2, 3]
    assert [event["id"] for event in events] == [f"{EPOCH}:{n}" for n in (2, 3, 5)]


async def test_who_missed_what_is_gone_is_told_to_load_anew(stage: Stage) -> None:
    stage.publish()
    client = await stage.client(f"/ws?topics={WORKFLOW},session:*&since={OTHER_EPOCH}@5")
    welcome, resync = await client.jsons(2)
    assert welcome["recovered"] is False
    assert (resync["event"], resync["id"], resync["tenant"]) == (
        "resync_required",
        f"{EPOCH}@1",
        "acme",
    )
    assert resync["data"] == {"topics": [WORKFLOW, "session:*"]}
    stage.publish()
    assert (await client.json())["seq"] == 2


async def test_of_several_topics_all_are_loaded_anew_where_one_is_lost(stage: Stage) -> None:
    stage.publish()
    client = await stage.welcomed("/ws?topics=session:none")
    since = {WORKFLOW: f"{EPOCH}:0", "session:s": f"{OTHER_EPOCH}:7"}
    await client.send(
        {"type": "subscribe", "topics": [WORKFLOW, "session:s"], "since": since, "id": {"n": 1}}
    )
    subscribed, resync = await client.jsons(2)
    assert subscribed == {
        "type": "subscribed",
        "topics": [WORKFLOW, "session:s"],
        "epoch": EPOCH,
        "seq": 1,
        "recovered": False,
        "id": {"n": 1},
    }
    assert resync["data"] == {"topics": [WORKFLOW, "session:s"]}
    assert resync["id"] == f"{EPOCH}@1"


async def test_following_and_not_following(stage: Stage) -> None:
    client = await stage.welcomed("/ws?topics=session:none")
    await client.send({"type": "subscribe", "topics": ["workflow:*"], "id": 1})
    assert (await client.json())["recovered"] is None
    stage.publish(data=1)
    assert (await client.json())["data"] == 1
    await client.send({"type": "unsubscribe", "topics": ["workflow:*"], "id": 2})
    assert await client.json() == {"type": "unsubscribed", "topics": ["workflow:*"], "id": 2}
    stage.publish(data=2)
    await client.send({"type": "ping", "id": 3})
    pong = await client.json()
    assert (pong["type"], pong["id"]) == ("pong", 3)
    assert pong["ts"].startswith("2027-01-15T")


async def test_a_heartbeat_tells_a_quiet_client_its_place(stage: Stage) -> None:
    client = await stage.welcomed("/ws?topics=session:none")
    stage.publish(data="not for it")
    await client.send({"type": "ping", "id": 1})
    pong = await client.json()
    assert (pong["epoch"], pong["seq"]) == (EPOCH, 1)
    back = await stage.client(f"/ws?topics=*&since={pong['epoch']}@{pong['seq']}")
    assert (await back.json())["recovered"] is True
    await back.send({"type": "ping"})
    assert (await back.json())["seq"] == 1  # nothing comes again


async def test_one_who_is_behind_is_told_no_place_that_may_turn_out_wrong(stage: Stage) -> None:
    client = await stage.welcomed(send_buffer=4096)
    for _ in range(4):
        stage.publish(data="x" * 60_000)
    await wait_all_tasks_blocked(0.01)
    await client.send({"type": "ping", "id": 1})
    await wait_all_tasks_blocked(0.01)
    *events, pong = await client.jsons(5)
    assert [each["seq"] for each in events] == [1, 2, 3, 4]
    assert pong["type"] == "pong"
    assert "seq" not in pong


@pytest.mark.parametrize("text", [b"ping", b'{"event":"heartbeat"}', b'{"cmd":"ping"}'])
async def test_older_heartbeats_are_answered(stage: Stage, text: bytes) -> None:
    client = await stage.welcomed()
    await client.send(text)
    assert (await client.json())["type"] == "pong"


async def test_what_cannot_be_done_is_said_and_the_client_stays(stage: Stage) -> None:
    client = await stage.welcomed("/ws?topics=session:none")
    await client.send(
        {"type": "subscribe", "topics": ["ops"], "id": 1},
        {"type": "subscribe", "topics": ["no topic"], "id": 2},
        {"type": "publish", "id": 3},
        {"type": "ping", "id": 4},
    )
    *errors, pong = await client.jsons(4)
    assert [(each["id"], each["error"]["code"]) for each in errors] == [
        (1, "topic_not_allowed"),
        (2, "invalid_parameter"),
        (3, "unknown_type"),
    ]
    assert errors[0]["error"]["type"] == "permission_error"
    assert pong["id"] == 4
    assert set(client.session.guest.subscriber.followed) == {"session:none"}


async def test_an_operator_follows_what_others_may_not(stage: Stage) -> None:
    client = await stage.welcomed("/ws?topics=ops", OPERATOR)
    stage.publish("ops", tenant="")
    assert (await client.json())["topic"] == "ops"


async def test_what_is_no_message_of_the_protocol_ends_it_with_4501(stage: Stage) -> None:
    client = await stage.welcomed()
    await client.send(b"{nonsense")
    assert (await client.json())["error"]["code"] == "malformed_request"
    code, text = await client.closed()
    assert code == 4501
    assert text.startswith("bad request: not JSON")
    line = await stage.line(client)
    assert (line["reason"], line["fault"], line["client_close"]) == ("policy", "client", 4501)
    assert (line["messages_up"], line["messages_down"]) == (1, 2)


@pytest.mark.parametrize("count", [SELECTORS_MAX, SELECTORS_MAX + 1])
async def test_too_many_topics_end_it_with_4505(stage: Stage, count: int) -> None:
    client = await stage.welcomed("/ws?topics=session:none")
    topics = [f"workflow:{number}" for number in range(count)]
    await client.send({"type": "subscribe", "topics": topics})
    if count > SELECTORS_MAX:
        assert (await client.json())["error"]["code"] == "too_many_topics"
    assert await client.closed() == (4505, "too many topics")


async def test_a_token_is_replaced_by_a_later_one(stage: Stage) -> None:
    client = await stage.welcomed(key=token())
    await client.send({"type": "refresh", "token": token(exp=NOW + 900), "id": 1})
    answer = await client.json()
    assert (answer["type"], answer["id"]) == ("refreshed", 1)
    assert answer["expires"] == "2027-01-15T08:15:00.000Z"
    assert client.session.guest.who.expires_at == NOW + 900


async def test_a_later_token_may_show_less(stage: Stage) -> None:
    client = await stage.welcomed(f"/ws?topics=session:*,{WORKFLOW},*", token())
    await client.send({"type": "refresh", "token": token(topics=["session:*"])})
    refreshed, lost = await client.jsons(2)
    assert refreshed["type"] == "refreshed"
    assert (lost["type"], lost["topics"]) == ("unsubscribed", [WORKFLOW])
    stage.publish(data="unseen")
    stage.publish("session:s", data="seen")
    assert (await client.json())["data"] == "seen"


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (token(OTHER_SECRET), "invalid_api_key"),
        (token(sub="bob"), None),
        (USER, None),
    ],
)
async def test_a_bad_token_ends_it_with_4500(stage: Stage, bad: str, code: str | None) -> None:
    client = await stage.welcomed(key=token())
    await client.send({"type": "refresh", "token": bad})
    if code is not None:
        assert (await client.json())["error"]["code"] == code
    assert (await client.closed())[0] == 4500


async def test_an_expired_token_is_refused_and_another_may_follow(stage: Stage) -> None:
    client = await stage.welcomed(key=token())
    await client.send(
        {"type": "refresh", "token": token(exp=NOW - 60)}, {"type": "refresh", "token": token()}
    )
    refused, refreshed = await client.jsons(2)
    assert refused["error"]["code"] == "key_expired"
    assert refreshed["type"] == "refreshed"


async def test_a_batch_that_waits_goes_out_in_one_write_and_in_order(stage: Stage) -> None:
    client = await stage.welcomed()
    for number in range(200):
        stage.publish(data=number)
    assert [event["data"] for event in await client.jsons(200)] == list(range(200))
    assert client.session.upstream.messages == 201


async def test_frames_in_pieces_are_one_message(stage: Stage) -> None:
    client = await stage.welcomed()
    await client.wire.send(frame(TEXT, b'{"type":', fin=False) + frame(0, b'"ping"}'))
    assert (await client.json())["type"] == "pong"
