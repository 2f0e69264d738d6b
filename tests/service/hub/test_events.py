"""Streams of events: what is followed, resumed and refused, and how each of them ends."""

from __future__ import annotations

import datetime
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relayd.config.hub import HubSettings
from relayd.config.networks import parse_network
from relayd.config.schema import KeySettings, LimitSettings, ServerSettings
from relayd.config.secret import KeyDigest, Secret
from relayd.core.refusals import Refusal, RefusalCode
from relayd.hub.bounds import Bounds
from relayd.service.http.responses import KEEPALIVE_S
from relayd.service.http.service import Outcome
from relayd.service.hub.events import POSITION_S
from relayd.session.hub.patience import SEND_BUFFER_BYTES
from relayd.session.hub.tokens import LEEWAY_S
from tests.service.admin.stage import WALL
from tests.service.http.stage import LIMITS, Client, Reply, request
from tests.service.hub.house import (
    EPOCH,
    KEYS,
    OPERATOR,
    PUBLISHER,
    RIVAL,
    USER,
    House,
    bearer,
    configured,
    error_of,
    signed,
)
from tests.service.hub.test_live import begin
from tests.session.hub.signing import OTHER_SECRET

PATH = "/api/v1/events"


@attrs.frozen
class Heard:
    """One block of a stream."""

    id: str | None = None
    event: str | None = None
    data: Any = None
    retry: int | None = None
    comment: str | None = None


@attrs.define(eq=False)
class Stream:
    """Reads a stream's blocks as a browser does (the HTML standard, section 9.2)."""

    client: Client
    head: bytes
    _text: bytes = b""
    ended: bool = False

    async def next(self) -> Heard:
        """The next block."""
        while b"\n\n" not in self._text:
            await self._chunk()
            assert not self.ended, "the stream has ended"
        block, _, self._text = self._text.partition(b"\n\n")
        fields: dict[str, Any] = {}
        for line in block.decode().split("\n"):
            name, _, value = line.partition(":")
            fields[name or "comment"] = value.removeprefix(" ")
        if "data" in fields:
            fields["data"] = json.loads(fields["data"])
        if "retry" in fields:
            fields["retry"] = int(fields["retry"])
        return Heard(**fields)

    async def event(self) -> Heard:
        """The next event, with nothing before it but comments and places."""
        while (heard := await self.next()).event is None:
            pass
        return heard

    async def rest(self) -> list[Heard]:
        """Everything until the response is complete."""
        heard = []
        while not self.ended:
            if b"\n\n" in self._text:
                heard.append(await self.next())
            else:
                await self._chunk()
        assert not self._text
        return heard

    async def _chunk(self) -> None:
        while True:
            size, end, rest = self.client.behind.partition(b"\r\n")
            length = int(size, 16) if end else 0
            if end and len(rest) >= length + 2:
                break
            data = await self.client.sock.recv(65536)
            assert data, "the response was cut"
            self.client.behind += data
        self._text += rest[:length]
        self.client.behind = rest[length + 2 :]
        self.ended = not length


@pytest.fixture
async def house() -> House:
    """A relayd."""
    return House()


@pytest.fixture
async def client(house: House) -> AsyncIterator[Client]:
    """A connected client."""
    async with house.client() as client:
        yield client


