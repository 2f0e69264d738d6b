"""What time it is at upstreams."""

from __future__ import annotations

from relayd.observe.events import LogEvent
from relayd.session.chat.clocks import SAME_S, Clocks
from tests.conftest import LogLines
from tests.session.chat import accounts


def test_upstreams_whose_clock_is_not_known_have_ours() -> None:
    clocks = Clocks(lambda: 1000.0)
    assert clocks.time_at("one") == 1000.0
    assert clocks.offset_of("one") == 0.0


def test_an_offset_is_kept_for_its_account_and_logged_once(log_lines: LogLines) -> None:
    clocks = Clocks(lambda: 1000.0)
    clocks.skewed("one", 3600.04)
    clocks.skewed("one", 3600.0 - SAME_S / 2)
    assert clocks.time_at("one") == 4600.0 - SAME_S / 2
    assert clocks.time_at("two") == 1000.0
    (line,) = log_lines.of(LogEvent.CLOCK_SKEWED)
    assert (line["account"], line["offset_s"]) == ("one", 3600.0)


def test_another_offset_is_news_and_so_is_none(log_lines: LogLines) -> None:
    clocks = Clocks(lambda: 1000.0)
    for offset_s in (3600.0, -600.0, 0.0):
        clocks.skewed("one", offset_s)
    offsets = [line["offset_s"] for line in log_lines.of(LogEvent.CLOCK_SKEWED)]
    assert offsets == [3600.0, -600.0, 0.0]


def test_accounts_that_are_gone_are_forgotten(log_lines: LogLines) -> None:
    clocks = Clocks(lambda: 1000.0)
    clocks.skewed("one", 60.0)
    clocks.skewed("two", 60.0)
    clocks.apply([accounts.spark("two")])
    assert (clocks.offset_of("one"), clocks.offset_of("two")) == (0.0, 60.0)
