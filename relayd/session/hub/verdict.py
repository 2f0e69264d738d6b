"""How a session of the hub ends: the words of every session, with the close codes of the hub."""

from __future__ import annotations

import attrs

from relayd.core.endings import Ending, Reason, Side
from relayd.dialect.hub_codes import CLOSES
from relayd.session.verdict import Verdict


@attrs.define
class HubVerdict(Verdict):
    """The one ending of one session of the hub."""

    def end(
        self,
        reason: Reason,
        *,
        sender: Side | None = None,
        code: int | None = None,
        text: str = "",
        message: str = "",
    ) -> None:
        """See :class:`~relayd.session.verdict.Verdict`.

        The close reason always begins with the hub's own words: clients read a code only where
        there is one, and what stands in ``message`` comes behind them.
        """
        told = CLOSES[reason].text
        message = f"{told}: {message}" if message else told
        super().end(reason, sender=sender, code=code, text=text, message=message)

    @property
    def ending(self) -> Ending:
        """What the reason means, with the hub's close code and without an upstream.

        A client that takes nothing is told so too, and reset only where it does not take that
        (:mod:`relayd.session.hub.patience`).
        """
        assert self.reason is not None, "the session has not ended"
        return attrs.evolve(
            super().ending,
            client_code=CLOSES[self.reason].code,
            upstream_code=None,
            abort_client=False,
            error_type=None,
        )
