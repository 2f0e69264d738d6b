"""How two configurations differ, in the names that operators gave, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Self

import attrs

from relayd.config.mistakes import Mistake
from relayd.config.snapshot import Account, Key, Snapshot


@attrs.frozen(kw_only=True)
class Changes:
    """What is new, other and gone, by name; what is disabled counts as not there."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Difference:
    """What a new configuration changes.

    Attributes:
        keys: Clients' keys. One with another secret has changed.
        accounts: Upstreams.
        listeners_added: Bound addresses, as ``listeners_removed``.
    """

    keys: Changes = attrs.field(factory=Changes)
    accounts: Changes = attrs.field(factory=Changes)
    listeners_added: tuple[str, ...] = ()
    listeners_removed: tuple[str, ...] = ()

    @classmethod
    def between(
        cls,
        before: Snapshot,
        after: Snapshot,
        *,
        listeners_added: tuple[str, ...] = (),
        listeners_removed: tuple[str, ...] = (),
    ) -> Self:
        """What has to change for ``after`` to be in force instead of ``before``."""
        return cls(
            keys=compared(_keys(before), _keys(after)),
            accounts=compared(_accounts(before), _accounts(after)),
            listeners_added=listeners_added,
            listeners_removed=listeners_removed,
        )


NOTHING: Final = Difference()


def compared(before: Mapping[str, object], after: Mapping[str, object]) -> Changes:
    """How the values of two mappings differ, by their names."""
    return Changes(
        added=tuple(name for name in after if name not in before),
        changed=tuple(name for name in after if name in before and before[name] != after[name]),
        removed=tuple(name for name in before if name not in after),
    )


def _keys(snapshot: Snapshot) -> dict[str, Key]:
    return {key.name: key for key in snapshot.keys.values() if key.enabled}


def _accounts(snapshot: Snapshot) -> dict[str, Account]:
    return {account.name: account for account in snapshot.accounts if account.enabled}


@attrs.frozen(kw_only=True)
class ReloadOutcome:
    """What came of a reload.

    Attributes:
        mistakes: Why nothing was changed; empty: the new configuration is in force.
        difference: What it changed.
        postponed: The settings that are used at the start, and are not as they were then.
        listen: The bound public addresses, as they are now.
        duration_ms: From the request to the end, the wait for an earlier one included.
    """

    mistakes: tuple[Mistake, ...] = ()
    difference: Difference = NOTHING
    postponed: tuple[str, ...] = ()
    listen: tuple[str, ...] = ()
    duration_ms: float = 0.0

    @property
    def applied(self) -> bool:
        """Whether the new configuration is in force."""
        return not self.mistakes
