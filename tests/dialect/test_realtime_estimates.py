"""Tokens from bytes, and bytes from messages."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.dialect.meter import Usage
from relayd.dialect.realtime_estimates import (
    PARTS_MAX,
    Amount,
    Formats,
    Heard,
    Medium,
    amount_of_create,
    amount_of_item,
    bytes_per_second,
    delta_envelope,
    delta_size,
    estimate,
    medium_of,
    share,
)


@pytest.mark.parametrize(
    ("kind", "rate", "rate_bytes"),
    [
        ("audio/pcm", 24_000, 48_000),
        ("audio/pcm", 16_000, 32_000),
        ("audio/pcm", None, 48_000),
        ("audio/pcm", 0, 48_000),
        ("audio/pcm", 1, 48_000),
        ("audio/pcm", 10**9, 48_000),
        ("audio/pcmu", None, 8_000),
        ("audio/pcma", 24_000, 8_000),
        ("audio/opus", None, 48_000),
        (None, None, 48_000),
    ],
)
def test_a_second_of_audio_takes_as_many_bytes_as_its_format_says(
    kind: str | None, rate: int | None, rate_bytes: int
) -> None:
    assert bytes_per_second(kind, rate) == rate_bytes


def test_audio_is_estimated_by_the_second_and_text_by_the_byte() -> None:
    formats = Formats(input_bytes_per_s=48_000, output_bytes_per_s=8_000)
    seconds = 3
    came = Amount(audio=48_000 * seconds * 4 // 3, text=41)
    went = Amount(audio=8_000 * seconds * 4 // 3, text=40)

    assert estimate("response", "resp_1", came, went, formats) == Usage(
        source="response",
        upstream_id="resp_1",
        input_text=11,
        input_audio=30,
        output_text=10,
        output_audio=60,
        input_total=41,
        output_total=70,
        estimated=True,
    )


def test_the_least_audio_is_a_token_and_none_is_none() -> None:
    one = estimate("response", None, Amount(audio=4), Amount(audio=4, text=1), Formats())
    none = estimate("response", None, Amount(), Amount(), Formats())

    assert (one.input_audio, one.output_audio, one.output_text) == (1, 1, 1)
    assert (none.input_total, none.output_total, none.estimated) == (0, 0, True)


def test_what_is_due_is_what_came_since_the_last_response_began() -> None:
    heard = Heard()
    heard.appended += 100
    heard.add_item(Amount(audio=7, text=20))
    heard.add_item(Amount(text=1))

    assert heard.take() == Amount(audio=107, text=21)
    assert heard.due() == Amount()
    heard.appended += 5
    assert heard.due() == Amount(audio=5)


def test_a_commit_holds_what_was_appended_since_the_last_one() -> None:
    heard = Heard(appended=100)
    assert heard.commit() == 100
    heard.take()
    heard.appended += 5

    assert heard.commit() == 5
    assert heard.commit() == 0
    assert heard.due() == Amount(audio=5)


def test_a_cleared_buffer_is_not_due() -> None:
    heard = Heard(appended=100)
    heard.commit()
    heard.appended += 30
    heard.clear()

    assert heard.due() == Amount(audio=100)
    assert heard.commit() == 0
    heard.appended += 8
    assert heard.due() == Amount(audio=108)


@given(st.lists(st.sampled_from(["append", "take", "commit", "clear"]), max_size=30))
def test_every_byte_is_due_once_or_cleared_and_committed_once_or_cleared(moves: list[str]) -> None:
    heard = Heard()
    buffer = due = 0  # the reference: what is in the buffer, what a response would read
    for move in moves:
        match move:
            case "append":
                heard.appended += 10
                buffer += 10
                due += 10
            case "take":
                assert heard.take() == Amount(audio=due)
                due = 0
            case "commit":
                assert heard.commit() == buffer
                buffer = 0
            case "clear":
                heard.clear()
                due -= min(due, buffer)
                buffer = 0
        assert heard.due() == Amount(audio=due)


@given(st.integers(0, 2**60), st.lists(st.integers(0, 2**60), min_size=1, max_size=4))
def test_shares_add_up_and_are_proportional(total: int, weights: list[int]) -> None:
    if not any(weights):
        weights = [1]
    parts = share(total, weights)

    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part * sum(weights) - total * weight) < sum(weights)


def item(**fields: object) -> bytes:
    return json.dumps({"type": "conversation.item.create", "item": fields}).encode()


@pytest.mark.parametrize(
    ("payload", "amount"),
    [
        (item(content=[{"type": "input_text", "text": "12345"}, {"text": "678"}]), Amount(text=8)),
        (item(content=[{"type": "input_text", "text": "é中\n"}]), Amount(text=6)),
        (item(content=[{"type": "input_audio", "audio": "QUJD"}]), Amount(audio=4)),
        (item(content=[{"type": "input_image", "image_url": "data:" + "x" * 99}]), Amount()),
        (item(type="function_call_output", output="12"), Amount(text=2)),
        (item(type="function_call_output", output={"a": 1}), Amount(text=8)),
        (item(type="function_call", arguments="{}"), Amount(text=2)),
        (item(content=[{"text": None}], output=None), Amount()),
        (item(content=[]), Amount()),
        (b'{"item":null}', Amount()),
        (b"{}", Amount()),
    ],
)
def test_an_items_text_and_audio_are_counted(payload: bytes, amount: Amount) -> None:
    assert amount_of_item(payload) == amount


@pytest.mark.parametrize(
    "payload",
    [
        b'{"item":5}',
        b'{"item":{"content":5}}',
        b'{"item":{"content":[{"text":"\\ud800"}]}}',
        b'{"item":{"content":' + b"[" * 100_000,
        b'{"item":{"content":[' + b"{}," * PARTS_MAX + b'{"text":"x"}]}}',
    ],
)
def test_an_item_that_cannot_be_read_counts_as_text(payload: bytes) -> None:
    assert amount_of_item(payload) == Amount(text=len(payload))


@pytest.mark.parametrize(
    ("kind", "medium"),
    [
        ("response.output_audio.delta", Medium.AUDIO),
        ("response.audio.delta", Medium.AUDIO),
        ("response.output_audio_transcript.delta", Medium.TEXT),
        ("response.output_text.delta", Medium.TEXT),
        ("response.function_call_arguments.delta", Medium.TEXT),
        ("response.output_audio.done", None),
        ("conversation.item.input_audio_transcription.delta", None),
    ],
)
def test_deltas_of_a_response_are_audio_or_text(kind: str, medium: Medium | None) -> None:
    assert medium_of(kind) is medium


@pytest.mark.parametrize(
    ("payload", "size"),
    [
        (b'{"type":"x","delta":"QUJD"}', 4),
        (b'{"type":"x", "delta" : "QUJD" }', 4),
        (b'{"delta":"","item_id":"item_1"}', 0),
        (b'{"delta":"a\\"b","item_id":"item_1"}', 4),
        (b'{"delta":"a\\\\","item_id":"item_1"}', 3),
        (b'{"delta":"\\"\\"","item_id":"item_1"}', 4),
        (b'{"delta":"never ends', 0),
        (b'{"delta":"never ends\\"', 12),
        (b'{"delta":5}', 0),
        (b'{"type":"x"}', 0),
    ],
)
def test_a_deltas_size_is_that_of_its_string(payload: bytes, size: int) -> None:
    assert delta_size(payload) == size
    assert delta_size(bytearray(payload)) == size


def test_an_envelope_is_what_stands_around_the_delta() -> None:
    head = b'{"type":"response.output_audio.delta","delta":"'

    assert delta_envelope(head + b"QUJD" * 99) == len(head) + 2
    assert delta_envelope(b'{"type":"x"') == 0


@pytest.mark.parametrize(
    ("response", "amount"),
    [
        (b"null", Amount()),
        (b'{"instructions":"abc"}', Amount(text=3)),
        (b'{"input":[{"content":[{"text":"ab"},{"audio":"QUJD"}]},{"output":"c"}]}', Amount(4, 3)),
        (b'{"input":[{"type":"item_reference","id":"item_1"}]}', Amount()),
    ],
)
def test_a_create_brings_its_input_and_instructions(response: bytes, amount: Amount) -> None:
    assert amount_of_create(b'{"type":"response.create","response":%s}' % response) == amount


@pytest.mark.parametrize(
    "response",
    [
        b"5",
        b'{"input":"abc"}',
        b'{"input":[%s]}' % b",".join([b'{"output":"a"}'] * (PARTS_MAX + 1)),
        b'{"input":[{"content":' + b"[" * 100_000,
    ],
)
def test_a_create_that_cannot_be_read_is_all_text(response: bytes) -> None:
    payload = b'{"type":"response.create","response":%s}' % response

    assert amount_of_create(payload) == Amount(text=len(payload))
