"""Which server a device goes to: the same one each time, as long as that takes it.

The order is that of rendezvous hashing (Thaler and Ravishankar, 1998), weighted: every server has a
number for the device, and the highest wins. So a server that comes or goes moves its own devices
alone. Whether one takes a session now is the scheduler's word, as for every dialect.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection

from relayd.config.pricebook import PriceBook
from relayd.config.providers import Dialect
from relayd.config.snapshot import Account, Key
from relayd.core.refusals import RefusalCode
from relayd.dialect.xiaozhi_build import Build
from relayd.routing.roster import Roster, Seat
from relayd.routing.scheduler import Demand, choose, why_none
from relayd.session.xiaozhi.admission import price_name, serves

_RANGE = 1 << 64


def preference(device_id: str, accounts: Collection[Account]) -> list[Account]:
    """``accounts`` in the order in which a device prefers them: by priority, then by its number."""
    return sorted(accounts, key=lambda each: (each.priority, -_score(device_id, each), each.name))


def servers_of(
    roster: Roster, device_id: str, key: Key, prices: PriceBook, *, build: Build
) -> list[Account]:
    """The servers that are a device's, in its order, whether they take a session now or not.

    Args:
        roster: The accounts; those that are switched off are left out.
        device_id: Whose order counts.
        key: Of its tenant's; with a budget, only servers that have a price will do.
        prices: They stand here.
        build: What the device is.
    """
    serving = [
        standing.account
        for standing in roster.serving(Dialect.XIAOZHI, None)
        if serves(standing.account, device_id, key.tenant, build)
    ]
    if key.budget_nano:
        serving = [each for each in serving if prices.find(price_name(each.name)) is not None]
    return preference(device_id, serving)


def take_seat(
    roster: Roster,
    device_id: str,
    key: Key,
    prices: PriceBook,
    *,
    build: Build,
    now: float,
    tried: Collection[str] = (),
    last: Collection[str] = (),
) -> Seat | None:
    """A seat at the first server of the device's order that takes it.

    Args:
        roster: The accounts.
        device_id: Whose order counts.
        key: Of its tenant's; with a budget, only servers that have a price will do.
        prices: They stand here.
        build: What the device is.
        now: Seconds.
        tried: Names of servers that were asked already.
        last: Names of those that come behind all others.

    Returns:
        A seat, which the caller must release; ``None`` where there is none.
    """
    ordered = servers_of(roster, device_id, key, prices, build=build)
    for account in sorted(ordered, key=lambda each: each.name in last):
        demand = Demand(Dialect.XIAOZHI, account=account.name)
        seat = choose(roster, demand, now=now, random_unit=0.0, tried=tried)
        if seat is not None:
            return seat
    return None


def is_full(
    roster: Roster, device_id: str, key: Key, prices: PriceBook, *, build: Build, now: float
) -> bool:
    """Whether a session that ends would make room for a device that :func:`take_seat` has no seat
    for; the arguments are the same.
    """
    return any(
        why_none(roster, Demand(Dialect.XIAOZHI, account=account.name), now=now).code
        is RefusalCode.ACCOUNT_BUSY
        for account in servers_of(roster, device_id, key, prices, build=build)
    )


def _score(device_id: str, account: Account) -> float:
    said = f"{account.name}|{device_id}".encode()
    number = int.from_bytes(hashlib.sha256(said).digest()[:8], "big")
    unit = (number + 0.5) / _RANGE
    return -account.weight / math.log(unit)
