"""Dialling disabled accounts now and then, to see whether somebody has mended them."""

from __future__ import annotations

from typing import Final

import trio

from relayd.config.snapshot import Account
from relayd.dialect import passthrough, realtime
from relayd.routing.roster import PROVIDERS, Seat
from relayd.routing.scheduler import Demand
from relayd.session.accounts import log_changes
from relayd.session.connecting import AttemptFailed, Connector, Wish

LOOK_EVERY_S: Final = 5.0
PROBE_S: Final = 20.0
"""One probe's time, of which an attempt may use half."""


async def probe_disabled(connector: Connector) -> None:
    """Probe what is due until cancelled; an account that answers is enabled again."""
    async with trio.open_nursery() as nursery:
        while True:
            await trio.sleep(LOOK_EVERY_S)
            for account in connector.roster.due_probes(trio.current_time()):
                nursery.start_soon(_probe, connector, account)


async def _probe(connector: Connector, account: Account) -> None:
    standing = connector.roster.standing(account.name)
    if standing is None:
        return
    now = trio.current_time()
    with Seat(standing, now) as seat:
        try:
            connected = await connector.attempt(_wish(account), seat, now + PROBE_S)
        except AttemptFailed:
            return  # still disabled, which the log has said; the next probe is due by itself
        connected.endpoint.close()
        log_changes(connector.roster.enable(account.name))


def _wish(account: Account) -> Wish:
    """A session that costs nothing: a Realtime one of no model, or a bare connection."""
    if account.provider in PROVIDERS[passthrough.NAME]:
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
