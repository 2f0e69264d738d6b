"""The meter that allows everything and counts it."""

from __future__ import annotations

import math

from relayd.dialect.meter import Charge, CountingMeter, Refuse, Ticket, Turn, TurnAsk, Usage, Wait

ASK = TurnAsk(now=1.0, expected=Usage(source="response", estimated=True))


def turn(usage: Usage | None) -> Turn:
    return Turn(
        number=1,
        turn_id="resp_1",
        reason="completed",
        asked_at=1.0,
        first_output_at=None,
        ended_at=2.0,
        usage=usage,
    )


def ticket_of(answer: Ticket | Refuse | Wait) -> Ticket:
    assert not isinstance(answer, Refuse | Wait)
    return answer


def test_every_turn_is_allowed_and_every_usage_is_counted() -> None:
    meter = CountingMeter()
    meter.opened(1.0)
    meter.told("gpt-realtime", None)
    spoken, cut = (
        Usage(source="response", input_total=3, output_total=5),
        Usage(source="response", input_total=10, output_total=1),
    )

    assert ticket_of(meter.turn_asked(ASK)).settle(turn(spoken)) == Charge(usage=spoken)
    assert meter.turn_begun(ASK).settle(turn(cut)) == Charge(usage=cut)
    assert meter.turn_begun(ASK).settle(turn(None)) == Charge(usage=None)
    ticket_of(meter.turn_asked(ASK)).void()
    meter.transcribed(Usage(source="transcription", seconds=2.0, input_total=4), 2.0)
    assert meter.look(3.0) == math.inf
    meter.ended("client_closed", 4.0)

    assert (meter.tokens_in, meter.tokens_out, meter.cost_usd) == (17, 6, None)


def test_cached_tokens_of_every_kind_add_up() -> None:
    assert Usage(source="response", cached_text=1, cached_audio=2, cached_image=4).cached_total == 7
