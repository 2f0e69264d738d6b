"""What the requests of a connection share, and what is told of each when it has ended."""

from __future__ import annotations

import enum
import os
from collections.abc import Awaitable, Callable
from typing import Final

import attrs

from relayd.core.hold import HoldBudget
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.service.http.request import Request
from relayd.service.http.responses import Response

log = get_logger()

Handler = Callable[[Request], Awaitable[Response]]

IDLE_S: Final = 75.0
"""How long a connection may wait for its next request; proxies in front give up after 60 s."""


@attrs.frozen(kw_only=True)
class HttpLimits:
    """What one client may take.

    Attributes:
        head_max_bytes: The longest head, its empty line included.
        body_max_bytes: The longest body; a handler may take less.
        head_s: From a later request's first byte to its head's last.
        stall_s: Without a byte of the body, or with no byte of the response taken. What a body
            needs beside it, where it comes slowly, is in ``request.MIN_BYTES_PER_S``.
        idle_s: Between a response and the next request's first byte.
    """

    head_max_bytes: int
    body_max_bytes: int
    head_s: float
    stall_s: float
    idle_s: float = IDLE_S


class Outcome(enum.StrEnum):
    """How a request ended. The value is the word for logs and metrics."""

    COMPLETE = "complete"
    CLIENT_GONE = "client_gone"
    CLIENT_STALLED = "client_stalled"
    CUT_OFF = "cut_off"  # refused when its response had already begun
    CRASHED = "crashed"  # a bug: see the error
    STOPPED = "stopped"  # relayd stopped


@attrs.frozen(kw_only=True)
class RequestFacts:
    """What is worth knowing of a request that has ended. None of it is the client's raw text.

    Attributes:
        method: ``None`` where no whole head was read.
        route: The pattern that matched; ``None`` where none was looked for or found.
        status: 0 where no response was begun.
        reason: The code word of a refusal.
        bytes_in: Of the body, as the handler read it.
        bytes_out: Everything sent for it.
        error: What a handler raised, for the log alone.
    """

    request_id: str
    method: str | None
    route: str | None
    status: int
    outcome: Outcome
    reason: str | None
    key: str | None
    client_address: str
    duration_ms: int
    bytes_in: int
    bytes_out: int
    error: Exception | None = attrs.field(default=None, repr=False)


OnRequest = Callable[[RequestFacts], None]
"""Hears of every request that has ended, and of what became none."""


def nobody(facts: RequestFacts) -> None:
    """Where nobody counts requests."""


def log_request(facts: RequestFacts, *, quiet: bool = False) -> None:
    """Write the one line of a request that has ended, behind that of the bug that ended it.

    Args:
        facts: What is known of it.
        quiet: Whether its line is only of use to who looks for something; not so the bug's.
    """
    if facts.outcome is Outcome.CRASHED:
        log.error(
            LogEvent.REQUEST_CRASHED,
            request_id=facts.request_id,
            route=facts.route,
            traceback=facts.error,
        )
    write = log.debug if quiet else log.info
    write(
        LogEvent.REQUEST_ENDED,
        request_id=facts.request_id,
        method=facts.method,
        route=facts.route,
        status=facts.status,
        outcome=facts.outcome.value,
        reason=facts.reason,
        key=facts.key,
        client_address=facts.client_address,
        duration_ms=facts.duration_ms,
        bytes_in=facts.bytes_in,
        bytes_out=facts.bytes_out,
    )


def new_request_id() -> str:
    """A name for one request that cannot be guessed."""
    return f"req_{os.urandom(12).hex()}"


@attrs.frozen(kw_only=True)
class Service:
    """What all requests of a connection share.

    Attributes:
        handler: Answers a request, or raises ``HttpRefused``. Cancelled when the client leaves.
        hold: Where the bytes of whole bodies are counted.
        closing: Whether connections are to end with the response in progress: relayd drains.
        tell: Called once for every request that has ended, and for what became none.
    """

    limits: HttpLimits
    handler: Handler
    hold: HoldBudget
    closing: Callable[[], bool]
    tell: OnRequest
