from __future__ import annotations

import re

import pytest

from relayd.observe.events import EVENTS, LogEvent

PARTICIPLE = re.compile(r"[a-z]+\.([a-z]+_)?([a-z]+(ed|en)|lost)")

CANONICAL = (
    "session_id, dialect, key, account, model, reason, fault, client_close, upstream_close,"
    " duration_s, admission_ms, connect_ms, first_frame_ms, turns, messages_up, messages_down,"
    " bytes_up, bytes_down, tokens_in, tokens_out, cost_usd"
)


def test_every_event_is_in_the_table() -> None:
    assert EVENTS.keys() == set(LogEvent)


@pytest.mark.parametrize("event", LogEvent)
def test_an_event_is_named_noun_dot_past_participle(event: LogEvent) -> None:
    assert PARTICIPLE.fullmatch(event.value)
    assert event.name == event.value.replace(".", "_").upper()


@pytest.mark.parametrize("event", LogEvent)
def test_an_event_names_each_field_once_and_none_of_the_line_s_own(event: LogEvent) -> None:
    fields = EVENTS[event].fields

    assert len(set(fields)) == len(fields)
    assert not {"ts", "level", "event"} & set(fields)


def test_the_end_of_a_session_is_the_canonical_line() -> None:
    assert ", ".join(EVENTS[LogEvent.SESSION_ENDED].fields) == CANONICAL
