"""What the door asks of a dialect whose sessions are WebSockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeAlias, TypeVar

from relayd.config.snapshot import Snapshot
from relayd.core.refusals import Refusal, RefusalCode, not_fatal
from relayd.protocol.outcomes import EndOfStream, Event
from relayd.protocol.upgrade import UpgradeRequest, response_101
from relayd.service.entrance import DRAINING
from relayd.service.visit import Refused, Visit
from relayd.session.admission import Grant, Quota, RefusedAdmission
from relayd.session.books import LEDGER_UNAVAILABLE
from relayd.session.hub.session import HubSession
from relayd.session.responses.session import ResponsesSession
from relayd.session.session import Session
from relayd.session.xiaozhi.session import XiaozhiSession
from relayd.transport.endpoint import Endpoint

_LEDGER_UNAVAILABLE: Final = Refusal(
    RefusalCode.LEDGER_UNAVAILABLE, LEDGER_UNAVAILABLE.message, retry_after_s=5.0
)

T = TypeVar("T")
G = TypeVar("G")

GONE: Final = Refusal(RefusalCode.CLIENT_GONE, "The client left before the 101.")

AnySession: TypeAlias = Session | ResponsesSession | HubSession | XiaozhiSession


class House(Protocol):
    """What entries ask of the door."""

    @property
    def draining(self) -> bool:
        """Whether nobody is let in any more."""

    @property
    def quota(self) -> Quota:
        """What limits sessions beyond what a request says about itself."""

    @property
    def accepts_turns(self) -> bool:
        """Whether what turns cost can be written down."""

    def client(self, visit: Visit) -> Endpoint:
        """The accepted connection, adopted by the reactor until ``visit`` leaves."""


class Opening(Protocol):
    """An upgrade that was admitted, and may become a session."""

    @property
    def grant(self) -> Grant:
        """What its client may do."""

    async def open(self, visit: Visit, house: House) -> AnySession:
        """The session, whose 101 is on its way; it does not run yet.

        Args:
            visit: What is held for the session is added to its ``holdings``, and it is settled.
            house: May have begun to drain by now.

        Raises:
            Refused: It cannot be opened; nothing was written.

        Cancelling it opens nothing.
        """


Decide: TypeAlias = Callable[[UpgradeRequest, str, Snapshot, float, float], T | RefusedAdmission]
"""Decides about an upgrade by what it says and what the configuration allows, and waits for
nothing. Takes the upgrade; where it comes from, an IP address, else a word for a socket without
one; the configuration that holds for the whole session; ``trio.current_time()``; and seconds since
the epoch."""

Entry: TypeAlias = Decide[Opening]
"""The way into the sessions of a dialect."""


def entry_of(decide: Decide[G], opening: Callable[[G, UpgradeRequest, Snapshot], Opening]) -> Entry:
    """The way in where ``decide`` admits, and ``opening`` goes on with what that granted."""

    def admit(
        request: UpgradeRequest, client_address: str, snapshot: Snapshot, now: float, wall: float
    ) -> Opening | RefusedAdmission:
        granted = decide(request, client_address, snapshot, now, wall)
        if isinstance(granted, RefusedAdmission):
            return granted
        return opening(granted, request, snapshot)

    return admit


def check_books(house: House) -> None:
    """Raise :class:`Refused` where turns, which cost something, could not be written down."""
    if not house.accepts_turns:
        raise Refused(_LEDGER_UNAVAILABLE)


async def take_quota(visit: Visit, grant: Grant, house: House, *, is_final: bool = True) -> None:
    """Count the session among those that there may be, until ``visit`` leaves.

    Args:
        visit: Gets what gives it back.
        grant: Of the session.
        house: Whose quota it is.
        is_final: Whether the client's SDK takes a refusal for good where it says so.

    Raises:
        Refused: There are as many as there may be.
    """
    lease = await house.quota.take(grant)
    if isinstance(lease, Refusal):
        raise Refused(lease if is_final else not_fatal(lease))
    visit.holdings.append(lease.release)


def answer(
    visit: Visit, client: Endpoint, request: UpgradeRequest, subprotocol: str | None, house: House
) -> None:
    """Let the 101 be the first that ``client`` is sent: what follows is a session.

    Raises:
        Refused: relayd has begun to drain while the session was prepared.
    """
    if house.draining:
        raise Refused(DRAINING)
    visit.settled = True
    client.sink.preface(response_101(request.key, subprotocol))


def not_waiting(event: Event) -> Refusal:
    """Why a client that did something before its 101 gets none."""
    if isinstance(event, EndOfStream):
        return GONE
    message = "Bytes followed the request; wait for the 101 before sending frames."
    return Refusal(RefusalCode.EARLY_BYTES, message)
