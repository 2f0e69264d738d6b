"""What a Realtime client may send on, what is held for a decision, what is refused."""

from __future__ import annotations

import json
from collections import deque

import attrs
import pytest

from relayd.core.endings import Reason
from relayd.dialect.meter import Refuse, Ticket, Wait
from relayd.dialect.realtime_client import ModelRule
from relayd.dialect.realtime_estimates import Amount
from relayd.protocol.outcomes import Action, Drop, Replace, Violation, Waiting
from tests.dialect.conversation import Slip, Talk, TellingMeter, base64_of
from tests.properties.streams import (
    BINARY,
    TEXT,
    Relayed,
    client_flow,
    drive,
    fragments,
    frame,
    frames_in,
)

MASK = b"\x01\x80\xfe\x7f"
AUDIO = b"QUJD" * 30_000
BROKE = Refuse("insufficient_quota", "budget_exhausted", "The budget is spent.")

CREATES = [
    b'{"type":"response.create"}',
    b'{"type":"response\\u002ecreate"}',
    b'{"\\u0074ype":"response.create"}',
    b'{"event_id":"e","response":{"instructions":"x"},"type":"response.create"}',
    b'\n{ "type" : "response.create" }',
    b'{"audio":"' + AUDIO + b'","type":"response.create"}',
    b'{"type":"response.create","audio":"' + AUDIO + b'"}',
    b'{"x":"input_audio_buffer.append","type":"response.create"}',
]
DOUBLES = [
    b'{"type":"input_audio_buffer.append","type":"response.create"}',
    b'{"type":"response.create","type":"input_audio_buffer.append","audio":"AA"}',
    b'{"type":"input_audio_buffer.append","audio":"AA","\\u0074ype":"response.create"}',
    b'{"type":"input_audio_buffer.append","audio":"\\/","type":"response.create"}',
    b'{"type":"input_audio_buffer.append","audio":"AA","type":"input_audio_buffer.append"}',
    b'{"type":"input_audio_buffer.append","audio":"AA","type":5}',
]
NO_EVENTS = [
    b'\xef\xbb\xbf{"type":"response.create"}',
    b'{"type":"session.x"}{"type":"response.create"}',
    b'{"type":"response.create","x":NaN}',
    b'{"type":"response.create","x":' + b"[" * 50_000,
    b'{"x":{"type":"response.create"}}',
    b'["response.create"]',
    b"response.create",
]


def spoken(wire: bytes, talk: Talk, cuts: range = range(0)) -> Relayed:
    flow = client_flow(talk.conversation.client_reader)
    relayed = drive(flow, wire, cuts)
    flow.close()
    assert flow.hold.bytes_held == 0
    return relayed


def reached(relayed: Relayed) -> list[bytes]:
    return [part.payload for part in frames_in(relayed.wire)]


@pytest.mark.parametrize("payload", CREATES)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("cut_bytes", [3, 1000, 1 << 20])
def test_no_create_passes_unasked(payload: bytes, opcode: int, cut_bytes: int) -> None:
    allowed, refused = Talk(), Talk(TellingMeter(answers=deque([BROKE, BROKE])))
    pieces = [payload[:9], payload[9:14], payload[14:]]
    wire = frame(opcode, payload, MASK) + fragments(opcode, pieces, MASK, frame(9, b"", MASK))
    cuts = range(0, len(wire), cut_bytes if len(wire) < 1000 else max(cut_bytes, 1000))

    assert b"".join(reached(spoken(wire, allowed, cuts))) == payload * 2
    assert len(allowed.meter.asks) == len(allowed.heard.asked) == 2
    relayed = spoken(wire, refused, cuts)
    assert relayed.wire == b""
    assert [json.loads(answer)["error"]["code"] for answer in relayed.answers] == [
        "budget_exhausted"
    ] * 2
    assert refused.heard.asked == []


@pytest.mark.parametrize("payload", DOUBLES)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_two_types_end_the_session_and_reach_nobody(payload: bytes, opcode: int) -> None:
    relayed = spoken(frame(opcode, payload, MASK), Talk())

    assert relayed.wire == b""
    assert isinstance(relayed.events[-1], Violation)
    assert relayed.events[-1].reason is Reason.DUPLICATE_TYPE


@pytest.mark.parametrize("payload", [*NO_EVENTS, b'{"a":"\xff","type":"x"}'])
def test_what_is_no_event_is_answered_and_reaches_nobody(payload: bytes) -> None:
    relayed = spoken(frame(BINARY, payload, MASK), Talk())

    assert relayed.wire == b""
    assert relayed.events == []
    assert json.loads(relayed.answers[0])["error"]["code"] == "invalid_json"


