"""However a client's stream is cut up, its task is handed every message, whole and in order."""

from __future__ import annotations

import itertools

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from relayd.protocol.outcomes import Action, PeerClosed, Taken, Watch
from tests.properties.streams import (
    CLOSE,
    PING,
    Relayed,
    client_flow,
    cuts_of,
    drive,
    frames_in,
    messages_in,
    streams,
)


@attrs.frozen
class Taking:
    """Takes every message."""

    def message(self, payload: bytes, now: float, *, text: bool) -> Action | None:
        return Taken(payload)

    def release(self, head: bytes) -> Watch | None:
        return None


@settings(max_examples=80)
@given(st.data())
def test_every_message_is_taken_whatever_the_chunks(data: st.DataObject) -> None:
    wire = data.draw(streams(masked=True))
    cuts = [0, *sorted(c for c in data.draw(cuts_of(wire)) if 0 < c < len(wire)), len(wire)]
    flow = client_flow(Taking())
    relayed = Relayed()
    taken: list[bytes] = []
    closed = False

    for start, stop in itertools.pairwise(cuts):
        relayed = drive(flow, relayed.rest + wire[start:stop], relayed=Relayed(pings=relayed.pings))
        while isinstance(flow.event, Taken):
            flow.hand_over(flow.event)
            taken.append(flow.event.payload)
            flow.event = None
            relayed = drive(flow, relayed.rest, relayed=Relayed(pings=relayed.pings))
        assert relayed.wire == b""
        closed = isinstance(flow.event, PeerClosed)

    messages = [message.payload for message in messages_in(wire)]
    assert taken == messages
    assert (flow.messages, flow.bytes) == (len(messages), sum(map(len, messages)))
    assert relayed.pings == [one.payload for one in frames_in(wire) if one.opcode == PING]
    assert closed == any(one.opcode == CLOSE for one in frames_in(wire))
    flow.close()
    assert flow.hold.bytes_held == sum(map(len, messages))
