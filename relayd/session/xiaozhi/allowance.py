"""What one device may use, whatever its key allows to all of them: turns a minute, audio a day.

All devices with tokens of relayd's count to one key, so its limits cannot keep one of them from
taking what is there for the others. Servers begin turns, and audio has passed when it is counted:
so both are noted where they happen, told to the store by the
:mod:`bookkeeper <relayd.session.bookkeeper>`, and what is too much ends the session behind its
turn. A new session is refused while the limit stands against it.

Anybody may make up ids of devices. So the counters are in a store of their own, which forgets what
would be over first: made-up devices take no room from what keys are limited by.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

import attrs
import trio

from relayd.config.xiaozhi import XiaozhiSettings
from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.meter import Refuse
from relayd.session.bookkeeper import Rate
from relayd.session.denials import Denial
from relayd.session.limits import Limits
from relayd.state.memory import MemoryStore
from relayd.state.store import Store, StoreError

DAY_S: Final = 86_400
"""Days are UTC's."""

_TURNS: Final = "xiaozhi.turns"
_AUDIO: Final = "xiaozhi.audio"


def unlimited(_: Refuse) -> None:
    """Who hears of a limit where there is no session, or none any more: nobody."""


@attrs.define(eq=False, kw_only=True)
class DeviceUse:
    """What one session's device uses (:class:`~relayd.session.bookkeeper.Use`).

    Attributes:
        settings: Its limits; 0 is none.
        limits: Tell the store, and know what to do while it is away.
        exceeded: Hears, in a task of its own and outside any pass, that it was too much.
    """

    settings: XiaozhiSettings
    limits: Limits
    exceeded: Callable[[Refuse], None] = unlimited
    _store: Store
    _device: str
    _turns: Rate | None = attrs.field(init=False)
    _audio_ms: int = attrs.field(default=0, init=False)
    """What passed and is not told yet."""

    @_turns.default
    def _rate(self) -> Rate | None:
        if not self.settings.device_turns_per_minute:
            return None
        return Rate(f"{_TURNS}:{self._device}", self._store)

    def turn_begun(self) -> None:
        """A turn runs. Never waits."""
        if self._turns is not None:
            self._turns.owe(self.settings.device_turns_per_minute, 1)
            self.limits.note(self)

    def passed(self, audio_s: float) -> None:
        """So many seconds of audio have passed, of either way. Never waits."""
        if self.settings.device_audio_s_per_day and audio_s > 0:
            self._audio_ms += round(audio_s * 1000)
            self.limits.note(self)

    async def deny(self, wall: float) -> Denial | None:
        """What stands against a session now. Raises :class:`StoreError`."""
        if self._turns is not None:
            per_minute = self.settings.device_turns_per_minute
            taken = await self._turns.take(per_minute, 0, wall, need=1)
            if not taken.ok:
                return _too_fast(per_minute, taken.retry_after_s)
        if self.settings.device_audio_s_per_day:
            key, left_s = self._day(wall)
            found = await self._store.get(key)
            if found is not None and self._is_spent(int(found)):
                return _too_long(self.settings.device_audio_s_per_day, left_s)
        return None

    async def post(self, wall: float) -> None:
        """Tell the store what was noted, and the session if that is too much.

        Raises:
            StoreError: It is told the next time.
        """
        turns, amount_ms = self._turns, self._audio_ms
        if turns is not None and turns.owed:
            await turns.post(wall)
            if not turns.debited.ok:
                per_minute = self.settings.device_turns_per_minute
                self.exceeded(_too_fast(per_minute, turns.debited.retry_after_s).refuse())
        if amount_ms:
            key, left_s = self._day(wall)
            counted = await self._store.add(key, amount_ms, ttl_s=left_s)
            self._audio_ms -= amount_ms
            if self._is_spent(counted.value):
                self.exceeded(_too_long(self.settings.device_audio_s_per_day, left_s).refuse())

    def give_up(self) -> int:
        """Forget what cannot be told; returns how many changes that are."""
        lost = int(bool(self._audio_ms))
        self._audio_ms = 0
        if self._turns is not None:
            lost += bool(self._turns.owed)
            self._turns.owed = 0
        return lost

    def _day(self, wall: float) -> tuple[str, float]:
        """The counter of today, and the seconds that are left of that."""
        day = int(wall // DAY_S)
        return f"{_AUDIO}:{self._device}:{day}", (day + 1) * DAY_S - wall

    def _is_spent(self, used_ms: int) -> bool:
        return used_ms >= self.settings.device_audio_s_per_day * 1000


def _own_store() -> Store:
    return MemoryStore(trio.current_time, forgets=True)


@attrs.frozen(kw_only=True)
class Allowances:
    """Those of all devices. One per process.

    Attributes:
        limits: Of keys, whose bookkeeper tells the store of devices too.
        store: Where devices' counters are.
    """

    limits: Limits
    store: Store = attrs.field(factory=_own_store)

    def use_of(self, tenant: str, device_id: str, settings: XiaozhiSettings) -> DeviceUse:
        """What a session's device uses; letters of its id count the same in either case."""
        # A digest: ids are the peer's words, and a key of the store has a length.
        who = hashlib.sha256(f"{tenant}|{device_id.lower()}".encode()).hexdigest()
        return DeviceUse(settings=settings, limits=self.limits, store=self.store, device=who)

    async def deny(self, tenant: str, device_id: str, settings: XiaozhiSettings) -> Refusal | None:
        """Whether a limit stands against a new session of a device. Cancelling it changes nothing.

        Returns:
            ``rate_limit_exceeded`` with the time to wait; ``overload`` where the store cannot be
            asked and limits are closed then; else ``None``.
        """
        use = self.use_of(tenant, device_id, settings)
        try:
            denial = await use.deny(self.limits.wall())
        except StoreError as error:
            denial = self.limits.deny_while_away(error)
        return None if denial is None else denial.refusal()


def _too_fast(per_minute: int, retry_after_s: float) -> Denial:
    message = f"This device's limit of {per_minute} turns a minute is reached."
    return Denial(RefusalCode.RATE_LIMIT_EXCEEDED, message, retry_after_s)


def _too_long(audio_s: float, retry_after_s: float) -> Denial:
    message = f"This device has had its {audio_s:.12g} seconds of audio for today (UTC)."
    return Denial(RefusalCode.RATE_LIMIT_EXCEEDED, message, retry_after_s)
