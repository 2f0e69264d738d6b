"""What the turns of one session have in common."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from relayd.config.snapshot import Account, Snapshot
from relayd.pool.identity import Identity
from relayd.session.admission import Grant
from relayd.session.responses.accounting import Purse
from relayd.session.responses.holders import Holders
from relayd.session.responses.identity import identity_of, session_name
from relayd.session.responses.patience import Patience
from relayd.session.responses.shared import Shared


@attrs.define(eq=False, kw_only=True)
class Desk:
    """One per session.

    Attributes:
        session_id: The session's name, or the HTTP request's.
        snapshot: The configuration that it keeps.
        say: Sends one event to the client.
        patience: Looks after its turns' time.
        session_name: What the client calls its session, if it says so.
    """

    shared: Shared
    grant: Grant
    session_id: str
    snapshot: Snapshot
    purse: Purse
    holders: Holders
    say: Callable[[bytes], None]
    patience: Patience = attrs.field(init=False)
    session_name: str | None = attrs.field(init=False)
    _last: tuple[Account, Identity] | None = attrs.field(default=None, init=False)
    _permitted: str | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        settings = self.snapshot.settings
        self.patience = Patience(
            times=settings.dialects.responses,
            stall_s=settings.limits.stall_s,
            nursery=self.holders.nursery,
        )
        self.session_name = session_name(self.grant.forward_headers)

    def permits(self, model: str) -> bool:
        """Whether its key may use the model. Most turns ask for that of the one before."""
        if model == self._permitted:
            return True
        if not self.grant.key.permits_model(model):
            return False
        self._permitted = model
        return True

    def identity(self, account: Account) -> Identity:
        """Which of the account's sockets it may use. Most turns go where the one before went."""
        if self._last is not None and self._last[0] is account:
            return self._last[1]
        identity = identity_of(self.grant, account, self.session_id)
        self._last = account, identity
        return identity