async def begun(client: Client, raw: bytes) -> Stream:
    """The stream that a request is answered with."""
    await client.send(raw)
    head, _, client.behind = (await client.until(b"\r\n\r\n")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n"), head
    return Stream(client, head)


async def opened(client: Client, query: str = "", *headers: str, who: str = USER) -> Stream:
    """A stream, behind the block that each begins with."""
    stream = await begun(client, request("GET", PATH + query, b"", bearer(who), *headers))
    assert (await stream.next()).retry == 1000
    return stream


async def ask(house: House, query: str = "", *headers: str, who: str = USER) -> Reply:
    return await house.ask("GET", PATH + query, b"", bearer(who), *headers)


# -- following


async def test_a_stream_is_one_of_events_that_nobody_stores(client: Client) -> None:
    head = (await opened(client)).head

    assert b"\r\nContent-Type: text/event-stream\r\n" in head
    assert b"\r\nCache-Control: no-cache\r\n" in head
    assert b"\r\nX-Accel-Buffering: no\r\n" in head


async def test_an_event_is_its_envelope_with_its_name_and_its_place(
    house: House, client: Client
) -> None:
    stream = await opened(client)
    house.publish({"status": "running"})
    heard = await stream.event()

    assert (heard.id, heard.event) == (f"{EPOCH}@1", "node_state_change")
    assert heard.data["id"] == f"{EPOCH}:1"
    assert (heard.data["topic"], heard.data["tenant"]) == ("workflow:w", "acme")
    assert heard.data["data"] == {"status": "running"}


async def test_in_one_topic_a_place_is_one_in_that_topic(house: House, client: Client) -> None:
    house.publish(topic="workflow:other")
    stream = await opened(client, "?topics=workflow:w")
    house.publish()

    assert (await stream.event()).id == f"{EPOCH}:1"


@pytest.mark.parametrize(
    ("query", "heard"),
    [
        ("", [0, 1, 2, 3, 4]),
        ("?topics=workflow:a", [0, 1]),
        ("?topics=workflow:*", [0, 1, 2]),
        ("?topics=workflow:b,session:s", [2, 3]),
        ("?topics=workflow:b&topics=workflow:b*", [2]),
        ("?session_id=s", [3]),
        ("?events=begun", [0, 3]),
        ("?events=be*,ended&topics=workflow:a", [0, 1]),
        ("?except=begun", [1, 2, 4]),
        ("?events=*&except=*", []),
    ],
)
async def test_a_client_hears_what_it_asks_for(
    house: House, client: Client, query: str, heard: list[int]
) -> None:
    stream = await opened(client, query)
    told = (
        ("workflow:a", "begun"),
        ("workflow:a", "ended"),
        ("workflow:b", "ended"),
        ("session:s", "begun"),
        ("tenant:acme", "stats"),
    )
    for number, (topic, event) in enumerate(told):
        house.publish(number, topic=topic, event=event)
        house.publish("secret", topic=topic, event=event, tenant="rival")
    house.publish("secret", topic="ops", tenant="")
    house.api.drain()

    events = [each for each in await stream.rest() if each.event is not None]
    assert [each.data["data"] for each in events[:-1]] == heard
    assert events[-1].event == "closed"


async def test_an_operator_hears_every_tenant(house: House, client: Client) -> None:
    stream = await opened(client, who=OPERATOR)
    house.publish(1)
    house.publish(2, tenant="rival")
    house.publish(3, topic="ops", tenant="")

    assert [(await stream.event()).data["data"] for _ in range(3)] == [1, 2, 3]


async def test_a_browser_shows_its_token_in_the_url(house: House, client: Client) -> None:
    target = f"{PATH}?topics=*&access_token={signed(topics=['workflow:w'])}"
    stream = await begun(client, request("GET", target))
    house.publish("secret", topic="workflow:other")
    house.publish(1)

    assert (await stream.event()).data["data"] == 1


# -- resuming


async def test_a_client_knows_its_place_before_anything_happens(
    house: House, client: Client
) -> None:
    house.publish()
    stream = await begun(client, request("GET", PATH, b"", bearer(USER)))

    assert await stream.next() == Heard(retry=1000)
    assert await stream.next() == Heard(id=f"{EPOCH}@1")


@pytest.mark.parametrize("header", ["Last-Event-ID: {}", None])
@pytest.mark.parametrize(
    ("topics", "since", "heard"),
    [
        ("*", f"{EPOCH}@1", [1, 2, 3]),
        ("*", f"{EPOCH}@4", []),
        ("workflow:w", f"{EPOCH}:1", [2]),
        ("workflow:w", f"{EPOCH}@1", [2]),
        ("workflow:*", f"{EPOCH}@0", [0, 1, 2, 3]),
    ],
)
async def test_a_client_that_comes_back_gets_what_it_missed(
    house: House, client: Client, header: str | None, topics: str, since: str, heard: list[int]
) -> None:
    for number in range(4):
        house.publish(number, topic="workflow:w" if number % 2 == 0 else "workflow:x")
    if header is None:
        stream = await opened(client, f"?topics={topics}&since={since}")
    else:
        stream = await opened(client, f"?topics={topics}", header.format(since))
    house.publish("now")
    house.api.drain()

    events = [each for each in await stream.rest() if each.event is not None]
    assert [each.data["data"] for each in events[:-1]] == [*heard, "now"]


async def test_the_header_is_newer_than_the_query(house: House, client: Client) -> None:
    for number in range(3):
        house.publish(number)
    stream = await opened(client, f"?since={EPOCH}@1", f"Last-Event-ID: {EPOCH}@2")

    assert (await stream.event()).data["data"] == 2


@pytest.mark.parametrize(
    "last", ["f" * 16 + "@1", "0" * 16 + "@1", f"{EPOCH}@99", f"{EPOCH}:1", "nonsense", "é"]
)
async def test_who_missed_what_is_gone_is_told_to_load_anew(
    house: House, client: Client, last: str
) -> None:
    house.publish("old")
    raw = request("GET", PATH, b"", bearer(USER), f"Last-Event-ID: {last}").decode()
    stream = await begun(client, raw.encode("latin-1"))
    heard = await stream.event()
    house.publish("new")

    assert (heard.event, heard.id) == ("resync_required", f"{EPOCH}@1")
    assert heard.data["data"] == {"topics": ["*"]}
    assert (await stream.event()).data["data"] == "new"


async def test_no_drop_loses_anything_or_brings_it_twice(house: House) -> None:
    seen: list[int] = []
    last = ""
    for number in range(100):
        house.publish(3 * number)
        async with house.client() as client:
            stream = await opened(client, "", *([f"Last-Event-ID: {last}"] if last else []))
            house.publish(3 * number + 1)
            while not seen or seen[-1] < 3 * number + 1:
                heard = await stream.next()
                last = heard.id or last
                if heard.data is not None:
                    seen.append(heard.data["data"])
            house.publish(3 * number + 2)  # is on its way when the connection drops

    assert seen == list(range(1, 299))


async def test_a_stream_in_which_nothing_happens_says_where_it_is(
    house: House, client: Client, autojump_clock: MockClock
) -> None:
    stream = await opened(client, "?events=other")
    assert (await stream.next()).id == f"{EPOCH}@0"
    began_at = trio.current_time()
    house.publish()

    heard = await stream.next()

    assert heard == Heard(id=f"{EPOCH}@1", comment="nothing new")
    assert trio.current_time() == pytest.approx(began_at + POSITION_S)
    assert POSITION_S < KEEPALIVE_S  # so that a proxy always sees something in time


# -- refused


@pytest.mark.parametrize(
    ("query", "status", "code", "param"),
    [
        ("?topics=nonsense", 400, "invalid_parameter", "topics[0]"),
        ("?topics=" + ",".join(f"workflow:{n}" for n in range(129)), 400, "too_many_topics", None),
        ("?events=a%20b", 400, "invalid_parameter", "events"),
        ("?except=" + "a," * 129, 400, "invalid_parameter", "except"),
        ("?since=nonsense", 400, "invalid_parameter", "since"),
        (f"?since={EPOCH}:1", 400, "invalid_parameter", "since"),
        (f"?since={EPOCH}@1&since={EPOCH}@2", 400, "invalid_parameter", "since"),
        ("?" + "&".join(["a=b"] * 257), 400, None, None),
        ("?topics=ops", 403, "topic_not_allowed", "topics"),
        ("?topics=tenant:rival", 403, "topic_not_allowed", "topics"),
        ("?topics=workflow:w,ops", 403, "topic_not_allowed", "topics"),
    ],
)
async def test_what_cannot_be_followed_is_refused(
    house: House, query: str, status: int, code: str | None, param: str | None
) -> None:
    reply = await ask(house, query)

    told = error_of(reply)
    assert told[0] == status
    assert code is None or told[1] == code
    assert param is None or told[2] == param
    assert house.quota.grants == []


async def test_a_narrowed_token_follows_no_more_than_it_says(house: House) -> None:
    who = signed(topics=["workflow:a*"])

    assert error_of(await ask(house, "?topics=workflow:b", who=who))[1] == "topic_not_allowed"
    assert error_of(await ask(house, "?topics=session:*", who=who))[1] == "topic_not_allowed"


async def test_a_stream_counts_as_a_session_of_its_key(house: House, client: Client) -> None:
    await opened(client, who=PUBLISHER)

    (grant,) = house.quota.grants
    assert (grant.key.name, grant.dialect, house.quota.live) == ("engine", "hub", 1)
    assert grant.client_address == "192.0.2.1"


@pytest.mark.parametrize(("code", "status"), [("session_limit_reached", 429), ("overload", 503)])
async def test_who_has_too_many_sessions_gets_no_stream(
    house: House, code: str, status: int
) -> None:
    house.quota.refusal = Refusal(RefusalCode(code), "Too many.", retry_after_s=2.0)
    reply = await ask(house)

    assert error_of(reply)[:2] == (status, code)
    assert reply.headers["retry-after"] == "2"


async def test_who_asks_for_the_head_alone_follows_nothing(house: House) -> None:
    reply = await house.ask("HEAD", PATH, b"", bearer(USER))

    assert (reply.status, reply.body) == (200, b"")
    assert house.hub.listeners == 0


# -- the ends


def closed(heard: Heard) -> tuple[int, str, bool]:
    assert (heard.event, heard.id) == ("closed", None)
    return heard.data["code"], heard.data["reason"], heard.data["reconnect"]


async def test_a_drain_ends_it_behind_everything_that_waits(house: House, client: Client) -> None:
    stream = await opened(client)
    for number in range(300):
        house.publish(number)
    house.api.drain()
    house.publish("too late, or not")
    rest = [each for each in await stream.rest() if each.event is not None]

    assert [each.data["data"] for each in rest[:300]] == list(range(300))
    assert closed(rest[-1]) == (4001, "shutdown", True)
    assert rest[-1].retry == 2500
    await wait_all_tasks_blocked()
    assert house.http.facts[0].outcome is Outcome.COMPLETE


async def test_while_it_drains_none_is_opened(house: House) -> None:
    house.api.drain()

    assert error_of(await ask(house))[:2] == (503, "draining")


async def test_a_drain_that_begins_meanwhile_ends_it(house: House, client: Client) -> None:
    house.quota.before = house.api.drain
    stream = await opened(client)

    assert closed((await stream.rest())[-1])[0] == 4001


async def test_a_token_that_expires_ends_it_with_some_leeway(
    house: House, client: Client, autojump_clock: MockClock
) -> None:
    stream = await opened(client, who=signed(exp=WALL + 40))
    began_at = house.began_at
    rest = await stream.rest()

    assert closed(rest[-1]) == (4005, "expired", True)
    assert trio.current_time() == pytest.approx(began_at + 40 + LEEWAY_S)


async def test_a_key_that_expires_ends_it(
    house: House, client: Client, autojump_clock: MockClock
) -> None:
    house.snapshot = configured((expiring(20),))
    stream = await opened(client)
    rest = await stream.rest()

    assert closed(rest[-1]) == (4005, "expired", True)
    assert trio.current_time() == pytest.approx(house.began_at + 20)


async def test_it_ends_at_the_age_of_any_session(
    house: House, client: Client, autojump_clock: MockClock
) -> None:
    house.snapshot = configured(limits=LimitSettings(session_max_s=120.0))
    stream = await opened(client)
    rest = await stream.rest()

    assert closed(rest[-1]) == (4001, "connected long enough", True)
    assert trio.current_time() == pytest.approx(house.began_at + 120)


async def test_the_connection_goes_on_behind_an_end(
    house: House, client: Client, autojump_clock: MockClock
) -> None:
    house.snapshot = configured(limits=LimitSettings(session_max_s=5.0))
    await (await opened(client)).rest()

    assert (await client.ask("GET", "/api/v1/me", b"", bearer(USER))).status == 200


# -- reload


def expiring(after_s: float) -> KeySettings:
    expires = datetime.datetime.fromtimestamp(WALL + after_s, datetime.UTC)
    return attrs.evolve(KEYS[0], expires=expires)


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ((), 4503),
        ((attrs.evolve(KEYS[0], enabled=False),), 4503),
        ((attrs.evolve(KEYS[0], dialects=("realtime",)),), 4503),
        ((attrs.evolve(KEYS[0], allowed_ips=(parse_network("10.0.0.0/8"),)),), 4503),
        ((attrs.evolve(KEYS[0], secret=KeyDigest.of("another")),), 4503),
        ((expiring(-1),), 4503),
        ((expiring(3600),), 4001),
        ((attrs.evolve(KEYS[0], tenant="rival"),), 4503),
        ((attrs.evolve(KEYS[0], role=KEYS[1].role),), 4001),
    ],
)
async def test_a_key_that_is_another_now_ends_it_at_once(
    house: House, client: Client, keys: tuple[KeySettings, ...], code: int
) -> None:
    stream = await opened(client)
    house.apply(configured(keys))
    house.publish("not for it any more")
    rest = [each for each in await stream.rest() if each.event is not None]

    assert [closed(each)[0] for each in rest] == [code]


