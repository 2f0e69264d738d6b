"""Whether a server's answer is of use to a device, and what the device is told then."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from relayd.config.snapshot import Account
from relayd.dialect.xiaozhi_ota import BadReply, Offer, Rewritten, rewrite
from relayd.routing.classify import unreachable
from relayd.service.xiaozhi.asking import Answered
from relayd.session.attempts import AttemptFailed
from relayd.session.xiaozhi.websocket import refuses_of

PASSED_ON: Final = (range(200, 300), range(400, 500))
"""Statuses of an activation that are for the device to hear: 202 lets it ask again."""


def told(account: Account, answered: Answered, *, url: str, token: str) -> Rewritten:
    """What a device is told of a server's answer to ``/xiaozhi/ota/``.

    Args:
        account: Whose answer it is.
        answered: The answer.
        url: Where relayd's WebSocket is.
        token: relayd's, for this device.

    Raises:
        AttemptFailed: It is none that could be rewritten. Nothing of it may reach a device, which
            would go past relayd from then on.
    """
    if answered.status != HTTPStatus.OK:
        raise _of_no_use(answered)
    offer = Offer(url=url, token=token, keep_mqtt=account.xiaozhi.keep_mqtt)
    try:
        return rewrite(answered.body, offer, refuses=refuses_of(account))
    except BadReply as bad:
        raise AttemptFailed(unreachable("malformed_response", f"its answer: {bad}")) from None


def passed_on(account: Account, answered: Answered) -> Answered:
    """An answer to an activation, which is the device's as it is.

    Raises:
        AttemptFailed: It says that the server erred, or that it is elsewhere.
    """
    if any(answered.status in statuses for statuses in PASSED_ON):
        return answered
    raise _of_no_use(answered)


def _of_no_use(answered: Answered) -> AttemptFailed:
    status = answered.status
    return AttemptFailed(unreachable(f"http_{status}", f"the server answered with {status}"))
