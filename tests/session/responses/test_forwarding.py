"""What of a client's messages goes to a running turn, and what it is told otherwise."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from relayd.dialect.responses_client import Mistake, Other, Steer, read_message
from relayd.session.responses.forwarding import UNKNOWN_EVENT, forward
from tests.dialect.responses import message

STEER = message(type="response.steer", previous_response_id="resp_1", input="x")
OTHER = message(type="response.inject", stream_id="a", x=1)


@attrs.define
class Lease:
    """A lease with one turn."""

    has_room: bool = True
    sent: list[bytes] = attrs.field(factory=list)

    def send(self, payload: bytes, now: float) -> bool:
        if self.has_room:
            self.sent.append(payload)
        return self.has_room


@attrs.define
class Leases:
    """Those of a session."""

    lease: Lease = attrs.field(factory=Lease)

    def of_response(self, response_id: str) -> Lease | None:
        return self.lease if response_id == "resp_1" else None

    def in_lane(self, lane: str | None) -> Lease | None:
        return self.lease if lane == "a" else None


def forwarded(leases: Leases, payload: bytes) -> Mistake | None:
    read, holders = read_message(payload), leases
    assert isinstance(read, Steer | Other)
    typed: Any = holders
    return forward(typed, read, 0.0)


@pytest.mark.parametrize("payload", [STEER, OTHER])
def test_it_goes_where_its_turn_runs_byte_for_byte(payload: bytes) -> None:
    leases = Leases()

    assert forwarded(leases, payload) is None
    assert leases.lease.sent == [payload]


@pytest.mark.parametrize("payload", [STEER, OTHER])
def test_where_relayd_cannot_hold_it_it_is_busy(payload: bytes) -> None:
    told = forwarded(Leases(Lease(has_room=False)), payload)

    assert told is not None
    assert (told.status, told.code) == (503, "gateway_busy")


def test_what_does_not_run_cannot_be_steered() -> None:
    told = forwarded(Leases(), STEER.replace(b"resp_1", b"resp_2"))

    assert told is not None
    assert (told.status, told.code, told.param) == (
        400,
        "response_not_running",
        "previous_response_id",
    )


def test_an_unknown_event_needs_a_turn_in_its_lane() -> None:
    told = forwarded(Leases(), OTHER.replace(b'"a"', b'"b"'))

    assert told is not None
    assert (told.status, told.code, told.stream_id) == (400, UNKNOWN_EVENT, "b")
