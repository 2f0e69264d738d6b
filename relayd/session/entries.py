"""From what a session did to rows of the ledger."""

from __future__ import annotations

import attrs

from relayd.dialect.meter import Turn, Usage
from relayd.ledger.rows import Row
from relayd.observe.bus import SessionFacts


@attrs.frozen(kw_only=True)
class Entry:
    """What a row says beside the session's facts and the tokens; fields as in :class:`Row`."""

    entry: str
    source: str
    ended_at: float
    upstream_model: str | None
    reason: str
    upstream_id: str | None = None
    seconds: float | None = None
    ttft_ms: float | None = None
    duration_ms: float | None = None
    audio_in_s: float | None = None
    audio_out_s: float | None = None
    hello_ms: float | None = None
    stt_ms: float | None = None

    @classmethod
    def of_turn(cls, turn: Turn, ended_at: float, upstream_model: str | None) -> Entry:
        """The entry of a response."""
        first = turn.first_output_at
        return cls(
            entry=f"turn:{turn.number}" if turn.turn_id is None else f"response:{turn.turn_id}",
            source="response",
            ended_at=ended_at,
            upstream_model=upstream_model,
            upstream_id=turn.turn_id,
            reason=turn.reason,
            ttft_ms=None if first is None else milliseconds(first - turn.asked_at),
            duration_ms=milliseconds(turn.ended_at - turn.asked_at),
        )


def row_of(
    facts: SessionFacts, tag: str | None, entry: Entry, usage: Usage | None, cost_nano: int | None
) -> Row:
    """One row. A transcription has a model of its own; else it is what the client asked for."""
    used = usage or Usage(source=entry.source)
    asked = None if entry.source == "transcription" else facts.model
    return Row(
        session_id=facts.session_id,
        entry=entry.entry,
        source=entry.source,
        ended_at=entry.ended_at,
        dialect=facts.dialect,
        transport="websocket",
        key=facts.key,
        tenant=facts.tenant,
        account=facts.account,
        model=asked or entry.upstream_model,
        upstream_model=entry.upstream_model,
        tag=tag,
        upstream_id=entry.upstream_id,
        reason=entry.reason,
        tokens_in=used.input_total,
        tokens_out=used.output_total,
        tokens_in_text=used.input_text,
        tokens_in_audio=used.input_audio,
        tokens_in_image=used.input_image,
        tokens_in_cached_text=used.cached_text,
        tokens_in_cached_audio=used.cached_audio,
        tokens_in_cached_image=used.cached_image,
        tokens_out_text=used.output_text,
        tokens_out_audio=used.output_audio,
        seconds=used.seconds if entry.seconds is None else entry.seconds,
        cost_nano=cost_nano,
        estimated=used.estimated,
        ttft_ms=entry.ttft_ms,
        duration_ms=entry.duration_ms,
        audio_in_s=entry.audio_in_s,
        audio_out_s=entry.audio_out_s,
        hello_ms=entry.hello_ms,
        stt_ms=entry.stt_ms,
    )


def milliseconds(seconds: float) -> float:
    """As the log and the ledger show a time."""
    return round(seconds * 1000, 1)
