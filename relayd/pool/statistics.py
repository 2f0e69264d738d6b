"""A pool at one moment, for people and metrics, in PgBouncer's words (``SHOW POOLS``)."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class AccountPool:
    """The sockets and acquirers of one account.

    Attributes:
        account: Its name.
        cl_active: Leases that are held.
        cl_waiting: Acquirers who wait for a slot. A number that stays above zero says that
            ``slots_max`` is too low for what is asked, or that turns hang.
        sv_active: Sockets that are leased, or about to be.
        sv_idle: Sockets that nobody uses.
        sv_tested: Sockets that were silent for long and must answer before they are leased.
        sv_login: Sockets that are being opened.
        maxwait_s: How long the first of those who wait has waited.
        slots_max: How many sockets there may be.
        leases: Leases given so far, and how many of them on a socket that had served another.
    """

    account: str
    cl_active: int
    cl_waiting: int
    sv_active: int
    sv_idle: int
    sv_tested: int
    sv_login: int
    maxwait_s: float
    slots_max: int
    leases: int
    reused: int