@pytest.mark.parametrize(
    "payload",
    [
        b'{"type":"input_audio_buffer.append","audio":"AA"}',
        b'{"type": "input_audio_buffer.append", "audio": "AA"}',
        b'{"type":"input_audio_buffer.append","event_id":"e","audio":"\\/w=="}',
        b'{"audio":"AA","type":"input_audio_buffer.append"}',
        b'{"type":"input_audio_buffer.append","audio":"type"}',
        b'{"type":"input_audio_buffer.append","x":{"type":"type"},"audio":"AA"}',
        b'{"type":"input_audio_buffer.append",}',
        b'{"type":"conversation.item.create","item":{"type":"message"}}',
    ],
)
def test_other_events_pass_as_they_are(payload: bytes) -> None:
    talk = Talk()
    wire = frame(TEXT, payload, MASK)

    assert spoken(wire, talk).wire == wire
    assert talk.meter.asks == []


def append_head(spaced: str = "") -> bytes:
    return b'{"type":%s"input_audio_buffer.append",%s"audio":%s"' % ((spaced.encode(),) * 3)


@pytest.mark.parametrize("audio", [AUDIO, AUDIO.replace(b"B", b"\\/")])
@pytest.mark.parametrize("pieces", [1, 5, 30])
def test_a_long_append_is_let_go_before_it_has_arrived(audio: bytes, pieces: int) -> None:
    payload = append_head(" ") + audio + b'"}'
    step = len(payload) // pieces + 1
    parts = [payload[i : i + step] for i in range(0, len(payload), step)]
    wire = fragments(TEXT, parts, MASK)
    flow = client_flow(Talk().conversation.client_reader)

    early = drive(flow, wire[: len(wire) - 10], range(0, len(wire), 5000))
    assert len(early.wire) > 60_000
    whole = drive(client_flow(Talk().conversation.client_reader), wire, range(0, len(wire), 5000))
    assert whole.wire == wire


@pytest.mark.parametrize("place", [0, 70_000, 110_000])
@pytest.mark.parametrize("key", [b'"type"', b'"\\u0074ype"', b'"\\u0074\\u0079\\u0070\\u0065"'])
def test_a_second_type_late_in_a_long_append_ends_the_session(place: int, key: bytes) -> None:
    tail = b'","x":"' + AUDIO[place:] + b'",' + key + b':"response.create"}'
    wire = frame(TEXT, append_head() + AUDIO[:place] + tail, MASK)

    for step in (5000, 65536):
        talk = Talk()
        flow = client_flow(talk.conversation.client_reader)
        relayed = drive(flow, wire, range(0, len(wire), step))

        assert isinstance(relayed.events[-1], Violation)
        assert relayed.events[-1].reason is Reason.DUPLICATE_TYPE
        assert len(relayed.wire) < len(wire)
        flow.close()
        assert flow.hold.bytes_held == 0


@pytest.mark.parametrize(
    "payload",
    [
        b'{"audio":"' + AUDIO + b'","type":"input_audio_buffer.append"}',
        b'{"type":"conversation.item.create","item":"' + AUDIO + b'"}',
    ],
)
def test_a_long_message_that_is_not_proven_harmless_is_held_whole(payload: bytes) -> None:
    wire = frame(TEXT, payload, MASK)
    flow = client_flow(Talk().conversation.client_reader)

    relayed = drive(flow, wire[:-1], range(0, len(wire), 5000))
    assert relayed.wire == b""
    assert flow.hold.bytes_held >= 2 * len(payload) - 100

    assert spoken(wire, Talk(), range(0, len(wire), 5000)).wire == wire


def test_a_long_binary_append_is_held_whole_since_its_utf8_is_not_watched() -> None:
    wire = frame(BINARY, append_head() + AUDIO + b'"}', MASK)

    assert (
        drive(
            client_flow(Talk().conversation.client_reader), wire[:-1], range(0, len(wire), 999)
        ).wire
        == b""
    )


@attrs.define
class Later:
    answer: Refuse | None = None
    slip: Slip = attrs.field(factory=lambda: Slip(TellingMeter()))

    async def wait(self) -> Ticket | Refuse:
        return self.answer or self.slip


def waiting(later: Later) -> Talk:
    return Talk(TellingMeter(answers=deque([Wait(later)])))


async def decided(talk: Talk) -> Action | None:
    action = talk.client("response.create", 5.0, event_id="mine")
    assert isinstance(action, Waiting)
    assert talk.heard.asked == []
    return await action.decision.wait()


async def test_a_create_that_waits_is_asked_for_once_it_is_allowed() -> None:
    later = Later()
    talk = waiting(later)

    assert await decided(talk) is None
    assert talk.heard.asked == [5.0]
    assert later.slip.endings == []
    talk.created("a", 6.0)
    talk.done("a", 7.0)
    assert later.slip.endings == talk.heard.ended
    assert [turn.asked_at for turn in talk.heard.ended] == [5.0]


