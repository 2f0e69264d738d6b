"""The meter that allows everything and counts it."""

from __future__ import annotations

from relayd.dialect.meter import CountingMeter, TurnAsk, Usage


def test_every_turn_is_allowed_and_every_usage_is_counted() -> None:
    meter = CountingMeter()
    meter.opened(1.0)
    assert meter.turn_asked(TurnAsk(now=1.0, payload=b"{}")) is None
    meter.usage(Usage(source="response", input_total=3, output_total=5), 2.0)
    meter.usage(Usage(source="transcription", seconds=2.0), 2.0)
    meter.usage(Usage(source="response", input_total=10, output_total=1), 3.0)
    meter.ended(4.0)

    assert (meter.tokens_in, meter.tokens_out) == (13, 6)


def test_cached_tokens_of_every_kind_add_up() -> None:
    assert Usage(source="response", cached_text=1, cached_audio=2, cached_image=4).cached_total == 7
