"""The end of a session: what each side is told, for how long it is waited for, what is closed."""

from __future__ import annotations

from typing import Final

import attrs
import trio

from relayd.core.endings import Reason, Side
from relayd.core.redact import close_reason
from relayd.protocol.flow import Standing
from relayd.session.verdict import Verdict
from relayd.transport.endpoint import Endpoint
from relayd.transport.reactor import Reactor

CLOSE_GRACE_S: Final = 1.0
"""How long all sides together get to take their Close and to close their connections."""

_PEERS_OWN: Final = (Reason.CLIENT_CLOSED, Reason.UPSTREAM_CLOSED)

CLOSE_TEXTS: Final = {
    Reason.CLIENT_GONE: "the client is gone",
    Reason.UPSTREAM_LOST: "the upstream's connection was lost",
    Reason.UPSTREAM_LOST_MID_FRAME: "the upstream's connection was lost inside a message",
    Reason.UPSTREAM_SILENT: "the upstream went silent during a response",
    Reason.TURN_TIMEOUT: "the response took too long",
    Reason.CLIENT_STALLED: "the client does not read",
    Reason.UPSTREAM_STALLED: "the upstream does not read",
    Reason.CLIENT_SILENT: "no answer to pings",
    Reason.UPSTREAM_KEEPALIVE_TIMEOUT: "the upstream does not answer pings",
    Reason.FIRST_MESSAGE_TIMEOUT: "no message came; send a request behind the 101",
    Reason.BUDGET_EXHAUSTED: "the budget of this key is used up",
    Reason.KEY_EXPIRED: "this key has expired; ask the operator for another",
    Reason.KEY_REMOVED: "this key has been removed or disabled",
    Reason.ACCOUNT_REMOVED: "relayd was reconfigured; reconnect",
    Reason.SESSION_MAX_AGE: "the session reached its maximum duration; reconnect",
    Reason.DRAIN: "relayd is restarting; reconnect",
    Reason.KILLED: "ended by an operator",
    Reason.OVERLOAD: "relayd is overloaded; try again later",
    Reason.INTERNAL_ERROR: "internal error",
}
"""The close reason where no peer gave one and the verdict has no message of its own."""


@attrs.define
class Closed:
    """Close codes as the log shows them: received from that side, else sent to it."""

    client: int | None = None
    upstream: int | None = None

    def note(self, side: Side, code: int | None) -> None:
        """The Close on ``side`` has ``code``; an empty one counts as 1005."""
        if side is Side.CLIENT:
            self.client = code or 1005
        else:
            self.upstream = code or 1005


async def close_all(
    reactor: Reactor,
    client: Endpoint,
    *upstreams: Endpoint,
    verdict: Verdict,
    last_words: bytes,
) -> Closed:
    """Tell all sides, give them :data:`CLOSE_GRACE_S`, close their sockets.

    Args:
        reactor: The endpoints are adopted by it; afterwards none is.
        client: Closed when this returns.
        upstreams: Likewise; none where the session has none of its own.
        verdict: Has fallen.
        last_words: A text message for the client before its Close; empty for none.

    Cancelling this does not shorten it, since it is bounded and all that is left to do.
    """
    now = trio.current_time()
    if last_words and not client.ended:
        client.sink.note(last_words, now)
    codes = Closed()
    told: list[tuple[Endpoint, int | None]] = []
    for endpoint in (client, *upstreams):
        words = _words_for(endpoint, verdict)
        if words is None:
            reactor.release(endpoint)
            endpoint.close(abort=_must_abort(endpoint, verdict))
            continue
        reactor.finish(endpoint, *words, now)
        told.append((endpoint, words[0]))
    try:
        with trio.move_on_after(CLOSE_GRACE_S, shield=True):
            for endpoint, _ in told:
                while endpoint.armed:
                    await endpoint.next_event()
    finally:
        for endpoint, code in told:
            if _has_said_close(endpoint):
                codes.note(endpoint.side, code)
            reactor.release(endpoint)
            endpoint.close(abort=_must_abort(endpoint, verdict) or endpoint.sink.blocked)
    if verdict.reason in _PEERS_OWN:
        own = Side.CLIENT if verdict.reason is Reason.CLIENT_CLOSED else Side.UPSTREAM
        codes.note(own, verdict.code)
    return codes


def _words_for(endpoint: Endpoint, verdict: Verdict) -> tuple[int | None, str] | None:
    """Code and reason of the Close for ``endpoint``; ``None`` where none is or can be sent."""
    if endpoint.ended or _must_abort(endpoint, verdict):
        return None
    if verdict.reason in _PEERS_OWN:
        return verdict.code, close_reason(verdict.text)
    ending = verdict.ending
    code = ending.client_code if endpoint.side is Side.CLIENT else ending.upstream_code
    if code is None:
        return None
    text = verdict.message or CLOSE_TEXTS.get(verdict.reason or Reason.KILLED, "")
    if verdict.message and endpoint.side is Side.CLIENT and verdict.sender is Side.UPSTREAM:
        text = f"the upstream erred: {text}"
    return code, close_reason(text)


def _has_said_close(endpoint: Endpoint) -> bool:
    """Whether the kernel has taken the Close, and so delivers it if the peer takes anything."""
    sink = endpoint.sink
    return sink.closing and not sink.blocked and not sink.broken


def _must_abort(endpoint: Endpoint, verdict: Verdict) -> bool:
    """Whether the connection is to be reset: its peer must not take what it has for a whole."""
    ending = verdict.ending
    wanted = ending.abort_client if endpoint.side is Side.CLIENT else ending.abort_upstream
    return wanted or endpoint.sink.standing is Standing.FRAME
