"""Dialling accounts without a client, to see whether they work: disabled ones now and then."""

from __future__ import annotations

import time
from typing import Final

import trio

from relayd.config.snapshot import Account
from relayd.dialect import passthrough, realtime, responses
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.routing.roster import Seat
from relayd.routing.scheduler import Demand
from relayd.session.accounts import tell_changes
from relayd.session.attempts import AttemptFailed
from relayd.session.chat.clocks import Clocks
from relayd.session.chat.opening import NAME, handshake_at, wish_for
from relayd.session.connecting import Connected, Connector, Wish

log = get_logger()

LOOK_EVERY_S: Final = 5.0
PROBE_S: Final = 20.0
"""One probe's time, of which an attempt may use half."""


async def probe_disabled(connector: Connector, clocks: Clocks) -> None:
    """Probe what is due until cancelled; an account that answers is enabled again.

    Args:
        connector: Opens the sockets.
        clocks: What time it is at upstreams whose handshakes are dated.
    """
    async with trio.open_nursery() as nursery:
        while True:
            await trio.sleep(LOOK_EVERY_S)
            for account in connector.roster.due_probes(trio.current_time()):
                nursery.start_soon(_probe_due, connector, clocks, account)


async def probe(
    connector: Connector, seat: Seat, clocks: Clocks | None = None
) -> Connected | AttemptFailed:
    """Dial the account of ``seat`` as a client's session would, as far as its first frame.

    A failure is not noted about the account; that is for the caller to do, who keeps the seat.

    Returns:
        What was connected, its endpoint closed; or why nothing was.
    """
    deadline = trio.current_time() + PROBE_S
    try:
        connected = await connector.attempt(wish_of_probe(seat.account, clocks), seat, deadline)
    except AttemptFailed as failed:
        return failed
    connected.endpoint.close()
    return connected


async def _probe_due(connector: Connector, clocks: Clocks, account: Account) -> None:
    standing = connector.roster.standing(account.name)
    if standing is None:
        return
    with Seat(standing, trio.current_time()) as seat:
        try:
            # Else it is still disabled, which the log has said; the next probe is due by itself.
            if isinstance(await probe(connector, seat, clocks), Connected):
                roster = connector.roster
                tell_changes(roster.enable(account.name), roster, connector.bus)
        except Exception as error:  # noqa: BLE001 - the boundary of a probe: a bug in it ends no session
            log.error(LogEvent.SESSION_CRASHED, traceback=error)


def wish_of_probe(account: Account, clocks: Clocks | None = None) -> Wish:
    """A session that costs nothing: a Realtime one of no model, or a bare connection.

    Args:
        account: Which one.
        clocks: What time it is at its upstream; ``None``: the same as here.
    """
    if account.speaks(NAME):
        return wish_for(account, handshake_at(account, "", clocks or Clocks(time.time)))
    if not account.speaks(realtime.NAME) and account.speaks(responses.NAME):
        return Wish(
            demand=Demand(responses.NAME, account=account.name),
            target=lambda chosen: responses.upstream_target(_path(chosen)),
            hears_first=False,
        )
    if account.speaks(passthrough.NAME):
        return Wish(
            demand=Demand(passthrough.NAME, account=account.name),
            target=lambda chosen: passthrough.upstream_target(_path(chosen), "", ""),
            hears_first=False,
        )
    return Wish(
        demand=Demand(realtime.NAME),
        target=lambda chosen: realtime.upstream_target(
            _path(chosen), model=None, call_id=None, intent="transcription"
        ),
        hears_first=True,
    )


def _path(account: Account) -> str:
    return account.base_url.path if account.base_url is not None else ""
