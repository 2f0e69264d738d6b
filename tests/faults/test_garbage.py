"""What an ended session leaves in memory."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio.testing

from tests.faults.harness import CREATE, Relay, Stage, Upstream, account
from tests.faults.wire import TEXT, Wire, close, frame


@contextmanager
def uncollected() -> Iterator[list[object]]:
    """What becomes unreachable meanwhile and is kept by nothing but circles of references."""
    found: list[object] = []
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        found += gc.garbage
    finally:
        gc.set_debug(0)
        gc.enable()
        gc.garbage.clear()


@pytest.mark.parametrize("ending", ["client closes", "upstream is lost", "client breaks a rule"])
@pytest.mark.parametrize("provider", ["websocket", "compatible"])
async def test_an_ended_session_leaves_nothing_to_the_garbage_collector(
    stage: Stage, provider: str, ending: str
) -> None:
    """Circles of some thousand sessions would be freed in one go, which takes a tenth of a second.

    Nothing else of relayd runs meanwhile.
    """
    upstream = await stage.upstream()
    async with stage.relay(account(upstream, provider=provider)) as relay:
        with uncollected() as found:
            await _one_session(relay, upstream, provider, ending)
            await relay.log.session_ended()
            await trio.testing.wait_all_tasks_blocked()

    ours = [thing for thing in found if type(thing).__module__.startswith("relayd")]
    assert ours == []


async def _one_session(relay: Relay, upstream: Upstream, provider: str, ending: str) -> None:
    passthrough = provider == "websocket"
    client, far = await (relay.session if passthrough else relay.conversation)(upstream)
    await client.send(frame(TEXT, CREATE, masked=True))
    assert (await far.frame()).payload == CREATE
    await _end(client, far, ending)


async def _end(client: Wire, far: Wire, ending: str) -> None:
    match ending:
        case "client closes":
            await client.send(close(1000, "", masked=True))
            await far.goodbye()
            await client.goodbye()
        case "upstream is lost":
            far.close()
            await client.goodbye()
        case _:
            await client.send(frame(TEXT, b"unmasked", masked=False))
            await client.goodbye()
            await far.goodbye()
