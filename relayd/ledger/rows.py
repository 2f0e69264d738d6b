"""One row of the ledger: what a response, transcription, slice of time or audio used and cost."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Row:
    """What is written once and never changed. ``(session_id, entry)`` names it.

    Attributes:
        entry: ``response:<id>``, ``transcription:<item>:<index>``, ``turn:<number>`` for a
            response that the upstream gave no id, ``time:<number>`` for a slice of a session that
            is billed by time. Of devices ``turn:<number>``, and ``audio:<number>`` for audio that
            belongs to no turn.
        source: ``response``, ``transcription``, ``time`` or ``device``.
        ended_at: When it ended, in seconds since the epoch, UTC.
        transport: What the dialect's upstreams speak: ``websocket`` in every row of this version,
            also where a Spark account was asked over its vendor's HTTP interface instead. It says
            nothing of the client's side: one that came by HTTP has its request's id for a
            ``session_id``.
        model: What the client asked for, else what the upstream said it is.
        upstream_model: What was priced: the account's own name for it.
        tag: The client's own word for what it is doing (``x-relayd-tag``), if it gave one.
        reason: How it ended: the upstream's status, else the session's ending.
        seconds: Duration that is billed by time; of devices that of their audio, both ways
            together.
        cost_nano: Nano-dollars, the key's ``price_factor`` included; ``None`` without a price.
        estimated: Whether the numbers are relayd's own estimate.
        audio_in_s: Of devices: seconds that they said; likewise ``audio_out_s`` that they heard.
        hello_ms: Of devices: from its hello to the server's, in the rows of a session's turns.
        stt_ms: Of devices: from the end of what was said to its text.
    """

    session_id: str
    entry: str
    source: str
    ended_at: float
    dialect: str
    transport: str
    key: str
    tenant: str
    account: str
    model: str | None
    upstream_model: str | None
    tag: str | None
    upstream_id: str | None
    reason: str
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_in_text: int = 0
    tokens_in_audio: int = 0
    tokens_in_image: int = 0
    tokens_in_cached_text: int = 0
    tokens_in_cached_audio: int = 0
    tokens_in_cached_image: int = 0
    tokens_out_text: int = 0
    tokens_out_audio: int = 0
    seconds: float | None = None
    cost_nano: int | None = None
    estimated: bool = False
    ttft_ms: float | None = None
    duration_ms: float | None = None
    audio_in_s: float | None = None
    audio_out_s: float | None = None
    hello_ms: float | None = None
    stt_ms: float | None = None
