"""How sessions of the hub end, what their lines say, and what a reload does to them."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from relayd.config.hub import HubSettings
from relayd.config.keys import Role
from relayd.config.schema import KeySettings, LimitSettings, Settings
from relayd.config.secret import Secret
from relayd.config.snapshot import Snapshot
from relayd.core.endings import Reason
from relayd.dialect.meter import Refuse
from relayd.observe.bus import SessionEnded, SessionOpened
from relayd.observe.events import LogEvent
from relayd.session.hub.session import MESSAGE_MAX_BYTES
from tests.conftest import LogLines
from tests.faults.wire import BINARY, CLOSE, PING, PONG, TEXT, close, frame
from tests.session.hub.signing import NOW, OTHER_SECRET, SECRET, token
from tests.session.hub.stage import CENTRIFUGE, WORKFLOW, Client, Stage, staged
from tests.session.hub.test_identity import EXPIRING, KEYS, OPERATOR, SNAPSHOT, USER

DRAINING = Refuse("server_error", "draining", "come again")


def with_key(which: str, /, **changes: Any) -> Snapshot:  # noqa: ANN401 - as a key has it
    """The configuration with one key changed."""
    keys = tuple(attrs.evolve(key, **changes) if key.name == which else key for key in KEYS)
    return with_keys(*keys)


def with_keys(*keys: KeySettings, secret: str = SECRET) -> Snapshot:
    return Snapshot.of(Settings(keys=keys, hub=HubSettings(jwt_hs256_secret=Secret(secret))))


# -- the line


async def test_a_client_that_leaves(stage: Stage) -> None:
    client = await stage.welcomed()
    stage.publish()
    await client.json()
    await client.send({"type": "ping"})
    await client.json()
    assert client.session.client.flow is not None
    assert client.session.client.flow.messages == 1
    assert client.session.upstream.flow.messages == 3
    assert (client.session.leaving, client.session.timed.busy) == (None, False)
    await client.wire.send(close(1000, "bye"))
    assert (await client.wire.until_close()).close_code == 1000
    await client.wire.finish()
    line = await stage.line(client)
    assert (line["reason"], line["fault"], line["client_close"]) == ("client_closed", "none", 1000)
    assert (line["dialect"], line["key"], line["account"]) == ("hub", "user", None)
    assert (line["messages_up"], line["messages_down"], line["bytes_up"]) == (1, 3, 16)
    assert [type(each) for each in stage.events] == [SessionOpened, SessionEnded]


async def test_a_client_that_is_gone(stage: Stage) -> None:
    client = await stage.welcomed()
    client.wire.close()
    assert (await stage.line(client))["reason"] == "client_gone"


async def test_a_token_s_line_has_its_subject(stage: Stage) -> None:
    client = await stage.welcomed(key=token())
    client.session.kill()
    assert await client.closed() == (4503, "killed")
    assert (await stage.line(client))["key"] == "jwt:alice"


# -- what a client may not do


@pytest.mark.parametrize("path", ["/ws", CENTRIFUGE])
@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (frame(BINARY, b"\x00"), 4501, "unsupported_data"),
        (frame(TEXT, b"\xff"), 1007, "bad_utf8"),
        (frame(TEXT, b"{}", masked=False), 1002, "protocol_error_client"),
        (frame(TEXT, bytes(MESSAGE_MAX_BYTES + 1)), 1009, "too_big"),
        (frame(PING, b"x") * 200, 4501, "control_flood"),
    ],
)
async def test_what_ends_it(stage: Stage, path: str, data: bytes, code: int, reason: str) -> None:
    client = await stage.client(path)
    if path == "/ws":
        await client.json()
    await client.wire.send(data)
    found = await client.wire.until_close()
    assert found.close_code == code
    assert found.payload[2:]
    await client.wire.finish()
    assert (await stage.line(client))["reason"] == reason


@pytest.mark.parametrize("path", ["/ws", CENTRIFUGE])
async def test_who_asks_too_fast_ends_with_4501(stage: Stage, path: str) -> None:
    client = await (stage.welcomed() if path == "/ws" else stage.connected())
    message = b'{"type":"ping"}' if path == "/ws" else b"{}"
    await client.wire.send(frame(TEXT, message) * 200)
    got = await client.wire.until_close()
    assert (got.close_code, got.payload[2:]) == (4501, b"too many messages")
    await client.wire.finish()
    assert (await stage.line(client))["reason"] == "control_flood"


async def test_the_commands_of_one_message_are_counted_one_by_one(stage: Stage) -> None:
    client = await stage.connected()
    await client.send(b"\n".join([b"{}"] * 200))
    assert await client.closed() == (4501, "too many messages")


# -- time


async def test_a_silent_client_is_pinged_and_then_cut(stage: Stage, patient: MockClock) -> None:
    client = await stage.welcomed()
    began = trio.current_time()
    got = await client.wire.frame()
    assert got.opcode == PING
    assert trio.current_time() - began == pytest.approx(25, abs=0.5)
    await client.wire.send(frame(PONG, got.payload))
    assert (await client.wire.frame()).opcode == PING
    got = await client.wire.frame()
    assert (got.opcode, got.close_code, got.payload[2:]) == (CLOSE, 4009, b"no pong")
    assert trio.current_time() - began == pytest.approx(60, abs=1)
    await client.wire.finish()


async def test_likewise_in_the_centrifuge_protocol(stage: Stage, patient: MockClock) -> None:
    client = await stage.connected()
    began = trio.current_time()
    assert await client.json() == {}
    await client.send({})
    assert await client.json() == {}
    assert await client.closed() == (4009, "no pong")
    assert trio.current_time() - began == pytest.approx(60, abs=1)


@pytest.mark.parametrize("path", ["/ws", CENTRIFUGE])
async def test_a_token_ends_some_time_after_it_has_expired(
    stage: Stage, patient: MockClock, path: str
) -> None:
    began = trio.current_time()
    made = token(exp=NOW + 5)
    client = await (stage.welcomed(key=made) if path == "/ws" else stage.connected(made))
    assert await ended_with(client) == (4005, b"expired")
    assert trio.current_time() - began == pytest.approx(35, abs=1)


async def ended_with(client: Client) -> tuple[int | None, bytes]:
    """The Close that comes at last; pings are answered, on either wire."""
    while (got := await client.text()).opcode != CLOSE:
        if got.payload == b"{}":
            await client.send({})
    await client.wire.finish()
    return got.close_code, got.payload[2:]


async def test_a_token_that_is_renewed_goes_on(stage: Stage, patient: MockClock) -> None:
    client = await stage.welcomed(key=token(exp=NOW + 5))
    began = trio.current_time()
    await trio.sleep(6)
    await client.send({"type": "refresh", "token": token(exp=NOW + 50)})
    assert (await client.json())["type"] == "refreshed"
    assert await ended_with(client) == (4005, b"expired")
    assert trio.current_time() - began == pytest.approx(80, abs=1)


async def test_a_key_ends_when_it_expires(stage: Stage, patient: MockClock) -> None:
    began = trio.current_time()
    client = await stage.welcomed(key=EXPIRING)
    assert await ended_with(client) == (4005, b"expired")
    assert trio.current_time() - began == pytest.approx(60, abs=1)


async def test_a_session_ends_at_its_age(log_lines: LogLines, patient: MockClock) -> None:
    settings = attrs.evolve(SNAPSHOT.settings, limits=LimitSettings(session_max_s=40.0))
    async with staged(log_lines, snapshot=Snapshot.of(settings)) as stage:
        client = await stage.welcomed()
        assert await ended_with(client) == (4001, b"connected long enough")
        assert (await stage.line(client))["reason"] == "session_max_age"


# -- ended by relayd


async def test_a_drain_sends_everybody_away(stage: Stage) -> None:
    clients = [await stage.welcomed(), await stage.connected()]
    for client in clients:
        client.session.leave(Reason.DRAIN, at=trio.current_time() + 30, refuse=DRAINING)
    for client in clients:
        assert await client.closed() == (4001, "shutdown")


async def test_a_session_that_is_cancelled_says_goodbye(stage: Stage) -> None:
    client = await stage.welcomed()
    client.scope.cancel()
    assert await client.closed() == (4001, "shutdown")
    assert (await stage.line(client))["reason"] == "drain"


async def test_a_bug_ends_one_session(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    client, other = await stage.welcomed(), await stage.welcomed()

    def broken(text: bytes) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("relayd.session.hub.council.parse_message", broken)
    await client.send({"type": "ping"})
    assert await client.closed() == (1011, "internal error")
    assert len(stage.log.of(LogEvent.SESSION_CRASHED)) == 1
    stage.publish()
    assert (await other.json())["event"] == "e"


async def test_who_does_not_take_the_goodbye_is_cut(stage: Stage, patient: MockClock) -> None:
    client = await stage.welcomed(send_buffer=4096)
    stage.publish(data="x" * 60_000)
    stage.publish(data="x" * 60_000)
    await trio.sleep(0.1)
    assert client.session.client.sink.blocked
    began = trio.current_time()
    client.session.kill()
    await client.over.wait()
    assert trio.current_time() - began == pytest.approx(1, abs=0.1)
    line = await stage.line(client)
    assert (line["reason"], line["client_close"]) == ("killed", None)


# -- another configuration


@pytest.mark.parametrize(
    "snapshot",
    [
        with_keys(*(key for key in KEYS if key.name != "user")),
        with_key("user", enabled=False),
        with_key("user", name="another"),
        with_key("user", tenant="other"),
        with_key("user", dialects=("realtime",)),
    ],
)
async def test_a_key_that_opens_nothing_any_more(stage: Stage, snapshot: Snapshot) -> None:
    client, other = await stage.welcomed(), await stage.welcomed(key=OPERATOR)
    stage.apply(snapshot)
    assert await client.closed() == (4503, "key removed")
    assert (await stage.line(client))["reason"] == "key_removed"
    stage.publish()
    assert (await other.json())["event"] == "e"


async def test_a_key_that_opens_less(stage: Stage) -> None:
    client = await stage.welcomed(f"/ws?topics=ops,{WORKFLOW}", OPERATOR)
    stage.apply(with_key("boss", role=Role.USER))
    assert (await client.json())["topics"] == ["ops"]
    stage.publish("ops", tenant="")
    stage.publish(tenant=client.session.guest.who.tenant)
    assert (await client.json())["topic"] == WORKFLOW
    assert client.session.guest.who.role is Role.USER


async def test_a_configuration_that_changes_nothing_for_it(stage: Stage) -> None:
    client, stranger = await stage.welcomed(key=token()), await stage.client(CENTRIFUGE, None)
    stage.apply(with_key("user", enabled=False))
    stage.publish()
    assert (await client.json())["event"] == "e"
    await stranger.connect(token())


async def test_tokens_that_are_verified_in_another_way(stage: Stage) -> None:
    client, other = await stage.welcomed(key=token()), await stage.welcomed(key=USER)
    stranger = await stage.client(CENTRIFUGE, None)
    stage.apply(with_keys(*KEYS, secret=OTHER_SECRET))
    assert await client.closed() == (4005, "expired")
    await stranger.connect(token(OTHER_SECRET))
    stage.apply(with_keys(*KEYS, secret=OTHER_SECRET))
    stage.publish()
    assert (await other.json())["event"] == "e"
    assert stranger.session.verdict.reason is None
