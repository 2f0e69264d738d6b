"""Whether new connections are welcome: `/readyz`, and what it looks at."""

from __future__ import annotations

import os
import resource
from typing import Final

import attrs
import trio

from relayd.config.providers import Dialect
from relayd.routing.roster import Roster
from relayd.service.admin.paging import Slices
from relayd.service.admin.shapes import Check
from relayd.service.admin.views import takes_sessions

DESCRIPTORS_USED_MAX: Final = 0.95
"""The share of the descriptor limit beyond which something is about to be refused."""

_OPEN_FILES: Final = "/proc/self/fd"


@attrs.frozen(kw_only=True)
class Readiness:
    """Why new connections would be refused; nothing of it is true when relayd is ready.

    Attributes:
        state_failing: The store of the limits does not answer.
        state_closed: Limits then let nothing through (``state.on_failure``).
    """

    draining: bool
    overloaded: bool
    ledger_failing: bool
    state_failing: bool = False
    state_closed: bool = False

    def checks(self) -> list[Check]:
        """The same one by one, with what was found and what helps."""
        return [
            _check(
                "draining",
                ("no drain is under way", "relayd drains"),
                "it exits when its sessions have ended; connect to another one",
                ok=not self.draining,
            ),
            _check(
                "overloaded",
                ("bytes are held within limits.hold_max_bytes", "limits.hold_max_bytes is reached"),
                "peers are slower than what is sent to them; add capacity, or raise the limit",
                ok=not self.overloaded,
            ),
            _check(
                "ledger",
                ("rows are written", "rows cannot be written"),
                "see ledger.failed in the log: the disk, or the file's owner",
                ok=not self.ledger_failing,
            ),
            _check(
                "state",
                ("the store of the limits answers", "the store of the limits does not answer"),
                "see state.failed in the log; state.on_failure says what limits do meanwhile",
                ok=not self.state_failing,
                required=self.state_closed,
            ),
        ]


async def account_checks(roster: Roster) -> list[Check]:
    """Whether some account takes sessions, for each dialect that has one enabled.

    relayd is of no use where that holds for no dialect at all. One dialect alone that is left
    without does not stand against it: the others' clients are served.
    """
    enabled: dict[Dialect, int] = {}
    available: dict[Dialect, int] = {}
    slices, now = Slices(), trio.current_time()
    for standing in roster.standings():
        await slices.looked_at()
        for dialect in filter(standing.account.speaks, standing.account.provider.dialects):
            enabled[dialect] = enabled.get(dialect, 0) + standing.account.enabled
            available[dialect] = available.get(dialect, 0) + takes_sessions(standing, now)
    required = not any(available.values())
    checks = [
        _check(
            f"accounts.{dialect}",
            (
                f"{available[dialect]} of {count} accounts take sessions",
                f"none of {count} accounts takes sessions",
            ),
            "`relayd accounts` says why, `relayd doctor` what helps",
            ok=available[dialect] > 0,
            required=required,
        )
        for dialect, count in enabled.items()
        if count
    ]
    if checks:
        return checks
    none = "no account is enabled"
    return [_check("accounts", (none, none), "configure one, and reload", ok=False)]


async def descriptor_check() -> Check:
    """Whether descriptors are left for connections."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = os.stat(_OPEN_FILES).st_size
    if not count:  # Linux before 6.2 does not tell, and a long folder takes long to read
        count = await trio.to_thread.run_sync(lambda: len(os.listdir(_OPEN_FILES)))
    words = f"{count} of {soft} descriptors are open"
    return _check(
        "descriptors",
        (words, words),
        "raise LimitNOFILE, or lower limits.sessions_max",
        ok=count < soft * DESCRIPTORS_USED_MAX,
        required=False,
    )


def _check(
    name: str, words: tuple[str, str], remedy: str, *, ok: bool, required: bool = True
) -> Check:
    """A check with its words for either outcome."""
    message = words[0] if ok else words[1]
    return Check(name, ok, required, message, None if ok else remedy)
