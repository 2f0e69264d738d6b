"""What the meters of all sessions share, and what they tell a client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import attrs

from relayd.core.endings import Reason
from relayd.core.redact import redact
from relayd.dialect.meter import Refuse
from relayd.ledger.writer import Ledger
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.session.limits import Limits

log = get_logger()

UNPRICED_MAX: Final = 1024
"""Models without a price that are remembered as told; their names come from peers."""

LEDGER_UNAVAILABLE: Final = Refuse(
    "server_error",
    "ledger_unavailable",
    "relayd cannot write down what is used just now, so it starts nothing new; try again shortly.",
)
NOT_PRICED: Final = Refuse(
    "invalid_request_error",
    "model_not_priced",
    "This key has a budget and the model has no price, so it cannot be used with it. The operator"
    " can add a price, or use a key without a budget.",
)


class Leave(Protocol):
    """Ends a session when no response runs any more."""

    def __call__(self, reason: Reason, refuse: Refuse, *, told: bool = False) -> None:
        """See :meth:`relayd.session.session.Session.run_out`."""


def stay(reason: Reason, refuse: Refuse, *, told: bool = False) -> None:
    """What becomes of it where there is no session yet: nothing."""


def unheard(_: object) -> None:
    """Who hears of it where there is no session yet: nobody."""


@attrs.define(eq=False)
class Books:
    """What all sessions' meters share.

    Attributes:
        wall: Seconds since the epoch.
        unpriced: Models that were reported as having no price.
    """

    ledger: Ledger
    limits: Limits
    wall: Callable[[], float]
    unpriced: set[str] = attrs.field(factory=set, init=False)

    def tell_unpriced(self, model: str, account: str) -> None:
        """Say once that ``model`` has no price."""
        if model in self.unpriced or len(self.unpriced) >= UNPRICED_MAX:
            return
        self.unpriced.add(model)
        message = "its cost is recorded as unknown; add a price to the prices file"
        log.warning(LogEvent.MODEL_UNPRICED, model=redact(model), account=account, message=message)
