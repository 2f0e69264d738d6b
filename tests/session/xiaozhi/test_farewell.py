"""What each side is told at the end."""

from __future__ import annotations

import json

import pytest

from relayd.core.endings import ENDINGS, Reason, Side
from relayd.dialect.xiaozhi_rules import HANGUP_REASONS
from relayd.session.closing import Closed
from relayd.session.xiaozhi.farewell import (
    DEVICE_TEXTS,
    client_words,
    last_words,
    note_peers_code,
    server_code,
)
from tests.session.ends import fallen

PEERS_OWN = {Reason.CLIENT_CLOSED, Reason.UPSTREAM_CLOSED}
"""The Close is the peer's, word for word."""

WITH_A_MESSAGE = {
    *(Reason.PROTOCOL_ERROR_CLIENT, Reason.PROTOCOL_ERROR_UPSTREAM, Reason.BAD_UTF8),
    *(Reason.TOO_BIG, Reason.CONTROL_FLOOD),
}
"""A rule of the protocol was broken; the verdict says which one."""

OF_OTHERS = {
    *(Reason.DUPLICATE_TYPE, Reason.UNSUPPORTED_DATA, Reason.CLIENT_SLOW),
    *(Reason.TOKEN_REFUSED, Reason.SESSIONS_EXCEEDED, Reason.TOPICS_EXCEEDED),
}
"""No device's session ends so."""


@pytest.mark.parametrize("reason", sorted(set(Reason) - PEERS_OWN - WITH_A_MESSAGE - OF_OTHERS))
def test_no_device_is_told_a_code_alone(reason: Reason) -> None:
    code, text = client_words(fallen(reason))
    words = last_words(fallen(reason), "s-1")

    assert text == DEVICE_TEXTS[reason]
    assert code == ENDINGS[reason].client_code
    if words:
        assert json.loads(words)["message"] == text


def test_every_way_to_give_up_servers_has_its_words() -> None:
    assert set(HANGUP_REASONS.values()) <= set(DEVICE_TEXTS)
    assert len({DEVICE_TEXTS[reason] for reason in HANGUP_REASONS.values()}) == 3


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
