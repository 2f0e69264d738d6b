"""What each side is told at the end."""

from __future__ import annotations

import json

import pytest

from relayd.core.endings import Reason, Side
from relayd.session.closing import Closed
from relayd.session.xiaozhi.farewell import (
    client_words,
    last_words,
    note_peers_code,
    server_code,
)
from tests.session.ends import fallen


@pytest.mark.parametrize(
    ("reason", "client", "server"),
    [
        (Reason.DRAIN, 1012, 1000),
        (Reason.DEVICE_REPLACED, 1001, 1001),
        (Reason.RECONNECTS_EXHAUSTED, 1011, 1001),
        (Reason.KILLED, 1008, 1001),
        (Reason.UPSTREAM_LOST, 1011, 1000),
    ],
)
def test_codes_are_those_of_the_ending(reason: Reason, client: int, server: int) -> None:
    verdict = fallen(reason)

    assert client_words(verdict)[0] == client
    assert server_code(verdict) == server


def test_a_peers_own_code_travels() -> None:
    ended, left = fallen(Reason.UPSTREAM_CLOSED, code=4003), fallen(Reason.CLIENT_CLOSED, code=1001)

    assert client_words(ended) == (4003, "")
    assert server_code(left) == 1001
    assert server_code(fallen(Reason.CLIENT_CLOSED)) == 1000


def test_who_erred_is_said() -> None:
    verdict = fallen(Reason.TOO_BIG, sender=Side.UPSTREAM, message="long")

    assert client_words(verdict) == (1011, "the server erred: long")


def test_a_device_shows_what_a_person_can_do_about() -> None:
    words = json.loads(last_words(fallen(Reason.KEY_EXPIRED), "s-1"))

    assert (words["type"], words["session_id"]) == ("alert", "s-1")
    assert "expired" in words["message"]
    assert last_words(fallen(Reason.DRAIN), "s-1") == b""


def test_the_log_shows_what_a_peer_said() -> None:
    closed = Closed(client=1000, upstream=1000)
    note_peers_code(fallen(Reason.UPSTREAM_CLOSED, code=4003), closed)
    assert (closed.client, closed.upstream) == (1000, 4003)

    closed = Closed(client=1000)
    note_peers_code(fallen(Reason.CLIENT_CLOSED), closed)
    assert (closed.client, closed.upstream) == (1005, None)
