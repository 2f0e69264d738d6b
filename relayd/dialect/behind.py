"""What every "WebSocket behind HTTP" provider shares: the hooks and the values they speak in.

A chat request comes in over HTTP and is answered by an upstream that speaks WebSocket: one socket,
one request, text frames until the upstream says that it is done. A :class:`Provider` knows one kind
of upstream and has no state; :meth:`Provider.begin` makes an :class:`Exchange`, the one request.
Neither does any I/O: text and the time go in, values come out. Dialling, deadlines, the choice of
another account, the client's stream and the ledger are the caller's, the same for every provider.

The order of an exchange, for the caller::

    takes → target → (dial; classify_handshake where there is no 101) → begin
          → opening → feed, frame by frame, until Finished or Faulted → close
          → closed, where the upstream went before that
          → cancelling, then close, where the client went

The first piece decides the HTTP status: a :class:`Faulted` is an error with its own status, any
other one is a 200. A frame that has no pieces decides nothing.
"""

from __future__ import annotations

import enum
import math
from typing import Final, Protocol, TypeAlias, TypeVar

import attrs

from relayd.dialect.chat_errors import error_body
from relayd.dialect.chat_values import ChatRequest
from relayd.dialect.meter import Usage

DAY_S: Final = 86_400


class Retry(enum.StrEnum):
    """What may be tried as long as the client has been sent nothing."""

    NONE = "none"
    SAME_ONCE = "same_once"  # once more at the same account, then at others
    ELSEWHERE = "elsewhere"  # at others


class Effect(enum.StrEnum):
    """What a fault means for the account.

    Only what the upstream does by itself counts against it: a fault that a client can provoke has
    no effect, or one client could close an account to all.
    """

    NONE = "none"
    COOL = "cool"  # it rests, for Fault.cooling_s
    DISABLE = "disable"  # of no use until somebody mends it
    DISABLE_MODEL = "disable_model"  # it cannot serve this model, others it may
    UNREACHABLE = "unreachable"  # the breaker counts it


@attrs.frozen(kw_only=True)
class Fault:
    """Why an exchange comes to nothing: what the client is told, and what follows.

    Not :class:`relayd.core.endings.Fault`, which says who is to blame.

    Attributes:
        status: HTTP's word for it.
        type: ``error.type``.
        code: ``error.code``.
        message: For the client; redacted.
        param: Which member of the request it is about.
        detail: What the upstream said, for the log alone; redacted.
        cool_s: With ``COOL``: how long.
        cool_until_midnight_at: With ``COOL``, instead of ``cool_s``: until the day ends where the
            clock is so many seconds ahead of UTC.
        retry_after_s: What ``Retry-After`` says; ``None``: it is not sent.
        should_retry: What ``x-should-retry`` says; ``None``: it is not sent, and the SDK goes by
            the status. The caller says ``False`` where it has tried everything itself.
        upstream_id: The upstream's name for the request. Fit for a header.
    """

    status: int
    type: str
    code: str
    message: str
    param: str | None = None
    detail: str = ""
    retry: Retry = Retry.NONE
    effect: Effect = Effect.NONE
    cool_s: float = 0.0
    cool_until_midnight_at: int | None = None
    retry_after_s: float | None = None
    should_retry: bool | None = None
    upstream_id: str | None = None

    def cooling_s(self, wall: float) -> float:
        """How long the account is to rest, at ``wall`` in seconds since the epoch."""
        if self.cool_until_midnight_at is None:
            return self.cool_s
        return DAY_S - (wall + self.cool_until_midnight_at) % DAY_S

    def headers(self) -> tuple[tuple[str, str], ...]:
        """The headers of the answer that tell its client, and people, what to do next."""
        headers = []
        if self.retry_after_s is not None:
            headers.append(("Retry-After", str(math.ceil(self.retry_after_s))))
        if self.should_retry is not None:
            headers.append(("x-should-retry", str(self.should_retry).lower()))
        if self.upstream_id is not None:
            headers.append(("x-upstream-sid", self.upstream_id))
        return tuple(headers)

    def body(self) -> bytes:
        """The object that the client is answered with, or is sent in a stream that has begun."""
        return error_body(self.type, self.code, self.message, self.param)