async def test_a_create_that_waits_may_be_refused() -> None:
    talk = waiting(Later(BROKE))

    assert error_of(await decided(talk)) == ("budget_exhausted", "mine")
    assert talk.heard.asked == []


async def test_a_create_that_waits_while_the_session_closes_to_turns_is_refused() -> None:
    later = Later()
    talk = waiting(later)
    action = talk.client("response.create", event_id="mine")
    assert isinstance(action, Waiting)
    talk.conversation.closed_to_turns = BROKE

    assert error_of(await action.decision.wait()) == ("budget_exhausted", "mine")
    assert talk.heard.asked == []
    assert later.slip.endings == [None]


async def test_a_create_that_waits_while_the_session_ends_is_refused() -> None:
    later = Later()
    talk = waiting(later)
    action = talk.client("response.create")
    assert isinstance(action, Waiting)
    talk.conversation.cut_short(Reason.CLIENT_GONE, 9.0)

    assert isinstance(await action.decision.wait(), Drop)
    assert later.slip.endings == [None]
    assert talk.heard.ended == []


def error_of(action: Action | None) -> tuple[str, str | None]:
    assert isinstance(action, Drop)
    error = json.loads(action.reply or b"")["error"]
    return error["code"], error["event_id"]


@pytest.mark.parametrize(
    ("named", "event_id"),
    [
        ({}, None),
        ({"event_id": None}, None),
        ({"event_id": 5}, None),
        ({"event_id": "mine"}, "mine"),
        ({"event_id": "é" * 1000}, "é" * 128),
        ({"event_id": '"\n'}, '"\n'),
    ],
)
def test_a_refusal_says_what_was_refused(named: dict[str, object], event_id: str | None) -> None:
    refusing = Talk(TellingMeter(answers=deque([BROKE])))
    closed = Talk()
    closed.conversation.closed_to_turns = BROKE

    for talk in (refusing, closed):
        action = talk.conversation.client_reader.message(
            json.dumps({"type": "response.create", **named}).encode(), 1.0, text=True
        )
        assert error_of(action) == ("budget_exhausted", event_id)
        assert isinstance(action, Drop)
        assert json.loads(action.reply or b"")["event_id"] == "event_relayd"


def test_nothing_overtakes_a_message_that_waits() -> None:
    talk = waiting(Later())
    first = b'{"type":"response.create"}'
    second = b'{"type":"input_audio_buffer.append","audio":"AA"}'
    wire = frame(TEXT, first, MASK) + frame(TEXT, second, MASK)
    flow = client_flow(talk.conversation.client_reader)
    buffer = bytearray(wire)

    assert flow.feed(memoryview(buffer), buffer, len(buffer), 1.0) == len(wire) - len(second) - 6
    assert flow.out == []
    assert flow.hold.bytes_held == len(first) + 6
    assert b"".join(flow.resume(None)) == wire[: len(first) + 6]
    assert flow.hold.bytes_held == 0


def test_a_session_that_is_closed_to_turns_answers_a_create() -> None:
    talk = Talk()
    talk.conversation.closed_to_turns = BROKE

    assert isinstance(talk.client("response.create"), Drop)
    assert talk.client("input_audio_buffer.commit") is None
    assert talk.meter.asks == []


def code_of(action: Action | None) -> str | None:
    assert action is None or (isinstance(action, Drop) and action.reply is not None)
    return None if action is None else str(json.loads(action.reply or b"")["error"]["code"])


@pytest.mark.parametrize(
    ("session", "code"),
    [
        ({}, None),
        (None, None),
        ({"model": None}, None),
        ({"model": "good"}, None),
        ({"model": "bad"}, "model_not_allowed"),
        ({"model": 5}, "invalid_value"),
        ({"audio": {"input": {"transcription": {"model": "bad"}}}}, None),
        ({"audio": None}, None),
    ],
)
def test_a_session_update_may_name_what_the_key_allows(session: object, code: str | None) -> None:
    assert code_of(Talk().client("session.update", session=session)) == code


@pytest.mark.parametrize(
    ("session", "code"),
    [
        ({"audio": {"input": {"transcription": {"model": "bad"}}}}, "model_not_allowed"),
        ({"audio": {"input": {"transcription": {"model": "good"}}}}, None),
        ({"audio": {"input": {"transcription": None}}}, None),
        ({"audio": {}}, None),
    ],
)
def test_a_transcription_sessions_model_is_the_transcriptions(
    session: object, code: str | None
) -> None:
    talk = Talk(rule=ModelRule(permits=lambda model: model == "good", transcription=True))

    assert code_of(talk.client("session.update", session=session)) == code


