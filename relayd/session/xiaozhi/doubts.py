"""Whether it is a server that fails, or a device that makes servers fail.

A device's hello goes to its server as it came, so that behind a handshake a server may close, be
silent or refuse for what that one device is or says. A server is judged by how many different
devices it fails: however often a device comes again, it counts once.
"""

from __future__ import annotations

from typing import Final

import attrs

FORGOTTEN_S: Final = 60.0
"""So long after it counted a device counts again, if the account has greeted anybody since: as
long as a breaker looks back."""

DEVICES_MAX: Final = 128
"""Devices that are remembered for each account: far more than open its breaker."""

REFUSED_MIN: Final = 2
"""Different devices that must have been failed before a refusal disables an account."""


@attrs.define(eq=False)
class Doubts:
    """Which devices each account has failed before its hello. One per process."""

    _failed: dict[str, dict[str, float]] = attrs.field(factory=dict, init=False)

    def count(self, account: str, device_id: str, now: float) -> bool:
        """Note that an account has failed a device; whether that says anything of the account."""
        devices = self._failed.setdefault(account, {})
        if device_id in devices:
            return False
        if len(devices) >= DEVICES_MAX:
            del devices[next(iter(devices))]
        devices[device_id] = now
        return True

    def devices(self, account: str) -> int:
        """How many different devices an account has failed."""
        return len(self._failed.get(account, ()))

    def greeted(self, account: str, now: float) -> None:
        """An account has greeted a device: what was long ago is forgotten."""
        devices = self._failed.get(account)
        if devices is None:
            return
        kept = {each: at for each, at in devices.items() if now < at + FORGOTTEN_S}
        if kept:
            self._failed[account] = kept
        else:
            del self._failed[account]