async def test_a_reload_that_changes_nothing_for_it_ends_nothing(
    house: House, client: Client
) -> None:
    stream = await opened(client)
    house.apply(
        configured(
            (attrs.evolve(KEYS[0], models=("gpt-*",), sessions_max=3),),
            hub=HubSettings(jwt_hs256_secret=Secret(OTHER_SECRET)),
            server=ServerSettings(allowed_origins=("https://other.example",)),
        )
    )
    house.publish(1)

    assert (await stream.event()).data["data"] == 1


async def test_tokens_are_looked_at_again_when_others_count(house: House, client: Client) -> None:
    stream = await opened(client, who=signed())
    house.apply(configured(()))
    house.publish(1)
    assert (await stream.event()).data["data"] == 1

    house.apply(configured(hub=HubSettings(jwt_hs256_secret=Secret(OTHER_SECRET))))

    assert closed((await stream.rest())[-1]) == (4005, "expired", True)


async def test_a_reload_while_it_is_opened_counts(house: House, client: Client) -> None:
    house.quota.before = lambda: house.apply(configured(()))
    stream = await begun(client, request("GET", PATH, b"", bearer(USER)))

    assert [closed(each) for each in await stream.rest()] == [(4503, "key removed", False)]


# -- slow readers


@pytest.fixture
def small() -> Bounds:
    """Outboxes that are soon full; what did not fit is remembered."""
    return Bounds(
        ring_messages_max=10_000,
        ring_bytes_max=1 << 26,
        outbox_messages_max=64,
        outbox_bytes_max=262_144,
        outbox_grace_s=0.0,
    )


