from __future__ import annotations

from datetime import UTC, datetime

import attrs
import pytest

from relayd.config.dialects import HubKeepalive
from relayd.config.keys import Role
from relayd.config.schema import LimitSettings
from relayd.config.snapshot import Key
from relayd.core.endings import Reason
from relayd.dialect.hub_topics import Scope
from relayd.hub.shared import Wire
from relayd.session.hub.identity import Identity
from relayd.session.hub.lifetime import deadlines_of, term_of, ttl_of
from relayd.session.hub.tokens import LEEWAY_S

WALL = 1_800_000_000.0
TOKEN = Identity(
    name="jwt:alice",
    tenant="acme",
    role=Role.USER,
    scope=Scope(tenant="acme"),
    expires_at=WALL + 60,
)
KEY = Identity.of_key(
    Key(
        name="dev",
        tenant="acme",
        digest=bytes(32),
        expires=datetime.fromtimestamp(WALL + 60, UTC),
    )
)


def end_of(identity: Identity | None, *, ends_at: float = 1000.0) -> tuple[float, Reason]:
    term = term_of(identity, ends_at=ends_at, now=100.0, wall=WALL)
    return term.at, term.reason


@pytest.mark.parametrize("identity", [None, attrs.evolve(TOKEN, expires_at=None)])
def test_who_does_not_expire_stays_for_as_long_as_a_session_may(identity: Identity | None) -> None:
    assert end_of(identity) == (1000.0, Reason.SESSION_MAX_AGE)


def test_a_key_ends_its_session_when_it_expires() -> None:
    assert end_of(KEY) == (160.0, Reason.KEY_EXPIRED)
    assert end_of(KEY, ends_at=150.0) == (150.0, Reason.SESSION_MAX_AGE)


def test_a_token_may_be_replaced_for_a_while_after_it_has_expired() -> None:
    assert end_of(TOKEN) == (160.0 + LEEWAY_S, Reason.KEY_EXPIRED)


def test_only_who_has_a_token_is_asked_for_another() -> None:
    assert ttl_of(TOKEN, WALL) == 60
    assert ttl_of(TOKEN, WALL + 59.9) == ttl_of(TOKEN, WALL + 70) == 1
    assert ttl_of(KEY, WALL) is None


@pytest.mark.parametrize(("wire", "ping_s"), [(Wire.COUNCIL, 25.0), (Wire.CENTRIFUGE, 35.0)])
def test_a_silent_client_is_gone_after_a_ping_and_the_time_for_its_answer(
    wire: Wire, ping_s: float
) -> None:
    term = term_of(None, ends_at=1.0, now=0.0, wall=WALL)
    found = deadlines_of(wire, LimitSettings(stall_s=3.0), HubKeepalive(), term)
    assert (found.limits.keepalive_s, found.limits.keepalive_timeout_s) == (ping_s, 35.0)
    assert (found.limits.stall_s, found.term) == (3.0, term)
