from __future__ import annotations

import pytest

from relayd.core.endings import Fault, Reason, Side
from relayd.dialect.hub_codes import CLOSES
from relayd.session.hub.verdict import HubVerdict


@pytest.mark.parametrize("reason", Reason)
def test_every_ending_has_the_code_of_the_hub_and_a_text(reason: Reason) -> None:
    verdict = HubVerdict()
    verdict.end(reason)
    assert verdict.ending.client_code == CLOSES[reason].code
    assert (verdict.ending.upstream_code, verdict.ending.error_event) == (None, False)
    assert verdict.message == CLOSES[reason].text


def test_what_there_is_to_say_comes_behind() -> None:
    verdict = HubVerdict()
    verdict.end(Reason.POLICY, sender=Side.CLIENT, message="not JSON")
    assert (verdict.message, verdict.sender) == ("bad request: not JSON", Side.CLIENT)


def test_the_first_word_counts() -> None:
    verdict = HubVerdict()
    verdict.end(Reason.CLIENT_SLOW)
    verdict.end(Reason.DRAIN)
    assert (verdict.reason, verdict.ending.client_code) == (Reason.CLIENT_SLOW, 4008)
    assert verdict.ending.fault is Fault.CLIENT
    assert verdict.scope.cancel_called


def test_a_client_that_takes_nothing_is_told_so_too() -> None:
    verdict = HubVerdict()
    verdict.end(Reason.CLIENT_STALLED)
    assert (verdict.ending.client_code, verdict.ending.abort_client) == (4008, False)
