"""Events as a browser's EventSource reads them."""

from __future__ import annotations

import json

import pytest

from relayd.dialect.hub_envelope import envelope, resync_envelope
from relayd.dialect.hub_sse import encode_resync, encode_retry, encode_sse
from tests.dialect.hub import EPOCH, publication


def read(stream: bytes) -> dict[str, str]:
    """The one event of a stream, by the rules of the HTML standard, section 9.2.6."""
    assert stream.endswith(b"\n\n")
    lines = stream.decode().removesuffix("\n\n").split("\n")
    pairs = [line.split(":", 1) for line in lines]
    assert all(len(pair) == 2 for pair in pairs)
    assert len({name for name, _ in pairs}) == len(pairs)
    return {name: value.removeprefix(" ") for name, value in pairs}


@pytest.mark.parametrize(("overall", "place"), [(False, f"{EPOCH}:3"), (True, f"{EPOCH}@7")])
def test_an_event_says_the_place_to_resume_from(overall: bool, place: str) -> None:
    event = publication()

    fields = read(encode_sse(event, overall=overall))

    assert fields == {"id": place, "event": event.event, "data": envelope(event).decode()}


def test_a_gap_is_told_with_the_place_to_go_on_from() -> None:
    body = resync_envelope(epoch=EPOCH, seq=9, now=0.0, tenant="acme", topics=["*"])

    fields = read(encode_resync(body, epoch=EPOCH, seq=9))

    assert (fields["id"], fields["event"]) == (f"{EPOCH}@9", "resync_required")
    assert json.loads(fields["data"])["id"] == fields["id"]


def test_how_long_to_wait() -> None:
    assert read(encode_retry(1500)) == {"retry": "1500"}
