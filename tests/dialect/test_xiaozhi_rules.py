"""Which endings reconnect, and after how long."""

from __future__ import annotations

import pytest

from relayd.dialect.xiaozhi_actions import Hangup, Loss
from relayd.dialect.xiaozhi_rules import HANGUP_REASONS, delay_s, may_reconnect


@pytest.mark.parametrize("code", [1006, 1011, 1012, 1013])
def test_a_server_in_trouble_is_replaced(code: int) -> None:
    assert may_reconnect(Loss.CLOSED, code)


@pytest.mark.parametrize("code", [None, 1000, 1001, 1002, 1008, 1009, 3000, 4001])
def test_a_server_that_has_decided_is_not(code: int | None) -> None:
    assert not may_reconnect(Loss.CLOSED, code)


@pytest.mark.parametrize("loss", [Loss.CONNECTION, Loss.TIMEOUT])
def test_a_connection_that_is_lost_is_replaced(loss: Loss) -> None:
    assert may_reconnect(loss, None)


def test_the_delay_grows_by_two_seconds_up_to_thirty() -> None:
    assert [delay_s(number) for number in (1, 2, 3, 15, 16, 1000)] == [2, 4, 6, 30, 30, 30]


def test_every_way_to_give_a_server_up_is_a_reason() -> None:
    assert HANGUP_REASONS.keys() == set(Hangup)