@pytest.mark.parametrize(
    "payload",
    [
        b'{"type":"session.update","session":{"model":"bad"},"session":{"model":"good"}}',
        b'{"type":"session.update","session":{"model":"bad","model":"good"}}',
        b'{"type":"session.update","session":{"\\u006dodel":"bad","model":"good"}}',
        b'{"type":"session.update","session":{"model":"bad"},"session":null}',
        b'{"type":"session.update","session":{"audio":{"input":{"transcription":'
        b'{"model":"bad","model":"good"}}}}}',
    ],
)
def test_a_model_named_twice_is_refused(payload: bytes) -> None:
    action = Talk().conversation.client_reader.message(payload, 1.0, text=True)

    assert code_of(action) == "invalid_value"


def test_a_model_elsewhere_in_a_session_may_stand_twice() -> None:
    tools = [{"name": "a", "parameters": {"model": 1}}, {"name": "b", "parameters": {"model": 2}}]

    assert Talk().client("session.update", session={"model": "good", "tools": tools}) is None


def test_a_refused_model_is_named_without_what_looks_like_a_key() -> None:
    action = Talk().client("session.update", session={"model": "sk-canary-1234567890"})

    assert isinstance(action, Drop)
    assert b"canary" not in (action.reply or b"")


def test_an_invalid_update_is_answered_by_its_id() -> None:
    for session in ({"model": 5}, {"model": "bad"}):
        assert error_of(Talk().client("session.update", event_id="u", session=session))[1] == "u"


def paying(*, transcription: bool = False) -> Talk:
    return Talk(
        rule=ModelRule(
            permits=lambda model: True,
            transcription=transcription,
            upstream_name=lambda model: {"voice": "gpt-realtime"}.get(model, model),
            priced={"gpt-realtime", "whisper-1"}.__contains__,
        )
    )


@pytest.mark.parametrize("transcription", [True, False])
@pytest.mark.parametrize(
    ("session", "code"),
    [
        ({"model": "gpt-realtime"}, None),
        ({"model": "new"}, "model_not_priced"),
        ({"audio": {"input": {"transcription": {"model": "whisper-1"}}}}, None),
        ({"audio": {"input": {"transcription": {"model": "new"}}}}, "model_not_priced"),
        ({"audio": {"input": {"transcription": {"model": "voice"}}}}, "model_not_priced"),
        ({"audio": {"input": {"transcription": None}}}, None),
    ],
)
def test_a_model_without_a_price_is_refused(
    session: object, code: str | None, transcription: bool
) -> None:
    talk = paying(transcription=transcription)

    assert code_of(talk.client("session.update", session=session)) == code


def test_a_price_is_looked_for_under_the_upstreams_name() -> None:
    action = paying().client("session.update", session={"model": "voice"})

    assert isinstance(action, Replace)
    assert json.loads(action.payload)["session"] == {"model": "gpt-realtime"}


def test_a_model_without_a_price_is_named_with_cause_and_remedy() -> None:
    action = paying().client("session.update", event_id="u", session={"model": "new"})

    assert isinstance(action, Drop)
    error = json.loads(action.reply or b"")["error"]
    assert (error["type"], error["event_id"]) == ("invalid_request_error", "u")
    for word in ("budget", "'new'", "price", "operator"):
        assert word in error["message"]


@pytest.mark.parametrize(
    "payload",
    [
        b'{"type":"input_audio_buffer.append","audio":"%s"}' % AUDIO[:400],
        b'{"audio":"%s","type":"input_audio_buffer.append"}' % AUDIO[:400],
        b'{"type":"input_audio_buffer\\u002eappend","audio":"%s"}' % AUDIO[:400],
        b'{"type":"input_audio_buffer.append","audio":"%s"}' % AUDIO,
        b'{"audio":"%s","type":"input_audio_buffer.append"}' % AUDIO,
    ],
)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("cut_bytes", [1000, 1 << 20])
def test_all_audio_that_is_appended_is_counted(payload: bytes, opcode: int, cut_bytes: int) -> None:
    talk = Talk()
    wire = frame(opcode, payload, MASK)
    spoken(wire, talk, range(0, len(wire), cut_bytes))

    audio = 400 if len(payload) < 1000 else len(AUDIO)
    assert audio <= talk.conversation.heard.appended <= audio + 10


def test_an_append_without_audio_takes_nothing_away() -> None:
    talk = Talk()
    talk.append(300)
    for payload in (
        b'{"type":"input_audio_buffer.append",}',
        b'{"type":"input_audio_buffer.append"}',
    ):
        talk.conversation.client_reader.message(payload, 1.0, text=True)

    assert talk.conversation.heard.due() == Amount(audio=len(base64_of(300)))


def test_items_are_counted_when_they_go() -> None:
    talk = Talk()
    talk.client("conversation.item.create", item={"content": [{"text": "x" * 12}]})

    assert talk.conversation.heard.due() == Amount(text=12)
