"""How a request gets its socket: one that is ready, or one that is opened for it."""

from __future__ import annotations

import math
from typing import Final

import attrs
import trio

from relayd.config.providers import Dialect
from relayd.config.snapshot import Account
from relayd.dialect.behind import Exchange, Fault, Handshake, Skew
from relayd.dialect.chat_values import ChatRequest
from relayd.pool.parting import Partings
from relayd.pool.ready import ReadySockets
from relayd.routing.scheduler import Demand
from relayd.session.attempts import AttemptFailed
from relayd.session.chat import verdicts
from relayd.session.chat.clocks import Clocks
from relayd.session.chat.line import Line
from relayd.session.chat.providers import provider_of
from relayd.session.chat.talk import SocketTalk
from relayd.session.connecting import Connector, Wish
from relayd.transport.endpoint import Endpoint
from relayd.transport.errors import DialError
from relayd.transport.reactor import Reactor

NAME: Final = Dialect.CHAT

_AUTH: Final = frozenset({401, 403})


class Stopped(Exception):
    """There is no answer, for ``fault``; the client has been sent nothing."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.code)
        self.fault = fault


def wish_for(account: Account, handshake: Handshake) -> Wish:
    """The socket that a provider asks for, as the connector opens it."""
    return Wish(
        demand=Demand(NAME, account=account.name),
        target=lambda _: handshake,
        hears_first=False,
    )


def handshake_at(account: Account, model: str, clocks: Clocks) -> Handshake:
    """How a socket for ``model`` is asked for now, by the account's name for it."""
    return provider_of(account).target(account, model, clocks.time_at(account.name))


async def open_socket(
    connector: Connector, clocks: Clocks, account: Account, model: str, deadline: float
) -> Endpoint:
    """Dial, TLS and upgrade. Where it is refused for its date, once more with the right one.

    Args:
        model: By the account's name for it.
        deadline: By ``trio.current_time()``.

    Returns:
        A socket that is not adopted yet, and the caller's.

    Raises:
        Stopped: There is none.

    Cancelling it closes what it has opened.
    """
    provider = provider_of(account)
    for is_last in (False, True):
        offset_s = clocks.offset_of(account.name)
        wish = wish_for(account, handshake_at(account, model, clocks))
        try:
            return (await connector.open(account, wish, deadline)).endpoint
        except AttemptFailed as failed:
            declined = failed.declined
            if declined is None:
                raise Stopped(verdicts.of_attempt(failed)) from None
            said = provider.classify_handshake(
                declined.status, declined.body_excerpt.encode(), declined.date, clocks.wall()
            )
        if isinstance(said, Skew):
            clocks.skewed(account.name, said.offset_s)
            fault = said.fault
        else:
            # Where a correction was used, this host's clock may have been set since it was found.
            fault = said
            if not offset_s or declined.status not in _AUTH:
                raise Stopped(fault)
            clocks.skewed(account.name, 0.0)
        if is_last:
            raise Stopped(fault)
    raise AssertionError("the second attempt is the last")


@attrs.frozen(kw_only=True)
class Opening:
    """Opens sockets for requests. One per process."""

    connector: Connector
    reactor: Reactor
    clocks: Clocks
    ready: ReadySockets
    partings: Partings

    async def talk(
        self, account: Account, request: ChatRequest, *, attempt: int, may_be_ready: bool
    ) -> SocketTalk:
        """Get a socket at ``account`` and send it the request.

        Args:
            attempt: How often this account has been tried with it before.
            may_be_ready: Whether a socket that was opened ahead will do.

        Raises:
            Stopped: There is no socket.

        Cancelling it sends nothing.
        """
        model = account.upstream_model(request.model)
        exchange = provider_of(account).begin(request, account, model, attempt=attempt)
        await trio.lowlevel.checkpoint_if_cancelled()
        endpoint = self._ready(account, model) if may_be_ready else None
        if endpoint is not None:
            line = Line.over_ready(endpoint, self.reactor, self.connector.hold)
            return await self._begun(line, exchange, was_ready=True)
        endpoint = await open_socket(self.connector, self.clocks, account, model, math.inf)
        try:
            line = Line.over_new(endpoint, self.reactor, self.connector.hold)
        except DialError:
            endpoint.close()
            raise Stopped(verdicts.OVERLOADED) from None
        return await self._begun(line, exchange, was_ready=False)

    def _ready(self, account: Account, model: str) -> Endpoint | None:
        if not self.ready.wanted:
            return None
        target, _, _ = handshake_at(account, model, self.clocks).target.partition("?")
        return self.ready.take(account, target, model)

    async def _begun(self, line: Line, exchange: Exchange, *, was_ready: bool) -> SocketTalk:
        talk = SocketTalk(line=line, exchange=exchange, partings=self.partings, was_ready=was_ready)
        fault = talk.begin()
        if fault is not None:
            await talk.aclose()
            raise Stopped(fault)
        return talk
