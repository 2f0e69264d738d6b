"""Accounts of provider ``sim:…``: their upstreams run inside the process that uses them."""

from __future__ import annotations

from typing import Final

import attrs
import trio

from relayd.config.providers import SIMULATED, Provider
from relayd.config.secret import Secret
from relayd.config.snapshot import Account, Snapshot
from relayd.config.url import parse_base_url
from relayd.config.xiaozhi import XiaozhiSettings
from relayd.service.reload import NotReadyError
from relayd.sim.registry import serve_simulator
from relayd.sim.server import SimServer, Upstream
from relayd.sim.xiaozhi.ota import SETTINGS_PATH

SIMULATED_KEY: Final = Secret("simulated")
"""A simulated upstream wants a key, as the real one does, and takes any."""

LOOK_EVERY_S: Final = 5.0
"""How often it is looked at whether an upstream that is not needed is still used."""


@attrs.frozen
class _Simulated:
    """A running upstream."""

    server: SimServer[Upstream]
    scope: trio.CancelScope


@attrs.define(eq=False)
class Simulators:
    """The upstreams of simulated accounts, as many as configurations want.

    Attributes:
        nursery: Where they run; cancelling it ends them.
    """

    nursery: trio.Nursery
    _running: dict[tuple[str, str], _Simulated] = attrs.field(factory=dict, init=False)
    """By the account's name and provider."""

    async def ready(self, snapshot: Snapshot) -> Snapshot:
        """Start an upstream for each enabled simulated account that has none yet.

        Returns:
            The configuration with their addresses in it.

        Raises:
            NotReadyError: One could not be started; :meth:`settle` stops the others.
        """
        xiaozhi = snapshot.settings.xiaozhi
        accounts = [await self._with_address(account, xiaozhi) for account in snapshot.accounts]
        return attrs.evolve(snapshot, accounts=tuple(accounts))

    def settle(self, snapshot: Snapshot) -> None:
        """Stop the upstreams that ``snapshot`` has no use for, once their sessions have ended."""
        needed = {_name(account) for account in snapshot.accounts if _is_simulated(account)}
        for name in self._running.keys() - needed:
            self.nursery.start_soon(_stop_when_unused, self._running.pop(name))

    async def _with_address(self, account: Account, xiaozhi: XiaozhiSettings) -> Account:
        if not _is_simulated(account):
            return account
        running = self._running.get(_name(account))
        if running is None:
            scope = trio.CancelScope()
            try:
                dialect = account.provider.removeprefix(SIMULATED)
                server = await self.nursery.start(_serve, dialect, scope)
            except OSError as error:
                message = f"the upstream of {account.name} cannot be started: {error.strerror}"
                raise NotReadyError(message) from None
            running = self._running[_name(account)] = _Simulated(server, scope)
        found = attrs.evolve(
            account,
            base_url=parse_base_url(running.server.base_url),
            api_key=account.api_key or SIMULATED_KEY,
        )
        return _with_settings(found, running.server.address, xiaozhi)


async def with_simulators(snapshot: Snapshot, nursery: trio.Nursery) -> Snapshot:
    """As :meth:`Simulators.ready`, for a configuration that stays."""
    return await Simulators(nursery).ready(snapshot)


def _with_settings(account: Account, address: str, xiaozhi: XiaozhiSettings) -> Account:
    """A server of devices tells them their settings, too, where relayd can tell of itself then."""
    own = account.xiaozhi
    if account.provider is not Provider.SIM_XIAOZHI or own.ota_url is not None:
        return account
    if xiaozhi.public_url is None or xiaozhi.token_secret is None:
        return account
    told = attrs.evolve(own, ota_url=f"http://{address}{SETTINGS_PATH}")
    return attrs.evolve(account, xiaozhi=told)


async def _serve(
    dialect: str, scope: trio.CancelScope, *, task_status: trio.TaskStatus[SimServer[Upstream]]
) -> None:
    with scope:
        await serve_simulator(dialect, task_status=task_status)


async def _stop_when_unused(simulated: _Simulated) -> None:
    # Not at once: a session may be on its way to it.
    while True:
        await trio.sleep(LOOK_EVERY_S)
        if simulated.server.connections == 0:
            break
    simulated.scope.cancel(reason="the account is gone")


def _is_simulated(account: Account) -> bool:
    return account.provider.is_simulated and account.enabled


def _name(account: Account) -> tuple[str, str]:
    return account.name, account.provider.value
