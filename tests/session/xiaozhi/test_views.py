"""What others see of a device's session."""

from __future__ import annotations

import attrs

from relayd.dialect.xiaozhi_usage import UTTERANCE_S, UsageMeter
from relayd.session.xiaozhi.views import DeviceTurns, Downstream


@attrs.define
class Server:
    passed: tuple[int, int] = (0, 0)


def test_what_several_servers_sent_is_counted_together() -> None:
    said = [1, 10]
    seen = Downstream(said)

    seen.carrier = Server((2, 20))
    assert (seen.messages, seen.bytes) == (3, 30)
    seen.gone()
    seen.gone()
    seen.carrier = Server((4, 40))
    said[0] += 1

    assert (seen.messages, seen.bytes) == (8, 70)


def test_a_device_is_busy_while_it_is_answered() -> None:
    usage = UsageMeter()
    turns = DeviceTurns(usage, lambda: 1.0)

    before = turns.busy
    usage.heard(1.0)

    assert (before, turns.busy, turns.busy_since) == (False, True, None)


def test_a_device_is_busy_while_it_is_heard_but_not_for_ever() -> None:
    usage = UsageMeter()
    now = 1.0
    turns = DeviceTurns(usage, lambda: now)

    usage.listening(now)
    assert turns.busy
    now += UTTERANCE_S
    assert not turns.busy
    usage.stopped(now)
    assert turns.busy
    usage.aborted(now)
    assert not turns.busy
