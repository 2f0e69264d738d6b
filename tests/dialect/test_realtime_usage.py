"""Usage as upstreams tell it: every shape that was seen, and shapes that nobody should send."""

from __future__ import annotations

import json
from collections.abc import Sequence

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.dialect.meter import Usage
from relayd.dialect.realtime_usage import complete, decode_usage

NOTHING_SEEN = Usage(source="response", upstream_id="resp_1", estimated=True)
SEEN = attrs.evolve(
    NOTHING_SEEN,
    input_text=10,
    input_audio=30,
    output_text=1,
    output_audio=3,
    input_total=40,
    output_total=4,
)


def usage_of(wire: object, seen: Usage = NOTHING_SEEN) -> Usage | None:
    told = decode_usage(msgspec.Raw(json.dumps(wire).encode()))
    return None if told is None else complete(told, seen)


def told(wire: object, seen: Usage = NOTHING_SEEN) -> Usage:
    usage = usage_of(wire, seen)
    assert usage is not None
    return usage


def read(text: int = 0, audio: int = 0, image: int = 0, **cached: object) -> dict[str, object]:
    return {"text_tokens": text, "audio_tokens": audio, "image_tokens": image, **cached}


def test_every_kind_of_token_is_read() -> None:
    usage = usage_of(
        {
            "total_tokens": 255,
            "input_tokens": 134,
            "output_tokens": 121,
            "input_token_details": {
                "text_tokens": 119,
                "audio_tokens": 13,
                "image_tokens": 2,
                "cached_tokens": 66,
                "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 1, "image_tokens": 1},
            },
            "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
        },
        SEEN,
    )

    assert usage == Usage(
        source="response",
        upstream_id="resp_1",
        input_text=119,
        input_audio=13,
        input_image=2,
        cached_text=64,
        cached_audio=1,
        cached_image=1,
        output_text=30,
        output_audio=91,
        input_total=134,
        output_total=121,
    )


@pytest.mark.parametrize(
    "wire",
    [
        None,
        {},
        {"input_tokens": None, "output_tokens": None},
        {"output_token_details": None},
        {"input_token_details": {}, "output_token_details": {}},
        {"input_token_details": {"cached_tokens": 5}},
        {"total_tokens": -5},
        {"input_tokens": -5},
        {"input_tokens": 5.5},
        {"input_tokens": True},
        {"input_tokens": 10**9 + 1},
        {"total_tokens": 10**9 + 1},
        {"input_tokens": 1 << 60},
        {"input_tokens": "5"},
        {"output_token_details": 5},
        {"seconds": -1.0},
        {"seconds": 1e300},
        {"type": "duration"},
        [],
        "usage",
    ],
)
def test_no_usage_and_nonsense_are_none(wire: object) -> None:
    assert usage_of(wire) is None


@pytest.mark.parametrize("raw", [b'{"input_tokens":', b'{"input_tokens":' + b"1" * 5000 + b"}"])
def test_what_is_no_number_that_can_be_is_none(raw: bytes) -> None:
    assert decode_usage(msgspec.Raw(raw)) is None


@pytest.mark.parametrize(
    ("cached", "text", "audio", "image", "estimated"),
    [
        (0, 0, 0, 0, False),
        (5, 5, 0, 0, False),
        (10, 10, 0, 0, False),
        (13, 10, 3, 0, False),
        (32, 10, 20, 2, False),
        (40, 10, 20, 5, True),
        (None, 0, 0, 0, False),
    ],
)
def test_cached_tokens_of_no_kind_are_text_first(
    cached: int | None, text: int, audio: int, image: int, estimated: bool
) -> None:
    details = read(10, 20, 5, cached_tokens=cached)
    usage = told({"input_tokens": 35, "output_tokens": 0, "input_token_details": details}, SEEN)

    assert (usage.cached_text, usage.cached_audio, usage.cached_image) == (text, audio, image)
    assert usage.estimated is estimated


@pytest.mark.parametrize(
    ("cached", "kinds", "seen"),
    [
        (9, read(4, 5), (4, 5, 0)),
        (15, read(15), (10, 0, 0)),
        (None, read(99, 99, 99), (10, 20, 5)),
        (12, read(4), (10, 2, 0)),
        (3, read(), (3, 0, 0)),
    ],
)
def test_cached_tokens_are_never_more_than_those_of_their_kind(
    cached: int | None, kinds: dict[str, object], seen: tuple[int, int, int]
) -> None:
    details = read(10, 20, 5, cached_tokens=cached, cached_tokens_details=kinds)
    usage = told({"input_token_details": details, "output_tokens": 0})

    assert (usage.cached_text, usage.cached_audio, usage.cached_image) == seen


