from __future__ import annotations

import attrs

from relayd.config.accounts import AccountSettings
from relayd.config.schema import KeySettings, Settings
from relayd.config.secret import KeyDigest
from relayd.config.snapshot import Snapshot
from relayd.service.difference import NOTHING, Changes, Difference, compared

KEYS = tuple(KeySettings(name=name, secret=KeyDigest.of(f"secret of {name}")) for name in "abc")
ACCOUNTS = tuple(
    AccountSettings(name=name, provider="websocket", base_url=f"ws://{name}.test") for name in "xyz"
)
BEFORE = Snapshot.of(Settings(keys=KEYS, accounts=ACCOUNTS))


def test_what_is_new_other_and_gone_is_told_by_name() -> None:
    before = {"same": 1, "other": 2, "gone": 3}
    after = {"new": 0, "same": 1, "other": 3}

    assert compared(before, after) == Changes(added=("new",), changed=("other",), removed=("gone",))


def test_the_same_file_read_again_changes_nothing() -> None:
    again = Snapshot.of(Settings(keys=KEYS[::-1], accounts=ACCOUNTS[::-1]))

    assert Difference.between(BEFORE, again) == NOTHING


def test_a_key_with_another_secret_has_changed_and_a_disabled_one_is_gone() -> None:
    a, b, _ = KEYS
    other = attrs.evolve(a, secret=KeyDigest.of("another secret"))
    new = KeySettings(name="d", secret=KeyDigest.of("secret of d"))
    after = Snapshot.of(
        Settings(keys=(other, attrs.evolve(b, enabled=False), new), accounts=ACCOUNTS)
    )

    difference = Difference.between(BEFORE, after)

    assert difference.keys == Changes(added=("d",), changed=("a",), removed=("b", "c"))
    assert difference.accounts == Changes()


def test_an_account_that_is_enabled_again_is_new() -> None:
    x, *others = ACCOUNTS
    off = Snapshot.of(Settings(accounts=(attrs.evolve(x, enabled=False), *others)))

    assert Difference.between(BEFORE, off).accounts == Changes(removed=("x",))
    assert Difference.between(off, BEFORE).accounts == Changes(added=("x",))


def test_listeners_are_told_as_they_are() -> None:
    difference = Difference.between(
        BEFORE, BEFORE, listeners_added=("127.0.0.1:1",), listeners_removed=("127.0.0.1:2",)
    )

    assert difference == Difference(
        listeners_added=("127.0.0.1:1",), listeners_removed=("127.0.0.1:2",)
    )
