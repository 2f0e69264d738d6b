"""The right to use one socket for a while."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Protocol, Self

from relayd.config.snapshot import Account
from relayd.pool.claims import Claim
from relayd.pool.events import Broken
from relayd.pool.identity import SlotRef
from relayd.pool.slots import Slot
from relayd.transport.endpoint import Endpoint


class Keeper(Protocol):
    """Whoever gave a lease and takes its socket back."""

    def take_back(self, lease: Lease, now: float) -> bool:
        """The lease is over; whether its socket was clean."""

    def cut(self, lease: Lease, reason: str) -> None:
        """The lease is over, and its socket with it."""


class Lease:
    """A context manager: leaving it without :meth:`yield_` breaks the socket.

    The endpoint's events go to the holder. Its reader is still the idle policy and it is armed only
    if it was used before: before its next await the holder puts its own reader into the flow, then
    attaches and arms the endpoint, which does nothing where it is armed already. When the lease is
    over, it does nothing more with it.

    Attributes:
        account: Where the socket leads.
        slot: The slot's number.
        generation: Which of the slot's sockets it is.
        token: Random; the slot's owner while the lease lasts.
        endpoint: The socket.
        reused: Whether it has served another lease before.
        waited_s: How long a slot was waited for; 0.0 where one was free.
        dial_s: How long opening it took; ``None`` where it was open.
        began: When the lease was given.
    """

    __slots__ = (
        "_claim",
        "_keeper",
        "_slot",
        "account",
        "began",
        "dial_s",
        "endpoint",
        "generation",
        "is_over",
        "reused",
        "slot",
        "token",
        "waited_s",
    )

    def __init__(
        self,
        keeper: Keeper,
        account: Account,
        claim: Claim[Endpoint],
        *,
        reused: bool,
        waited_s: float,
        dial_s: float | None,
        began: float,
    ) -> None:
        slot = claim.slot
        assert slot is not None, "a lease has a slot"
        assert slot.socket is not None, "a leased slot has a socket"
        self._keeper = keeper
        self._claim: Final = claim
        self._slot: Final[Slot[Endpoint]] = slot
        self.account: Final = account
        self.slot: Final = slot.number
        self.generation: Final = slot.generation
        self.token: Final = claim.owner
        self.endpoint: Final = slot.socket
        self.reused: Final = reused
        self.waited_s: Final = waited_s
        self.dial_s: Final = dial_s
        self.began: Final = began
        self.is_over = False

    def __repr__(self) -> str:
        state = "over" if self.is_over else "held"
        return f"<Lease {self.account.name} {self.slot}.{self.generation} {state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.is_over:
            self.break_(Broken.ABANDONED)

    @property
    def claim(self) -> Claim[Endpoint]:
        """For the keeper."""
        return self._claim

    def ref(self) -> SlotRef:
        """What to remember, to ask for the same socket later."""
        return SlotRef(self.slot, self.generation)

    def use_lane(self, name: str | None) -> bool:
        """Note that ``name`` is used as ``stream_id`` on the socket.

        Returns:
            ``False``, and nothing is noted, where it would be the 33rd name.
        """
        assert not self.is_over, "the lease is over"
        return self._slot.use_lane(name)

    def yield_(self, now: float) -> bool:
        """Give the socket back, after the terminal event of every lane.

        The next one has it, or it is kept; where it is too old, or not wanted any more, it is
        closed in good order. It is detached from its client.

        Returns:
            ``False`` where it was not clean: it is broken, and closed.
        """
        assert not self.is_over, "a lease ends once"
        self.is_over = True
        return self._keeper.take_back(self, now)

    def break_(self, reason: str) -> None:
        """Close the socket at once.

        Args:
            reason: The word for the log, of a bounded set.
        """
        assert not self.is_over, "a lease ends once"
        self.is_over = True
        self._keeper.cut(self, reason)
