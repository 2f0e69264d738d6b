"""The envelope, and times in it."""

from __future__ import annotations

import datetime
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.dialect.hub_envelope import WALL_MAX_S, envelope, resync_envelope, timestamp
from tests.dialect.hub import EPOCH, publication

NAMES = st.none() | st.text(max_size=8)


def test_every_member_stands_in_its_order() -> None:
    event = publication(session_id="s1", node_id='n"1\n')

    assert envelope(event) == (
        b'{"id":"0123456789abcdef:3","seq":7,"ts":"2025-11-21T08:15:30.250Z",'
        b'"topic":"workflow:w1","tenant":"acme","event":"node_state_change",'
        b'"session_id":"s1","node_id":"n\\"1\\n","data":{"node_id":"n1","status":"done"}}'
    )


@given(session_id=NAMES, node_id=NAMES, tenant=st.text(max_size=8), event=st.text(max_size=8))
def test_any_text_comes_back_from_one_line(
    session_id: str | None, node_id: str | None, tenant: str, event: str
) -> None:
    told = publication(session_id=session_id, node_id=node_id, tenant=tenant, event=event)

    line = envelope(told)

    read = json.loads(line)
    assert (read["session_id"], read["node_id"]) == (session_id, node_id)
    assert (read["tenant"], read["event"], read["topic"]) == (tenant, event, told.topic)
    assert (read["id"], read["seq"]) == (told.id, told.seq)
    assert min(line) >= 0x20


def test_what_tells_a_client_to_load_anew_is_an_envelope() -> None:
    body = resync_envelope(epoch=EPOCH, seq=9, now=0.0, tenant="acme", topics=["workflow:*"])

    read = json.loads(body)
    assert list(read) == list(json.loads(envelope(publication())))
    assert (read["id"], read["seq"], read["topic"]) == (f"{EPOCH}@9", 9, None)
    assert (read["event"], read["data"]) == ("resync_required", {"topics": ["workflow:*"]})


@given(st.integers(0, WALL_MAX_S * 1000 - 1))
def test_a_time_is_the_calendar_s(millis: int) -> None:
    seconds, rest = divmod(millis, 1000)
    start = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    expected = (start + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")

    # A quarter of a millisecond keeps the float on the right side.
    assert timestamp(seconds + (rest + 0.25) / 1000) == f"{expected}.{rest:03d}Z"


@pytest.mark.parametrize(
    ("wall", "expected"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (951_782_399.9994, "2000-02-28T23:59:59.999Z"),
        (951_782_400.0, "2000-02-29T00:00:00.000Z"),
        (1_709_251_199.0, "2024-02-29T23:59:59.000Z"),
        (4_107_542_400.0, "2100-03-01T00:00:00.000Z"),
        (WALL_MAX_S - 1, "9999-12-31T23:59:59.000Z"),
    ],
)
def test_leap_days_and_ends(wall: float, expected: str) -> None:
    assert timestamp(wall) == expected


@pytest.mark.parametrize("wall", [-1.0, WALL_MAX_S])
def test_a_time_that_cannot_be_written_is_a_defect(wall: float) -> None:
    with pytest.raises(AssertionError):
        timestamp(wall)