@pytest.mark.parametrize(
    ("total", "details", "seen", "kinds"),
    [
        (40, None, SEEN, (10, 30, 0)),
        (40, {}, SEEN, (10, 30, 0)),
        (5, None, SEEN, (1, 4, 0)),
        (40, None, NOTHING_SEEN, (40, 0, 0)),
        (40, read(8, 8, 16), SEEN, (10, 14, 16)),
        (40, read(8, 8, 16), NOTHING_SEEN, (16, 8, 16)),
        (10, read(10, 20, 10), SEEN, (3, 5, 2)),
        (0, read(1, 2, 3), SEEN, (0, 0, 0)),
        (None, None, SEEN, (10, 30, 0)),
    ],
)
def test_input_that_does_not_add_up_is_made_to_and_marked(
    total: int | None, details: object, seen: Usage, kinds: tuple[int, int, int]
) -> None:
    out = {"output_tokens": 4, "output_token_details": read(1, 3)}
    usage = told({"input_tokens": total, "input_token_details": details, **out}, seen)

    assert (usage.input_text, usage.input_audio, usage.input_image) == kinds
    assert usage.input_total == sum(kinds)
    assert usage.estimated


@pytest.mark.parametrize(
    ("total", "details", "seen", "kinds"),
    [
        (40, None, SEEN, (10, 30)),
        (40, None, NOTHING_SEEN, (40, 0)),
        (40, read(30, 2), SEEN, (32, 8)),
        (4, read(4, 12), SEEN, (1, 3)),
        (None, None, SEEN, (1, 3)),
    ],
)
def test_output_that_does_not_add_up_is_made_to_and_marked(
    total: int | None, details: object, seen: Usage, kinds: tuple[int, int]
) -> None:
    given_input = {"input_tokens": 3, "input_token_details": read(3)}
    usage = told({"output_tokens": total, "output_token_details": details, **given_input}, seen)

    assert (usage.output_text, usage.output_audio) == kinds
    assert usage.output_total == sum(kinds)
    assert usage.estimated


def test_parts_without_a_total_are_their_own() -> None:
    usage = told({"input_token_details": read(3, 4, 5), "output_token_details": read(6, 7)}, SEEN)

    assert (usage.input_total, usage.output_total, usage.estimated) == (12, 13, False)


def test_totals_of_nothing_need_no_details() -> None:
    assert told({"input_tokens": 0, "output_tokens": 0}, SEEN) == attrs.evolve(
        NOTHING_SEEN, estimated=False
    )


@pytest.mark.parametrize("spelled", [b"1000", b"1000.0", b"1e3"])
def test_a_whole_number_counts_however_it_is_spelled(spelled: bytes) -> None:
    wire = decode_usage(msgspec.Raw(b'{"input_tokens":%s,"output_tokens":0}' % spelled))

    assert wire is not None
    assert (wire.input_tokens, wire.spoiled) == (1000, False)


WHOLE = {
    "input_tokens": 60,
    "output_tokens": 30,
    "total_tokens": 90,
    "input_token_details": read(20, 40, 0, cached_tokens=4),
    "output_token_details": read(10, 20),
}


@pytest.mark.parametrize("odd", [-1, 1.5, "many", True, 10**9 + 1, 10**40, [], {"a": [{}]}])
@pytest.mark.parametrize("name", ["input_tokens", "output_tokens", "total_tokens", "seconds"])
def test_an_odd_number_hides_no_other(name: str, odd: object) -> None:
    if name == "seconds" and odd == 1.5:
        return
    usage = told({**WHOLE, name: odd}, SEEN)

    assert (usage.input_text, usage.input_audio, usage.cached_text) == (20, 40, 4)
    assert (usage.output_text, usage.output_audio) == (10, 20)
    assert usage.estimated


@pytest.mark.parametrize(
    ("details", "kinds", "cached"),
    [
        (read(20, 40, cached_tokens=-1), (20, 40), 0),
        (read(20, 40, cached_tokens=5, cached_tokens_details=7), (20, 40), 5),
        (read(20, 40, cached_tokens=5, cached_tokens_details=read(-1, 2)), (20, 40), 5),
        (read(-1, 40), (5, 55), 0),
        (7, (15, 45), 0),
    ],
)
def test_an_odd_detail_hides_no_other(details: object, kinds: tuple[int, int], cached: int) -> None:
    usage = told({**WHOLE, "input_token_details": details}, SEEN)

    assert (usage.input_text, usage.input_audio) == kinds
    assert usage.cached_total == cached
    assert (usage.output_text, usage.output_audio) == (10, 20)
    assert usage.estimated


