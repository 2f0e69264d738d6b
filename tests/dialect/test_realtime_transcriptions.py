"""What transcriptions of the client's audio used: told, estimated, once."""

from __future__ import annotations

import pytest

from relayd.dialect.meter import Usage
from relayd.dialect.realtime_transcriptions import COMMITS_MAX, DONE_MAX
from tests.dialect.conversation import Talk

COMPLETED = "conversation.item.input_audio_transcription.completed"
SECOND_BYTES = 48_000
TOKENS = {"type": "tokens", "input_tokens": 7, "output_tokens": 5}


def commit(talk: Talk, item_id: str, audio_bytes: int = 0) -> None:
    if audio_bytes:
        talk.append(audio_bytes)
    talk.upstream("input_audio_buffer.committed", item_id=item_id)


def seen(talk: Talk) -> list[tuple[str | None, int, int, int]]:
    return [(u.upstream_id, u.input_text, u.input_audio, u.output_text) for u in talk.meter.usages]


def test_a_transcription_is_named_by_item_and_content() -> None:
    talk = Talk()
    talk.upstream(COMPLETED, item_id="item_1", usage=TOKENS)
    talk.upstream(COMPLETED, item_id="item_1", content_index=2, usage=TOKENS)
    talk.upstream(COMPLETED, item_id="item_1", content_index=None, usage=TOKENS)

    assert [usage.upstream_id for usage in talk.meter.usages] == ["item_1:0", "item_1:2"]
    assert {usage.source for usage in talk.meter.usages} == {"transcription"}


@pytest.mark.parametrize("usage", [None, {}, "nonsense"])
def test_without_usage_the_audio_of_its_commit_is_taken(usage: object) -> None:
    talk = Talk()
    commit(talk, "item_1", 2 * SECOND_BYTES)
    commit(talk, "item_2", 3 * SECOND_BYTES)
    talk.upstream(COMPLETED, item_id="item_2", usage=usage)
    talk.upstream(COMPLETED, item_id="item_1", usage=usage)

    assert seen(talk) == [("item_2:0", 0, 30, 0), ("item_1:0", 0, 20, 0)]
    assert all(usage.estimated for usage in talk.meter.usages)


def test_without_usage_or_known_audio_it_is_still_told_that_it_happened() -> None:
    talk = Talk()
    talk.append(SECOND_BYTES)
    talk.upstream(COMPLETED, item_id="item_1", usage={})
    talk.upstream(COMPLETED, usage=None)

    assert talk.meter.usages == [
        Usage(source="transcription", upstream_id="item_1:0", seconds=0.0, estimated=True),
        Usage(source="transcription", seconds=0.0, estimated=True),
    ]


@pytest.mark.parametrize(
    ("spelled", "text"),
    [
        (b'"xxxxxxxxxxxxxxxxx"', 5),
        (b'"\\u00e9\\u00e9"', 1),
        (b"null", 0),
        (b"12345", 2),
    ],
)
def test_without_usage_tokens_and_seconds_are_estimated(spelled: bytes, text: int) -> None:
    talk = Talk()
    pcmu = {"input": {"format": {"type": "audio/pcmu"}}}
    talk.upstream("session.updated", session={"audio": pcmu})
    commit(talk, "item_1", 12_000)
    completed = b'{"type":"%s","item_id":"item_1","transcript":%s}' % (COMPLETED.encode(), spelled)
    talk.conversation.upstream_reader.message(completed, 1.0)

    assert talk.meter.usages == [
        Usage(
            source="transcription",
            upstream_id="item_1:0",
            input_audio=15,
            output_text=text,
            input_total=15,
            output_total=text,
            seconds=1.5,
            estimated=True,
        )
    ]


def test_tokens_of_no_kind_are_audio_where_audio_was_committed() -> None:
    talk = Talk()
    commit(talk, "item_1", SECOND_BYTES)
    talk.upstream(COMPLETED, item_id="item_1", usage=TOKENS)
    talk.upstream(COMPLETED, item_id="item_2", usage=TOKENS)

    assert seen(talk) == [("item_1:0", 0, 7, 5), ("item_2:0", 7, 0, 5)]


def test_a_cleared_buffer_is_in_no_commit() -> None:
    talk = Talk()
    talk.append(SECOND_BYTES)
    talk.upstream("input_audio_buffer.cleared")
    commit(talk, "item_1", 2 * SECOND_BYTES)
    talk.upstream(COMPLETED, item_id="item_1", usage={})

    assert seen(talk) == [("item_1:0", 0, 20, 0)]


def test_the_audio_of_a_repeated_commit_is_not_lost() -> None:
    talk = Talk()
    commit(talk, "item_1", SECOND_BYTES)
    commit(talk, "item_1")
    talk.upstream(COMPLETED, item_id="item_1", usage={})

    assert seen(talk) == [("item_1:0", 0, 10, 0)]


def test_a_transcription_is_paid_once_however_often_it_is_told() -> None:
    talk = Talk()
    for _ in range(3):
        talk.upstream(COMPLETED, item_id="item_1", usage={"type": "duration", "seconds": 3.5})

    assert talk.meter.usages == [
        Usage(source="transcription", upstream_id="item_1:0", seconds=3.5),
    ]


def test_those_without_an_item_are_all_paid() -> None:
    talk = Talk()
    talk.upstream(COMPLETED, usage=TOKENS)
    talk.upstream(COMPLETED, usage=TOKENS)

    assert [usage.upstream_id for usage in talk.meter.usages] == [None, None]


def test_what_is_remembered_is_bounded() -> None:
    talk = Talk()
    for number in range(COMMITS_MAX + 1):
        commit(talk, f"item_{number}", SECOND_BYTES)
    talk.upstream("input_audio_buffer.committed")
    talk.upstream(COMPLETED, item_id="item_0", usage={})
    assert [usage.input_audio for usage in talk.meter.usages] == [0]
    talk.meter.usages.clear()

    for number in range(1, DONE_MAX + 2):
        talk.upstream(COMPLETED, item_id=f"item_{number}", usage=TOKENS)
    talk.upstream(COMPLETED, item_id="item_2", usage=TOKENS)
    assert len(talk.meter.usages) == DONE_MAX + 1
    talk.upstream(COMPLETED, item_id="item_1", usage=TOKENS)
    assert len(talk.meter.usages) == DONE_MAX + 2


def test_ids_are_kept_up_to_a_bound() -> None:
    talk = Talk()
    commit(talk, "i" * 5000, SECOND_BYTES)
    talk.upstream(COMPLETED, item_id="i" * 5000, usage={})

    assert seen(talk) == [("i" * 256 + ":0", 0, 10, 0)]