async def test_who_reads_too_slowly_is_told_so_and_comes_back(
    small: Bounds,
) -> None:
    house = House(bounds=small)
    async with house.client(send_buffer=4096) as client:
        stream = await opened(client)
        for number in range(2000):
            house.publish([number, "x" * 1000])
            if number % 100 == 0:
                await wait_all_tasks_blocked()
        assert house.hub.listeners == 0  # whatever it reads, it costs nobody anything any more
        rest = [each for each in await stream.rest() if each.event is not None]

    heard = [each.data["data"][0] for each in rest[:-1]]
    assert heard == list(range(len(heard)))
    assert len(heard) < 200
    assert closed(rest[-1]) == (4008, "slow", True)

    async with house.client() as client:
        again = await opened(client, "", f"Last-Event-ID: {rest[-2].id}")
        assert (await again.event()).data["data"][0] == heard[-1] + 1


async def test_who_reads_nothing_at_all_is_cut(small: Bounds, autojump_clock: MockClock) -> None:
    house = House(bounds=small)
    async with house.client(send_buffer=4096) as client:
        await opened(client)
        for _ in range(2000):
            house.publish("x" * 1000)
            await trio.lowlevel.checkpoint()
        full_at = trio.current_time()
        await trio.sleep(LIMITS.stall_s + 1)
        assert (house.quota.live, trio.current_time() - full_at) == (0, LIMITS.stall_s + 1)

    assert house.http.facts[0].outcome is Outcome.CLIENT_STALLED
    assert house.hub.totals().overflowed == 1


