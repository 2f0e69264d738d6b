from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from relayd.config.dialects import HubKeepalive
from relayd.config.hub import HubSettings
from relayd.config.keys import Role
from relayd.config.networks import parse_network
from relayd.config.schema import KeySettings, LimitSettings, Settings
from relayd.config.secret import KeyDigest, Secret
from relayd.config.snapshot import Key, Snapshot
from relayd.core.endings import Reason
from relayd.dialect.hub_topics import Scope
from relayd.hub.shared import Wire
from relayd.session.hub.identity import Identity
from relayd.session.hub.lifetime import (
    WRITE_S,
    deadlines_of,
    still,
    term_of,
    token_terms,
    ttl_of,
)
from relayd.session.hub.tokens import LEEWAY_S
from tests.session.hub.signing import OTHER_SECRET, SECRET

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


def test_a_client_that_takes_nothing_is_slow_sooner_than_elsewhere() -> None:
    term = term_of(None, ends_at=1.0, now=0.0, wall=WALL)
    found = deadlines_of(Wire.COUNCIL, LimitSettings(stall_s=60.0), HubKeepalive(), term)
    assert found.limits.stall_s == WRITE_S == 10.0


# -- another configuration


def kept(**changes: Any) -> Identity | None:  # noqa: ANN401 - as a key has it
    """Who comes with a key that was let in, after it was changed."""
    before = KeySettings(name="dev", secret=KeyDigest.of("key"), tenant="acme")
    (key,) = Snapshot.of(Settings(keys=(before,))).keys.values()
    after = Snapshot.of(Settings(keys=(attrs.evolve(before, **changes),)))
    return still(key, "127.0.0.1", after, WALL)


def test_a_key_that_is_as_it_was_still_opens() -> None:
    found = kept()
    assert found is not None
    assert (found.name, found.scope, found.expires_at) == ("dev", KEY.scope, None)


def test_a_key_may_open_something_else() -> None:
    found = kept(role=Role.OPERATOR, tenant="other")
    assert found is not None
    assert (found.role, found.tenant) == (Role.OPERATOR, "other")


@pytest.mark.parametrize(
    "changes",
    [
        {"enabled": False},
        {"name": "another"},
        {"secret": KeyDigest.of("another")},
        {"dialects": ("realtime",)},
        {"expires": datetime.fromtimestamp(WALL - 1, UTC)},
        {"allowed_ips": (parse_network("10.0.0.0/8"),)},
    ],
)
def test_a_key_that_opens_nothing_any_more(changes: dict[str, Any]) -> None:
    assert kept(**changes) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"jwt_hs256_secret": Secret(OTHER_SECRET)},
        {"jwt_rs256_public_key": "PEM"},
        {"jwt_issuer": "somebody"},
        {"jwt_audience": "us"},
        {"jwt_tenant": "acme"},
    ],
)
def test_tokens_are_shown_again_where_they_are_verified_in_another_way(
    changes: dict[str, Any],
) -> None:
    before = HubSettings(jwt_hs256_secret=Secret(SECRET))
    after = attrs.evolve(before, **changes)
    assert token_terms(after) != token_terms(before)
    assert token_terms(attrs.evolve(before, history_count=1)) == token_terms(before)
