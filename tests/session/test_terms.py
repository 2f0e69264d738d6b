"""For how long a session may go on."""

from __future__ import annotations

import datetime

import attrs
import pytest

from relayd.config.accounts import AccountSettings
from relayd.config.schema import KeySettings, Settings
from relayd.config.secret import KeyDigest
from relayd.config.snapshot import Key, Snapshot
from relayd.core.endings import ENDINGS, Reason
from relayd.session.terms import account_removed, removed, term_of

NOON = datetime.datetime(2026, 11, 1, 12, tzinfo=datetime.UTC)
WALL = NOON.timestamp()
KEY = Key(name="dev", tenant="t", digest=KeyDigest.of("a-secret").sha256)


def test_a_key_without_an_expiry_leaves_the_session_its_age() -> None:
    term = term_of(KEY, 100.0, 3600.0, WALL)

    assert (term.at, term.reason) == (3700.0, Reason.SESSION_MAX_AGE)


@pytest.mark.parametrize(
    ("minutes", "at", "reason"),
    [
        (30, 1900.0, Reason.KEY_EXPIRED),
        (60, 3700.0, Reason.SESSION_MAX_AGE),
        (90, 3700.0, Reason.SESSION_MAX_AGE),
    ],
)
def test_the_sooner_of_age_and_expiry_counts(minutes: int, at: float, reason: Reason) -> None:
    key = attrs.evolve(KEY, expires=NOON + datetime.timedelta(minutes=minutes))

    term = term_of(key, 100.0, 3600.0, WALL)

    assert (term.at, term.reason) == (at, reason)


def test_who_asks_after_the_expiry_hears_when_it_was() -> None:
    key = attrs.evolve(KEY, expires=NOON)

    refuse = term_of(key, 100.0, 3600.0, WALL - 1).refuse

    assert (refuse.kind, refuse.code) == (ENDINGS[Reason.KEY_EXPIRED].error_type, "key_expired")
    assert "2026-11-01T12:00:00+00:00" in refuse.message


def snapshot(*keys: KeySettings) -> Snapshot:
    return Snapshot.of(Settings(keys=keys))


SETTINGS = KeySettings(name="dev", secret=KeyDigest.of("a-secret"))


@pytest.mark.parametrize(
    ("keys", "gone"),
    [
        ((SETTINGS,), False),
        ((attrs.evolve(SETTINGS, models=("other",)),), False),
        ((), True),
        ((attrs.evolve(SETTINGS, enabled=False),), True),
        ((attrs.evolve(SETTINGS, secret=KeyDigest.of("another")),), True),
        ((attrs.evolve(SETTINGS, name="heir", tenant="t"),), True),
    ],
    ids=["kept", "changed", "removed", "disabled", "another secret", "another's secret"],
)
def test_a_key_is_removed_when_it_opens_nothing_as_itself(
    keys: tuple[KeySettings, ...], gone: bool
) -> None:
    assert removed(KEY, snapshot(*keys)) is gone


def test_an_account_that_is_gone_or_disabled_takes_no_sessions_any_more() -> None:
    on = AccountSettings(name="on", provider="openai")
    accounts = (on, attrs.evolve(on, name="off", enabled=False))
    current = Snapshot.of(Settings(accounts=accounts))

    names = ("on", "off", "gone")
    assert [account_removed(name, current) for name in names] == [False, True, True]