async def test_what_can_be_dropped_is_dropped_for_a_slow_reader(
    small: Bounds,
) -> None:
    house = House(bounds=small)
    async with house.client(send_buffer=4096) as client:
        stream = await opened(client)
        house.publish("first")
        for number in range(2000):
            house.publish([number, "x" * 1000], event="stats", droppable=True)
        house.publish("last")
        house.api.drain()
        rest = [each for each in await stream.rest() if each.event is not None]

    assert rest[0].data["data"] == "first"
    assert rest[-2].data["data"] == "last"
    assert len(rest) < 200


async def test_the_kernel_keeps_little(house: House) -> None:
    async with house.client() as client:
        await opened(client)
        connection = house.http.connection
        assert connection is not None
        kept = connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        assert kept == 2 * SEND_BUFFER_BYTES


# -- the client


async def test_a_client_that_leaves_is_forgotten(house: House) -> None:
    async with house.client() as client:
        await opened(client)
        assert (len(house.streams), house.hub.listeners, house.quota.live) == (1, 1, 1)
        client.sock.close()
        await wait_all_tasks_blocked()

        assert (len(house.streams), house.hub.listeners, house.quota.live) == (0, 0, 0)


async def test_who_leaves_while_the_quota_is_asked_takes_nothing(house: House) -> None:
    async with house.client() as client:
        house.quota.before = client.sock.close
        await client.send(request("GET", PATH, b"", bearer(USER)))
        await wait_all_tasks_blocked()

    assert (len(house.streams), house.hub.listeners, house.quota.live) == (0, 0, 0)


