from __future__ import annotations

from relayd.core.endings import Reason
from relayd.core.refusals import RefusalCode
from relayd.observe import document
from relayd.observe.events import FIELDS, LogEvent
from relayd.observe.metrics_labels import POOL_WORDS, TURN_ABORTS, TURN_FAULTS, TURN_STATUSES


def test_the_file_says_what_the_tables_say() -> None:
    written = document.PATH.read_text(encoding="utf-8")

    assert written == document.document(), "run: make fix"


def test_every_event_field_reason_and_refusal_is_in_it() -> None:
    text = document.document()

    for word in (*LogEvent, *FIELDS, *Reason, *RefusalCode):
        assert f"`{word}`" in text


def test_the_words_of_turns_and_of_the_pool_stand_in_their_rows() -> None:
    rows = document.document().splitlines()
    listed = (
        ("statuses", TURN_STATUSES),
        ("turns of the responses dialect", TURN_ABORTS),
        ("turns of the chat dialect", TURN_FAULTS),
        ("the pool", POOL_WORDS),
    )
    for of, words in listed:
        (row,) = (row for row in rows if row.startswith(f"| {of} |"))
        assert row.split(" | ")[1].removesuffix(" |").split(", ") == [f"`{word}`" for word in words]


def test_a_reason_that_follows_the_sender_shows_both_faults_and_codes() -> None:
    rows = document.document().splitlines()

    assert "| `too_big` | client (upstream) | 1009 (1011) | 1001 (1009) |" in rows


def test_a_close_of_one_side_is_passed_on_to_the_other() -> None:
    rows = document.document().splitlines()

    assert "| `client_closed` | none | – | passed on |" in rows
    assert "| `upstream_closed` | none | passed on | – |" in rows
