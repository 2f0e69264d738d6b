"""A simulated upstream's own count of what it has told, to compare others' counts with."""

from __future__ import annotations

import attrs

from relayd.sim.realtime.usage import NO_TOKENS, NO_USAGE, Tokens, Usage


@attrs.frozen(kw_only=True)
class Tally:
    """What one session, or all of them, has reported. Exact: it is kept as the reports are made.

    Attributes:
        responses: Responses that have ended.
        usage: The sum of what they reported. Tokens that a report did not sort by kind are
            ``unsorted`` here.
        cached: ``usage.cached`` with the unsorted ones sorted, response by response, as
            :meth:`~relayd.sim.realtime.usage.Usage.sorted_cached` does.
        untold: Those of ``responses`` that reported no usage.
        untold_usage: What those have used in truth, which nobody was told.
        transcriptions: Input transcriptions completed.
        transcription_usage: The sum of what those reported that are billed by tokens.
        transcription_ms: The sum of what those reported that are billed by time.
        transcriptions_untold: Those of ``transcriptions`` that reported no usage.
    """

    responses: int = 0
    usage: Usage = NO_USAGE
    cached: Tokens = NO_TOKENS
    untold: int = 0
    untold_usage: Usage = NO_USAGE
    transcriptions: int = 0
    transcription_usage: Usage = NO_USAGE
    transcription_ms: int = 0
    transcriptions_untold: int = 0

    def plus_response(self, used: Usage, told: Usage | None) -> Tally:
        """This tally and one response more.

        Args:
            used: What it has used.
            told: What its report says, ``None`` if that is nothing.
        """
        if told is None:
            return self + Tally(responses=1, untold=1, untold_usage=used)
        return self + Tally(responses=1, usage=told, cached=told.sorted_cached())

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            responses=self.responses + other.responses,
            usage=self.usage + other.usage,
            cached=self.cached + other.cached,
            untold=self.untold + other.untold,
            untold_usage=self.untold_usage + other.untold_usage,
            transcriptions=self.transcriptions + other.transcriptions,
            transcription_usage=self.transcription_usage + other.transcription_usage,
            transcription_ms=self.transcription_ms + other.transcription_ms,
            transcriptions_untold=self.transcriptions_untold + other.transcriptions_untold,
        )
