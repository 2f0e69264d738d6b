"""The names of everything relayd logs, with the fields each line carries.

The tables are the one place where a name is written: calls use :class:`LogEvent`, the renderer
puts the fields into the order given here with null for what is not known, and ``docs/events.md``
is generated from them. What the fields mean is in :mod:`relayd.observe.event_fields`.
"""

from __future__ import annotations

import enum
from typing import Final

import attrs

from relayd.observe.event_fields import FIELDS

__all__ = ["EVENTS", "FIELDS", "EventSpec", "LogEvent"]


class LogEvent(enum.StrEnum):
    """``<noun>.<past participle>``: something that has happened, never something about to."""

    SERVER_STARTED = "server.started"
    DRAIN_STARTED = "drain.started"
    SERVER_STOPPED = "server.stopped"
    CONFIG_REFUSED = "config.refused"
    CONFIG_RELOADED = "config.reloaded"
    CONFIG_POSTPONED = "config.postponed"
    RELOAD_CRASHED = "reload.crashed"
    CONNECTION_REFUSED = "connection.refused"
    REQUEST_ENDED = "request.ended"
    REQUEST_CRASHED = "request.crashed"
    SESSION_ENDED = "session.ended"  # the canonical line: exactly one per accepted session
    SESSION_CRASHED = "session.crashed"
    TURN_ENDED = "turn.ended"
    UPSTREAM_FAILED = "upstream.failed"
    ACCOUNT_COOLED = "account.cooled"
    ACCOUNT_DISABLED = "account.disabled"
    ACCOUNT_ENABLED = "account.enabled"
    CLOCK_SKEWED = "clock.skewed"
    BREAKER_OPENED = "breaker.opened"
    BREAKER_CLOSED = "breaker.closed"
    ACCEPT_PAUSED = "accept.paused"
    ACCEPT_RESUMED = "accept.resumed"
    MASK_DEGRADED = "mask.degraded"
    MODEL_UNPRICED = "model.unpriced"
    SLOT_OPENED = "slot.opened"
    SLOT_BROKEN = "slot.broken"
    SLOT_ROTATED = "slot.rotated"
    SLOT_EVICTED = "slot.evicted"
    LEASE_WAITED = "lease.waited"
    LEASE_REFUSED = "lease.refused"
    LEASE_RELEASED = "lease.released"
    AFFINITY_MISSED = "affinity.missed"
    LEDGER_COMMITTED = "ledger.committed"
    LEDGER_FAILED = "ledger.failed"
    LEDGER_RECOVERED = "ledger.recovered"
    LEDGER_LOST = "ledger.lost"
    STATE_FAILED = "state.failed"
    XIAOZHI_CONTEXT_LOST = "xiaozhi.context_lost"
    XIAOZHI_REJOINED = "xiaozhi.rejoined"
    XIAOZHI_ENDED = "xiaozhi.ended"
    DEVICE_TOOL_CALLED = "device.tool_called"
    DEVICE_KICKED = "device.kicked"
    DEVICE_REBOOTED = "device.rebooted"
    DEVICE_ALERTED = "device.alerted"
    OTA_ANSWERED = "ota.answered"


@attrs.frozen
class EventSpec:
    """What one event means to an operator.

    Attributes:
        when: When the line is written, as a sentence.
        fields: The names of its fields, in the order in which they stand in the line. All are
            in every line of this event; what is not known is null.
    """

    when: str
    fields: tuple[str, ...]


