"""The end of a device's session: its Close, and the time that a slow network gets for it.

A device that still sends audio when its socket is closed would have its connection reset, and the
Close in flight lost with it. So what comes is thrown away until it has closed its side.
"""

from __future__ import annotations

from typing import Final

import trio

from relayd.core.endings import Reason, Side
from relayd.core.redact import close_reason
from relayd.dialect.xiaozhi_messages import alert
from relayd.session.closing import CLOSE_GRACE_S, CLOSE_TEXTS, Closed
from relayd.session.verdict import Verdict
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor

CLOSE_WAIT_S: Final = 10.0
"""How long a device gets to answer its Close; CLOSE_GRACE_S where relayd stops, or where the device
has another socket, so that this one is most likely dead."""

DEVICE_TEXTS: Final = CLOSE_TEXTS | {
    Reason.FIRST_MESSAGE_TIMEOUT: "no hello came; say it behind the 101",
    Reason.FIRST_FRAME_TIMEOUT: "no server answered the hello; try again later",
    Reason.UPSTREAM_REFUSED: "the servers refused this device",
    Reason.UPSTREAM_LOST: "the server's connection was lost",
    Reason.RECONNECTS_EXHAUSTED: "servers were lost too often; try again later",
    Reason.DEVICE_REPLACED: "the device has connected again",
    Reason.POLICY: "the rules of this relay do not let the device go on",
}
"""What a device is told where the verdict has no message of its own."""

_PEERS_OWN: Final = frozenset({Reason.CLIENT_CLOSED, Reason.UPSTREAM_CLOSED})
_EMOTION: Final = "sad"


async def say_goodbye(reactor: Reactor, client: Endpoint, verdict: Verdict, closed: Closed) -> None:
    """Tell the device, give it time, close its socket.

    Args:
        reactor: Has adopted ``client``; afterwards it has not.
        client: Closed when this returns.
        verdict: Has fallen.
        closed: Told the code of the Close, where one can be sent.

    It takes :data:`CLOSE_WAIT_S`; of a device that has another socket, and where it is cancelled,
    :data:`CLOSE_GRACE_S <relayd.session.closing.CLOSE_GRACE_S>`.
    """
    ending = verdict.ending
    if client.ended or ending.abort_client:
        reactor.release(client)
        client.close(abort=ending.abort_client)
        return
    code, text = client_words(verdict)
    closed.note(Side.CLIENT, code)
    reactor.finish(client, code, close_reason(text), trio.current_time())
    was_cancelled = True
    try:
        replaced = verdict.reason is Reason.DEVICE_REPLACED
        with trio.move_on_after(CLOSE_GRACE_S if replaced else CLOSE_WAIT_S):
            await _end_of(client)
        was_cancelled = False
    finally:
        with trio.move_on_after(CLOSE_GRACE_S if was_cancelled else 0.0, shield=True):
            await _end_of(client)
        blocked = client.sink.blocked
        reactor.release(client)
        client.close(abort=blocked)


def client_words(verdict: Verdict) -> tuple[int | None, str]:
    """Code and reason of the device's Close: what its server said, where that has ended it."""
    if verdict.reason in _PEERS_OWN:
        return verdict.code, verdict.text
    text = verdict.message or DEVICE_TEXTS.get(verdict.reason or Reason.KILLED, "")
    if verdict.message and verdict.sender is Side.UPSTREAM:
        text = f"the server erred: {text}"
    return verdict.ending.client_code, text


def server_code(verdict: Verdict) -> int:
    """What the server is told: the device's own code, or what the ending says."""
    if verdict.reason is Reason.CLIENT_CLOSED:
        return verdict.code or 1000
    return verdict.ending.upstream_code or 1000


def last_words(verdict: Verdict, session_id: str) -> bytes:
    """What a device shows its user, where a person can do something about it; else empty."""
    if verdict.ending.error_type is None:
        return b""
    reason = verdict.reason or Reason.KILLED
    message = verdict.message or DEVICE_TEXTS.get(reason, reason.value)
    return alert("Error", message, _EMOTION, session_id)


def note_peers_code(verdict: Verdict, closed: Closed) -> None:
    """What a peer's own Close said goes before what relayd answered."""
    if verdict.reason is Reason.CLIENT_CLOSED:
        closed.note(Side.CLIENT, verdict.code)
    elif verdict.reason is Reason.UPSTREAM_CLOSED:
        closed.note(Side.UPSTREAM, verdict.code)


async def _end_of(client: Endpoint) -> None:
    while client.armed:
        await client.next_event()
