"""Events of the bus, for whoever tells of them."""

from __future__ import annotations

from decimal import Decimal

import attrs

from relayd.observe.bus import (
    AccountChanged,
    AccountFailed,
    AccountStanding,
    SessionEnded,
    SessionFacts,
    SessionFailedOver,
    SessionOpened,
    TurnEnded,
    TurnFirstOutput,
    TurnRefused,
    TurnStarted,
    TurnToolCalled,
    UpstreamConnected,
    UsageCharged,
)

FACTS = SessionFacts(
    session_id="sess_1", dialect="realtime", key="dev", tenant="acme", account="main", model="voice"
)


def facts(**more: str | None) -> SessionFacts:
    """Of a session that differs from the usual one."""
    return attrs.evolve(FACTS, **more)  # type: ignore[arg-type]  # names and texts, as they are


def opened(whose: SessionFacts = FACTS) -> SessionOpened:
    """A session begins."""
    return SessionOpened(session=whose, admission_ms=120.04, connect_ms=80.0, first_frame_ms=None)


def over(whose: SessionFacts = FACTS) -> SessionEnded:
    """A session is over."""
    return SessionEnded(
        session=whose,
        reason="client_closed",
        fault="none",
        duration_s=12.5,
        turns=2,
        messages_up=3,
        messages_down=4,
        bytes_up=30,
        bytes_down=40,
        tokens_in=5,
        tokens_out=6,
        cost_usd=Decimal("0.25"),
    )


def turn(
    whose: SessionFacts = FACTS, reason: str = "completed", ttft_ms: float | None = None
) -> TurnEnded:
    """A turn is over."""
    return TurnEnded(
        session=whose,
        turn_id="resp_1",
        reason=reason,
        ttft_ms=ttft_ms,
        duration_ms=900.0,
        tokens_in=7,
        tokens_out=8,
        cost_usd=None,
    )


def charged(
    whose: SessionFacts = FACTS,
    *,
    cost_usd: Decimal | None = None,
    tokens_in: int = 0,
    tokens_out: int = 0,
    model: str | None = "gpt-realtime",
    source: str = "response",
) -> UsageCharged:
    """Something was used."""
    return UsageCharged(
        session=whose,
        source=source,
        upstream_model=model,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        tokens_in_text=tokens_in,
        tokens_in_audio=0,
        tokens_in_image=0,
        tokens_in_cached_text=0,
        tokens_in_cached_audio=0,
        tokens_in_cached_image=0,
        tokens_out_text=tokens_out,
        tokens_out_audio=0,
        cost_usd=cost_usd,
    )


def connected(whose: SessionFacts = FACTS) -> UpstreamConnected:
    """A socket was opened to an upstream."""
    return UpstreamConnected(session=whose, wait_ms=80.04)


def failed_over(whose: SessionFacts = FACTS) -> SessionFailedOver:
    """An account has failed."""
    return SessionFailedOver(session=whose, account_from="first", reason="server_error")


def started(whose: SessionFacts = FACTS) -> TurnStarted:
    """A turn begins."""
    return TurnStarted(session=whose, turn_id="resp_1")


def first_output(whose: SessionFacts = FACTS) -> TurnFirstOutput:
    """It has output."""
    return TurnFirstOutput(session=whose, turn_id="resp_1", ttft_ms=250.0)


def tool_called(whose: SessionFacts = FACTS) -> TurnToolCalled:
    """It calls a tool."""
    return TurnToolCalled(session=whose, turn_id="resp_1", name="look_up", call_id="call_1")


def refused(whose: SessionFacts = FACTS) -> TurnRefused:
    """A turn was not allowed."""
    return TurnRefused(session=whose, reason="rate_limit_exceeded")


def failed() -> AccountFailed:
    """An account has failed."""
    return AccountFailed(account="main", dialect="realtime", reason="server_error")


def changed(retry_in_s: float | None = 30.0) -> AccountChanged:
    """An account rests."""
    state = AccountStanding.OPEN
    return AccountChanged(account="main", state=state, reason="limited", retry_in_s=retry_in_s)