EVENTS: Final[dict[LogEvent, EventSpec]] = {
    LogEvent.SERVER_STARTED: EventSpec(
        "Every listener is bound and connections are accepted.",
        ("listen", "admin", "version", "accounts", "keys", "sessions_max"),
    ),
    LogEvent.DRAIN_STARTED: EventSpec(
        "The first SIGTERM arrived: no new connection is accepted, sessions end as they can.",
        ("sessions", "drain_s"),
    ),
    LogEvent.SERVER_STOPPED: EventSpec(
        "Every session has ended and the process is about to exit.",
        ("cause", "duration_s", "log_lines_lost"),
    ),
    LogEvent.CONFIG_REFUSED: EventSpec(
        "A configuration has a mistake, and none of it is used: relayd does not start, or goes on"
        " with the one in force. One line per mistake.",
        ("path", "message"),
    ),
    LogEvent.CONFIG_RELOADED: EventSpec(
        "A new configuration is in force. Sessions go on, but those of keys and accounts that are"
        " gone end after their running response.",
        (
            *("keys_added", "keys_changed", "keys_removed"),
            *("accounts_added", "accounts_changed", "accounts_removed"),
            *("listeners_added", "listeners_removed", "duration_ms"),
        ),
    ),
    LogEvent.CONFIG_POSTPONED: EventSpec(
        "A setting was changed that relayd looks at only when it starts; so are `server.admin`,"
        " `server.admin_token`, all of `[state]`, and `url` and `on_failure` of `[ledger]`. The"
        " rest of the new configuration is in force. One line per setting, at each reload.",
        ("path", "message"),
    ),
    LogEvent.RELOAD_CRASHED: EventSpec(
        "A bug in relayd kept a new configuration from being used, and ended no session. Please"
        " report its traceback.",
        ("traceback",),
    ),
    LogEvent.CONNECTION_REFUSED: EventSpec(
        "A connection ended before its 101 was written. The only line of that connection.",
        ("status", "reason", "dialect", "key", "client_address", "message"),
    ),
    LogEvent.REQUEST_ENDED: EventSpec(
        "An HTTP request is over, answered or not. Those of the admin listener at level debug, but"
        " for actions and for 401 and 403.",
        (
            *("request_id", "method", "route", "status", "outcome", "reason", "key"),
            *("client_address", "duration_ms", "bytes_in", "bytes_out"),
        ),
    ),
    LogEvent.REQUEST_CRASHED: EventSpec(
        "A bug in relayd ended one HTTP request, and no other. Please report its traceback.",
        ("request_id", "route", "traceback"),
    ),
    LogEvent.SESSION_ENDED: EventSpec(
        "An accepted session is over: exactly one line for each 101 written.",
        (
            *("session_id", "dialect", "key", "account", "model", "reason", "fault"),
            *("client_close", "upstream_close"),
            *("duration_s", "admission_ms", "connect_ms", "first_frame_ms"),
            *("turns", "messages_up", "messages_down", "bytes_up", "bytes_down"),
            *("tokens_in", "tokens_out", "cost_usd"),
        ),
    ),
    LogEvent.SESSION_CRASHED: EventSpec(
        "A bug in relayd ended one connection, and no other. Please report its traceback.",
        ("session_id", "dialect", "traceback"),
    ),
    LogEvent.TURN_ENDED: EventSpec(
        "A turn is over: one response. Transcriptions of the client's audio count in the session's"
        " totals alone.",
        (
            *("session_id", "turn_id", "dialect", "key", "account", "model"),
            *("ttft_ms", "duration_ms", "tokens_in", "tokens_out"),
            *("tokens_in_text", "tokens_in_audio", "tokens_in_image", "tokens_in_cached"),
            *("tokens_out_text", "tokens_out_audio", "estimated", "cost_usd", "reason"),
            *("lane", "slot", "generation", "reused", "queue_ms", "wait_ms"),
            *("tool_calls", "warm_up"),
            *("audio_in_s", "audio_out_s", "stt_ms", "calls_ms"),
        ),
    ),
    LogEvent.UPSTREAM_FAILED: EventSpec(
        "An attempt to open a session at an account failed; the next account is tried, if any.",
        ("session_id", "dialect", "account", "reason", "message"),
    ),
    LogEvent.ACCOUNT_COOLED: EventSpec(
        "An account answered with a rate limit and gets no new session for a while.",
        ("account", "reason", "until_s"),
    ),
    LogEvent.ACCOUNT_DISABLED: EventSpec(
        "An account failed in a way that only its owner can mend, such as a revoked key.",
        ("account", "reason", "message"),
    ),
    LogEvent.ACCOUNT_ENABLED: EventSpec(
        "A disabled account works again, or an operator enabled it.",
        ("account", "cause"),
    ),
    LogEvent.CLOCK_SKEWED: EventSpec(
        "An upstream refused a signature for its date: this host's clock, or the upstream's, is"
        " off. Signatures for the account are dated by the upstream's clock from now on.",
        ("account", "offset_s"),
    ),
    LogEvent.BREAKER_OPENED: EventSpec(
        "An account failed too often and gets no new session until its breaker tries it again.",
        ("account", "until_s"),
    ),
    LogEvent.BREAKER_CLOSED: EventSpec(
        "A trial session succeeded: the account takes sessions as before.",
        ("account",),
    ),
    LogEvent.ACCEPT_PAUSED: EventSpec(
        "No descriptor was left for a new connection. Sessions go on, accepting waits.",
        ("listen", "message"),
    ),
    LogEvent.ACCEPT_RESUMED: EventSpec(
        "Descriptors are free again and connections are accepted.",
        ("listen", "duration_s"),
    ),
    LogEvent.MASK_DEGRADED: EventSpec(
        "The compiled unmasking of the websockets package is missing: pure Python costs 20 times"
        " the CPU per byte.",
        ("message",),
    ),
    LogEvent.MODEL_UNPRICED: EventSpec(
        "Something was used that has no price: its cost is null. Once per model and process.",
        ("model", "account", "message"),
    ),
    LogEvent.SLOT_OPENED: EventSpec(
        "A socket to an upstream was opened for the pool.",
        ("account", "slot", "generation", "duration_ms"),
    ),
    LogEvent.SLOT_BROKEN: EventSpec(
        "A socket of the pool is of no more use, and was closed.",
        ("account", "slot", "generation", "reason"),
    ),
    LogEvent.SLOT_ROTATED: EventSpec(
        "A socket of the pool was closed in good order: it was old, long unused, or one too many.",
        ("account", "slot", "generation", "reason"),
    ),
    LogEvent.SLOT_EVICTED: EventSpec(
        "A socket of the pool was closed to make room for another client's. What lived on it alone"
        " is gone: going on from it gets `previous_response_not_found`.",
        ("account", "slot", "generation"),
    ),
    LogEvent.LEASE_WAITED: EventSpec(
        "A turn got its socket after waiting for one to be free.",
        ("account", "slot", "generation", "wait_ms"),
    ),
    LogEvent.LEASE_REFUSED: EventSpec(
        "A turn got no socket of the pool.",
        ("account", "reason", "wait_ms"),
    ),
    LogEvent.LEASE_RELEASED: EventSpec(
        "A socket of the pool is no longer used by a session. At level debug.",
        ("account", "slot", "generation", "outcome", "duration_ms"),
    ),
    LogEvent.AFFINITY_MISSED: EventSpec(
        "A client wanted to go on from a response whose socket is gone, or that nobody knows.",
        ("session_id", "key", "account", "reason"),
    ),
    LogEvent.LEDGER_COMMITTED: EventSpec(
        "Rows were written to the ledger. At level debug.",
        ("rows", "pending", "duration_ms"),
    ),
    LogEvent.LEDGER_FAILED: EventSpec(
        "Rows could not be written to the ledger. They are kept and tried again.",
        ("message", "pending"),
    ),
    LogEvent.LEDGER_RECOVERED: EventSpec(
        "The ledger takes rows again.",
        ("rows", "duration_s"),
    ),
    LogEvent.LEDGER_LOST: EventSpec(
        "Rows were dropped: there was no room for more, or relayd stopped before they went in.",
        ("rows", "message"),
    ),
    LogEvent.STATE_FAILED: EventSpec(
        "The store of the limits did not answer; `state.on_failure` says what limits do meanwhile.",
        ("message", "dropped"),
    ),
    LogEvent.XIAOZHI_CONTEXT_LOST: EventSpec(
        "A device's server was lost, and with it what it remembered of their talk. The device stays"
        " while another one is looked for.",
        (
            *("session_id", "device_id", "key", "account", "lost", "cause", "close_code"),
            *("speaking", "calls_failed"),
        ),
    ),
    LogEvent.XIAOZHI_REJOINED: EventSpec(
        "Another server has taken a device over whose server was lost.",
        ("session_id", "device_id", "key", "account", "lost_ms", "packets_dropped"),
    ),
    LogEvent.XIAOZHI_ENDED: EventSpec(
        "A device's session is over: what it came to, beside its `session.ended`.",
        (
            *("session_id", "device_id", "key", "account", "hello_ms", "losses"),
            *("turns", "aborts", "calls", "audio_in_s", "audio_out_s"),
            *("packets_in", "packets_out", "dropped_in", "dropped_out", "gaps_in", "gaps_out"),
        ),
    ),
    LogEvent.DEVICE_TOOL_CALLED: EventSpec(
        "An operator called a tool of a device. What it was called with, and what it answered, is"
        " not told.",
        ("session_id", "device_id", "tool", "outcome", "duration_ms"),
    ),
    LogEvent.DEVICE_KICKED: EventSpec(
        "An operator ended a device's session.",
        ("session_id", "device_id"),
    ),
    LogEvent.DEVICE_REBOOTED: EventSpec(
        "An operator had a device start anew.",
        ("session_id", "device_id"),
    ),
    LogEvent.DEVICE_ALERTED: EventSpec(
        "An operator had devices show a message, which is not told: one of them, or all.",
        ("session_id", "device_id", "devices"),
    ),
    LogEvent.OTA_ANSWERED: EventSpec(
        "A server of devices was asked for a device's settings, or to activate it; what it said"
        " goes to the device, rewritten.",
        (
            *("request_id", "route", "device_id", "account", "status", "offered", "mqtt"),
            *("taken_out", "duration_ms"),
        ),
    ),
}