async def test_tenants_share_nothing(house: House) -> None:
    async with house.http.client() as ours, house.http.client() as theirs:
        stream, other = await opened(ours), await opened(theirs, who=RIVAL)
        house.publish(1)
        house.publish(2, tenant="rival")

        assert (await stream.event()).data["data"] == 1
        assert (await other.event()).data["data"] == 2


# -- seen and ended from outside


async def test_a_stream_is_listed_beside_sessions_and_ended_like_one(
    house: House, client: Client, autojump_clock: MockClock
) -> None:
    now = trio.current_time()
    begin(house.sessions, 1, tenant="acme", began_at=now - 5)
    begin(house.sessions, 2, tenant="acme", began_at=now + 5)
    stream = await opened(client)
    house.publish()
    await stream.event()

    async with house.http.client() as other:
        listed = await other.ask("GET", "/api/v1/sessions", b"", bearer(USER))
        left_out = await other.ask("GET", "/api/v1/sessions?listeners=false", b"", bearer(USER))
    assert len(json.loads(left_out.body)["data"]) == 2
    before, shown, after = json.loads(listed.body)["data"]
    assert (before["session_id"], after["session_id"]) == ("sess_1", "sess_2")
    assert shown["session_id"].startswith("req_")
    assert (shown["dialect"], shown["key"], shown["tenant"]) == ("hub", "user", "acme")
    assert (shown["state"], shown["turns"], shown["messages_up"]) == ("idle", 0, 0)
    assert shown["messages_down"] == 2

    kill = f"/api/v1/sessions/{shown['session_id']}/kill"
    async with house.http.client() as other:
        refused = await other.ask("POST", kill, b"", bearer(USER))
    async with house.http.client() as other:
        reply = await other.ask("POST", kill, b"", bearer(OPERATOR))
    assert refused.status == 403
    assert (reply.status, json.loads(reply.body)["reason"]) == (202, "killed")
    (last,) = await stream.rest()
    assert (last.event, last.data["code"], last.data["reconnect"]) == ("closed", 4503, False)
