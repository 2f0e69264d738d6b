"""How a provider bills: what its responses read besides the conversation, what it reports of it.

The shapes of ``usage`` are those of the GA event reference, as the OpenAI SDKs type them, and
those of compatible providers, which leave out what they like.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import attrs
from msgspec import UNSET, UnsetType

from relayd.sim.realtime.client_events import JsonObject
from relayd.sim.realtime.scenario import Scenario
from relayd.sim.realtime.usage import IMAGE_TOKENS, NO_TOKENS, Tokens, Usage

_NULL_DETAILS: Final[JsonObject] = {"input_token_details": None, "output_token_details": None}
_MISTAKES: Final[tuple[JsonObject | UnsetType | None, ...]] = (
    None,
    {},
    UNSET,
    {"output_token_details": None},
)


@attrs.frozen
class Report:
    """What the end of a response says about its usage.

    Attributes:
        wire: ``response.usage``; unset: the field is left out.
        told: What a reader learns from it; ``None``: nothing.
    """

    wire: JsonObject | UnsetType | None
    told: Usage | None


Reporter = Callable[[Usage, int], Report]
"""Reports what the session's n-th response (from 1) has used."""


def report(usage: Usage, _: int) -> Report:
    """All there is to tell, by kind."""
    by_kind = {
        "text_tokens": usage.cached.text,
        "audio_tokens": usage.cached.audio,
        "image_tokens": usage.cached.image,
    }
    return Report(_detailed(usage, {"cached_tokens_details": by_kind}), usage)


def report_flat(usage: Usage, _: int) -> Report:
    """As :func:`report`, without saying of what kind the cached tokens are."""
    told = attrs.evolve(usage, cached=Tokens(unsorted=usage.cached.total))
    return Report(_detailed(usage, {}), told)


def report_totals(usage: Usage, number: int) -> Report:
    """Totals alone; the details are left out and null by turns."""
    details = {} if number % 2 else _NULL_DETAILS
    told = Usage(
        read=Tokens(unsorted=usage.read.total), written=Tokens(unsorted=usage.written.total)
    )
    return Report(_totals(usage) | details, told)


def report_empty(_: Usage, __: int) -> Report:
    """An object with nothing in it."""
    return Report({}, None)


def misreport(_: Usage, number: int) -> Report:
    """Every way in which a provider has been seen to leave usage out, one after the other."""
    return Report(_MISTAKES[(number - 1) % len(_MISTAKES)], None)


@attrs.frozen(kw_only=True)
class Billing:
    """How a session is billed.

    Attributes:
        reporter: Reports what each response has used.
        prompt: A stored prompt, which every response reads besides the conversation.
        cached: What of it is in the cache from the first response on.
        transcription: The session's transcription settings before anyone asks for some.
        reports_transcriptions: Whether a transcription says what it has used.
        fails: Whether every response fails, and so has used nothing.
    """

    reporter: Reporter = report
    prompt: Tokens = NO_TOKENS
    cached: Tokens = NO_TOKENS
    transcription: JsonObject | None = None
    reports_transcriptions: bool = True
    fails: bool = False


BY_TOKENS: Final[JsonObject] = {
    "model": "gpt-4o-transcribe",
    "prompt": "Names of ships and harbours.",
}
BY_DURATION: Final[JsonObject] = {"model": "whisper-1"}

BILLINGS: Final[Mapping[Scenario, Billing]] = {
    Scenario.USAGE_CACHED: Billing(
        prompt=Tokens(text=40, audio=30, image=2 * IMAGE_TOKENS),
        cached=Tokens(text=32, audio=20, image=IMAGE_TOKENS),
    ),
    # More is cached than there is text, so that a part of it can only be audio.
    Scenario.USAGE_CACHED_FLAT: Billing(
        reporter=report_flat,
        prompt=Tokens(text=40, audio=80),
        cached=Tokens(text=32, audio=60),
    ),
    Scenario.USAGE_IMAGE: Billing(prompt=Tokens(image=IMAGE_TOKENS)),
    Scenario.TOTALS_ONLY: Billing(reporter=report_totals),
    Scenario.XAI: Billing(reporter=report_empty, reports_transcriptions=False),
    Scenario.WRONG_USAGE: Billing(reporter=misreport),
    Scenario.RESPONSE_FAILED: Billing(fails=True),
    Scenario.TRANSCRIPTION_TOKENS: Billing(transcription=BY_TOKENS),
    Scenario.TRANSCRIPTION_DURATION: Billing(transcription=BY_DURATION),
}
"""The scenarios that are billed, or report, in a way of their own."""


_ORDINARY: Final = Billing()


def billing_of(scenario: Scenario) -> Billing:
    """The billing of a session that plays ``scenario``."""
    return BILLINGS.get(scenario, _ORDINARY)


def _totals(usage: Usage) -> JsonObject:
    return {
        "total_tokens": usage.read.total + usage.written.total,
        "input_tokens": usage.read.total,
        "output_tokens": usage.written.total,
    }


def _detailed(usage: Usage, about_cached: JsonObject) -> JsonObject:
    read = {
        "text_tokens": usage.read.text,
        "audio_tokens": usage.read.audio,
        "image_tokens": usage.read.image,
        "cached_tokens": usage.cached.total,
    }
    written = {"text_tokens": usage.written.text, "audio_tokens": usage.written.audio}
    return _totals(usage) | {
        "input_token_details": read | about_cached,
        "output_token_details": written,
    }
