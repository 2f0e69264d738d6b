"""Accounts of provider ``sim:…``: their upstreams run inside the process that uses them."""

from __future__ import annotations

from typing import Final

import attrs
import trio

from relayd.config.secret import Secret
from relayd.config.snapshot import Account, Snapshot
from relayd.config.url import parse_base_url
from relayd.sim.registry import serve_simulator

SIMULATED_KEY: Final = Secret("simulated")
"""A simulated upstream wants a key, as the real one does, and takes any."""


async def with_simulators(snapshot: Snapshot, nursery: trio.Nursery) -> Snapshot:
    """Start an upstream for each enabled simulated account.

    Args:
        snapshot: The configuration as it was read.
        nursery: Where the upstreams run; cancelling it ends them.

    Returns:
        The configuration with their addresses in it.
    """
    accounts = [await _with_address(account, nursery) for account in snapshot.accounts]
    return attrs.evolve(snapshot, accounts=tuple(accounts))


async def _with_address(account: Account, nursery: trio.Nursery) -> Account:
    if not (account.provider.is_simulated and account.enabled):
        return account
    server = await nursery.start(serve_simulator, account.provider.dialect.value)
    return attrs.evolve(
        account,
        base_url=parse_base_url(server.base_url),
        api_key=account.api_key or SIMULATED_KEY,
    )