@pytest.mark.parametrize(
    ("wire", "seen", "counts"),
    [
        ({}, NOTHING_SEEN, (1500, 0, 0, 0)),
        (
            {},
            attrs.evolve(SEEN, output_text=40, output_total=40, output_audio=0),
            (188, 562, 750, 0),
        ),
        ({"input_tokens": 1000}, SEEN, (250, 750, 125, 375)),
        ({"input_token_details": read(600, 400)}, SEEN, (600, 400, 125, 375)),
        ({"output_tokens": 500}, SEEN, (250, 750, 125, 375)),
        ({"output_tokens": 2000}, SEEN, (0, 0, 500, 1500)),
        ({"output_token_details": read(100, 400)}, NOTHING_SEEN, (1000, 0, 100, 400)),
        ({"input_tokens": 5, "output_tokens": 6}, NOTHING_SEEN, (5, 0, 6, 0)),
    ],
)
def test_a_total_of_both_directions_is_the_last_resort(
    wire: dict[str, object], seen: Usage, counts: tuple[int, int, int, int]
) -> None:
    usage = told({**wire, "total_tokens": 1500}, seen)

    assert counts == (
        usage.input_text,
        usage.input_audio,
        usage.output_text,
        usage.output_audio,
    )
    assert usage.estimated


TRANSCRIBED = attrs.evolve(
    NOTHING_SEEN, source="transcription", upstream_id="item_1:0", input_audio=20, input_total=20
)


@pytest.mark.parametrize(
    ("wire", "kinds", "seconds", "estimated"),
    [
        (
            {"type": "tokens", "input_tokens": 9, "output_tokens": 5}
            | {"input_token_details": read(2, 7)},
            (2, 7, 5),
            None,
            False,
        ),
        ({"type": "tokens", "input_tokens": 9, "output_tokens": 5}, (0, 9, 5), None, True),
        ({"output_tokens": 5}, (0, 20, 5), None, True),
        ({"input_token_details": read(2, 7)}, (2, 7, 0), None, False),
        ({"type": "duration", "seconds": 3.5}, (0, 0, 0), 3.5, False),
        ({"seconds": 3}, (0, 0, 0), 3.0, False),
        ({"type": "duration", "seconds": 3.5, "input_tokens": 9}, (0, 0, 0), 3.5, False),
        (
            {"type": "tokens", "seconds": 3.5, "output_tokens": 5, "input_tokens": 9},
            (0, 9, 5),
            None,
            True,
        ),
    ],
)
def test_a_transcription_takes_tokens_or_time(
    wire: object, kinds: tuple[int, int, int], seconds: float | None, estimated: bool
) -> None:
    usage = told(wire, TRANSCRIBED)

    assert (usage.input_text, usage.input_audio, usage.output_text) == kinds
    assert (usage.seconds, usage.estimated) == (seconds, estimated)
    assert (usage.source, usage.upstream_id) == ("transcription", "item_1:0")


COUNTS = st.none() | st.integers(0, 50) | st.integers(0, 10**9)
ODD = st.sampled_from([-1, 0.5, 3.0, "5", [], {}, 10**9 + 1])
KINDS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(["text_tokens", "audio_tokens", "image_tokens"], COUNTS | ODD)
)
INPUTS = st.tuples(KINDS, COUNTS, st.none() | KINDS).map(
    lambda parts: {**parts[0], "cached_tokens": parts[1], "cached_tokens_details": parts[2]}
)
WIRES = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["tokens", "duration", None, "other"]),
        "input_tokens": COUNTS,
        "output_tokens": COUNTS,
        "total_tokens": COUNTS | ODD,
        "seconds": st.none() | st.floats(0, 1e6),
        "input_token_details": st.none() | INPUTS,
        "output_token_details": st.none() | KINDS,
    },
)


def parts_of(usage: Usage, kinds: Sequence[str]) -> list[int]:
    return [getattr(usage, kind) for kind in kinds]


@given(
    WIRES,
    st.sampled_from(["response", "transcription"]),
    st.lists(st.integers(0, 1000), min_size=4, max_size=4),
)
def test_whatever_is_told_no_cost_is_negative_and_parts_add_up(
    wire: dict[str, object], source: str, seen: list[int]
) -> None:
    estimate = Usage(
        source=source,
        input_text=seen[0],
        input_audio=seen[1],
        output_text=seen[2],
        output_audio=seen[3],
        input_total=seen[0] + seen[1],
        output_total=seen[2] + seen[3],
        estimated=True,
    )
    usage = usage_of(wire, estimate)
    if usage is None:
        return

    inputs = parts_of(usage, ["input_text", "input_audio", "input_image"])
    cached = parts_of(usage, ["cached_text", "cached_audio", "cached_image"])
    outputs = parts_of(usage, ["output_text", "output_audio"])
    assert all(0 <= some <= most for some, most in zip(cached, inputs, strict=True))
    assert min(outputs) >= 0
    assert usage.input_total == sum(inputs)
    assert usage.output_total == sum(outputs)
    if usage.seconds is None:
        for name, total in (
            ("input_tokens", usage.input_total),
            ("output_tokens", usage.output_total),
        ):
            if wire.get(name) is not None:
                assert total == wire[name]
