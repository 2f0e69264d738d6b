"""Any bytes whatever, at any point of a connection, leave relayd alive."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import pytest

from relayd.observe.events import LogEvent
from tests.faults.harness import BEARER, PASSTHROUGH, REALTIME, Relay, Stage, Upstream, account
from tests.faults.wire import (
    CONTINUATION,
    MASK,
    TEXT,
    Ended,
    Wire,
    accepting,
    close,
    frame,
    upgrade,
)

ATTACKER = "127.0.0.2"
PIECES = st.lists(
    st.one_of(
        st.binary(max_size=200),
        st.sampled_from(
            [
                *(b"GET / HTTP/1.1\r\n", b"\r\n", b"\n", b"\x00", b"Host: x\r\n", b"\x16\x03\x01"),
                upgrade(PASSTHROUGH, BEARER),
                upgrade(PASSTHROUGH, BEARER)[:-2],
                upgrade(REALTIME, BEARER),
            ]
        ),
    ),
    max_size=8,
)
FRAMES = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.builds(
            frame,
            st.integers(0, 15),
            st.binary(max_size=300),
            masked=st.booleans(),
            fin=st.booleans(),
            first=st.sampled_from([0, 0, 0, 0x40]),
        ),
        st.sampled_from(
            [
                frame(TEXT, b'{"type":"response.create"}'),
                frame(TEXT, b'{"type":"response.create"}', masked=False),
                frame(TEXT, b'{"type":"response.done","response":{}}', masked=False),
                frame(TEXT, b"[" * 5000),
                frame(CONTINUATION, b"", fin=False),
                close(1000),
                b"\x82\xff\xff" + MASK * 3,
            ]
        ),
    ),
    max_size=12,
)


async def try_to_kill(relay: Relay, upstream: Upstream, pieces: list[bytes]) -> None:
    """Send ``pieces`` as a client's first bytes, then see that a session still works."""
    wire = await Wire.to(relay.running.addresses[0], source=ATTACKER)
    for piece in pieces:
        await wire.send(piece)
    wire.reset()
    await check_alive(relay, upstream)


async def check_alive(relay: Relay, upstream: Upstream) -> None:
    """A session works. Connections to the upstream that are older lead nowhere by now."""
    client = await Wire.to(relay.running.addresses[0])
    try:
        await client.send(upgrade(PASSTHROUGH, BEARER | {"Sec-WebSocket-Protocol": "ours"}))
        while b"ours" not in (request := await next_request(far := await upstream.accept())):
            far.close()
        await far.send(accepting(request))
        await client.head()
        await client.send(frame(TEXT, b"alive"))
        assert (await far.frame()).payload == b"alive"
        await client.send(close(1000))
        await far.goodbye()
        await client.goodbye()
        far.close()
    finally:
        client.close()


async def next_request(far: Wire) -> bytes:
    try:
        return await far.head()
    except Ended:
        return b""


async def check_examples(
    stage: Stage, strategy: st.SearchStrategy[list[bytes]], count: int, side: str
) -> None:
    """Hypothesis on one running relayd: the examples are drawn first, then played in order.

    A session works after each that a request has disturbed, else after all; each ends once.
    """
    examples = drawn(strategy, count)
    upstream = await stage.upstream()
    accounts = [account(upstream), account(upstream, "ai", provider="compatible")]
    async with stage.relay(*accounts) as relay:
        for pieces in examples:
            if side == "request":
                await try_to_kill(relay, upstream, pieces)
            else:
                await disturb(relay, upstream, pieces, from_client=side == "client")
        await check_alive(relay, upstream)

    ended = [line["session_id"] for line in stage.log.of(LogEvent.SESSION_ENDED)]
    assert len(set(ended)) == len(ended) == count + 1


async def disturb(
    relay: Relay, upstream: Upstream, pieces: list[bytes], *, from_client: bool
) -> None:
    """A session in which one side says ``pieces`` and leaves."""
    client, far = await relay.session(upstream, source=ATTACKER)
    sender, other = (client, far) if from_client else (far, client)
    for piece in pieces:
        await sender.send(piece)
    await sender.finish()
    await other.end()
    other.close()
    await sender.end()
    sender.close()


def drawn(strategy: st.SearchStrategy[list[bytes]], count: int) -> list[list[bytes]]:
    """``count`` examples, the same ones every time."""
    found: list[list[bytes]] = []

    @hypothesis.settings(max_examples=count, database=None, derandomize=True)
    @hypothesis.given(strategy)
    def collect(example: list[bytes]) -> None:
        found.append(example)

    collect()
    return found


@pytest.mark.parametrize("side", ["request", "client", "upstream"])
async def test_any_bytes_leave_relayd_alive(stage: Stage, side: str) -> None:
    await check_examples(stage, PIECES if side == "request" else FRAMES, 30, side)


@pytest.mark.slow
@pytest.mark.parametrize("side", ["request", "client", "upstream"])
async def test_many_more_bytes_leave_relayd_alive(stage: Stage, side: str) -> None:
    await check_examples(stage, PIECES if side == "request" else FRAMES, 1000, side)


async def test_a_port_scan_leaves_relayd_alive(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(account(upstream)) as relay:
        for _ in range(100):
            (await relay.client(source=ATTACKER)).reset()
        await check_alive(relay, upstream)

    (line,) = stage.log.of(LogEvent.SESSION_ENDED)
    assert line["client_close"] == 1000
