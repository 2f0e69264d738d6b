"""What the service manager hears again and again: signs of life, the status, more time to drain.

Each is sent by a task of the event loop and by nothing else, so a loop that hangs falls silent and
the manager restarts it: sd_notify(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Final

import trio

from relayd.service.notify import Notifier

STATUS_EVERY_S: Final = 1.0
"""How often the status is looked at."""

EXTEND_S: Final = 15.0
"""How much time a drain asks for at once: a hung one is killed when that has passed."""

EXTEND_EVERY_S: Final = 5.0


def watchdog_interval_s(environ: Mapping[str, str]) -> float | None:
    """How often the watchdog wants a sign of life: at half of ``$WATCHDOG_USEC``.

    ``None`` where nobody watches, or watches another process (``$WATCHDOG_PID``).
    """
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID")
    if not (usec.isascii() and usec.isdigit() and int(usec) > 0):
        return None
    if pid is not None and pid != str(os.getpid()):
        return None
    return int(usec) / 1e6 / 2


async def feed(notifier: Notifier, every_s: float) -> None:
    """Give a sign of life now and every ``every_s`` seconds, until cancelled."""
    while True:
        notifier.alive()
        await trio.sleep(every_s)


async def tell_status(notifier: Notifier, status: Callable[[], str], told: str) -> None:
    """Keep the manager's status line true to a second, until cancelled.

    Args:
        notifier: Whom to tell.
        status: What to say, at the moment it is called.
        told: What has been said last.
    """
    while True:
        await trio.sleep(STATUS_EVERY_S)
        text = status()
        if text != told and notifier.status(text):
            told = text


async def extend_timeout(notifier: Notifier) -> None:
    """Ask for more time now and every few seconds, until cancelled."""
    while True:
        notifier.extend(EXTEND_S)
        await trio.sleep(EXTEND_EVERY_S)