@attrs.frozen
class Skew:
    """The upstream refused the handshake for its date: relayd's clock is off.

    Attributes:
        offset_s: The upstream's clock, less relayd's. Added to the local clock from now on, it
            gives the ``wall`` of :meth:`Provider.target`; then the handshake is tried once more.
        fault: What it is where that has been tried already.
    """

    offset_s: float
    fault: Fault


class FinishReason(enum.StrEnum):
    """``finish_reason`` of an answer."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


# -- pieces of an answer. Each is hot: one is made for each frame.


@attrs.frozen
class Began:
    """The upstream has taken the request and answers. The first piece of an answer, and once.

    Attributes:
        upstream_id: Its name for the request, if it gave one. Fit for a header.
    """

    upstream_id: str | None


@attrs.frozen
class Text:
    """Some of the answer; never empty."""

    text: str = attrs.field(repr=False)


@attrs.frozen
class Reasoning:
    """Some of what the model thinks; never empty."""

    text: str = attrs.field(repr=False)


@attrs.frozen
class ToolCall:
    """A function that the client is to call.

    Attributes:
        arguments: A JSON text as the model wrote it, which may be none.
    """

    name: str
    arguments: str = attrs.field(repr=False)


@attrs.frozen
class Used:
    """What the request used, as the upstream says."""

    usage: Usage


@attrs.frozen
class Finished:
    """The answer is whole, or was cut by a rule; nothing follows."""

    reason: FinishReason


@attrs.frozen
class Faulted:
    """There is no answer, or no more of it; nothing follows."""

    fault: Fault


@attrs.frozen
class More:
    """Text frames to send now, in this order, of protocols that take a request in steps."""

    frames: tuple[bytes, ...] = attrs.field(repr=False)


Piece: TypeAlias = Began | Text | Reasoning | ToolCall | Used | Finished | Faulted | More


AccountT_contra = TypeVar("AccountT_contra", contravariant=True)


# -- the hooks


@attrs.frozen
class Handshake:
    """How a socket to an upstream is asked for.

    Attributes:
        target: Path and query, percent-encoded. Hidden, since it may be signed.
        headers: All that is presented there: nothing is added for the account's key.
        authority: For the Host header, where it is not that of the account's ``base_url``.
    """

    target: str = attrs.field(repr=False)
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    authority: str | None = None


class Exchange(Protocol):
    """One request at one account, on one socket of its own."""

    @property
    def ignored(self) -> tuple[str, ...]:
        """What of the request is not acted on, by name; each may stand in a header."""

    @property
    def upstream_id(self) -> str | None:
        """The upstream's name for the request, once it has said it. Fit for a header."""

    def opening(self) -> tuple[bytes, ...]:
        """The text frames to send when the socket is open. Of one exchange, asked once."""

    def feed(self, frame: bytes) -> tuple[Piece, ...]:
        """What one text frame of the upstream's says.

        It never raises. After :class:`Finished` or :class:`Faulted` it says nothing more.
        """

    def closed(self, code: int | None, reason: str) -> Fault:
        """What it means that the upstream closed, or was lost, before the end.

        Args:
            code: Of its Close; ``None`` where there was none.
        """

    def cancelling(self) -> bytes | None:
        """The text frame to send before the Close when the client has left, if there is one."""


class Provider(Protocol[AccountT_contra]):
    """One kind of upstream. It has no state: one serves all accounts and requests."""

    def takes(self, request: ChatRequest, account: AccountT_contra) -> Fault | None:
        """Why this account cannot be asked this, if so; found without asking it."""

    def target(self, account: AccountT_contra, model: str, wall: float) -> Handshake:
        """Where a socket for the model is to be had, signed where it must be.

        Args:
            model: By the account's name for it.
            wall: The time in seconds since the epoch, with the account's offset (:class:`Skew`).
        """

    def begin(
        self, request: ChatRequest, account: AccountT_contra, model: str, *, attempt: int = 0
    ) -> Exchange:
        """The request at this account, which takes it.

        Args:
            model: By the account's name for it.
            attempt: How often this account has been tried with the request before.
        """

    def classify_handshake(
        self, status: int, body: bytes, date: str | None, wall: float
    ) -> Fault | Skew:
        """What an answer other than a 101 means.

        Args:
            body: What there is of the answer's body.
            date: Its Date header.
            wall: The local clock in seconds since the epoch, without any offset.
        """
