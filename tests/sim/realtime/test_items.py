"""Items as clients give them."""

from __future__ import annotations

import base64
from typing import Literal

import pytest

from relayd.sim.realtime.audio import tone
from relayd.sim.realtime.client_events import (
    ContentPart,
    FunctionCall,
    FunctionCallOutput,
    McpApprovalResponse,
    Message,
    Rejected,
)
from relayd.sim.realtime.items import from_client, user_audio
from relayd.sim.realtime.usage import IMAGE_TOKENS, Tokens

Role = Literal["user", "assistant", "system"]
SOUND = tone("audio/pcm", 300)


def test_each_kind_of_content_has_its_weight() -> None:
    parts = [
        ContentPart(type="input_text", text="two words"),
        ContentPart(type="input_audio", audio=base64.b64encode(SOUND).decode()),
        ContentPart(type="input_image", image_url="data:image/png;base64,AA=="),
    ]

    item = from_client(Message(role="user", content=parts), "item_1", "audio/pcm")

    assert item.tokens == Tokens(text=2, audio=3, image=IMAGE_TOKENS)
    assert item.said == "two words"
    assert item.sound == SOUND


def test_audio_is_shown_only_to_who_retrieves_it() -> None:
    item = user_audio("item_1", SOUND, "audio/pcm")

    assert item.wire["content"] == [{"type": "input_audio", "transcript": None}]
    assert item.with_sound()["content"] == [
        {
            "type": "input_audio",
            "transcript": None,
            "audio": base64.b64encode(SOUND).decode(),
        }
    ]


@pytest.mark.parametrize(
    ("part", "role", "param"),
    [
        (ContentPart(type="output_text", text="x"), "user", "item.content[0].type"),
        (ContentPart(type="input_audio", audio=""), "system", "item.content[0].type"),
        (ContentPart(type="input_text", text="x"), "assistant", "item.content[0].type"),
        (ContentPart(type="input_text"), "user", "item.content[0].text"),
        (ContentPart(type="input_image"), "user", "item.content[0].image_url"),
    ],
)
def test_content_has_to_fit_its_role(part: ContentPart, role: Role, param: str) -> None:
    message = Message(role=role, content=[part])

    with pytest.raises(Rejected) as caught:
        from_client(message, "item_1", "audio/pcm")

    assert caught.value.param == param


def test_a_tool_answer_can_be_heard() -> None:
    item = from_client(
        FunctionCallOutput(call_id="call_1", output="21 degrees"), "item_1", "audio/pcm"
    )

    assert "21 degrees" in item.said
    assert item.tokens == Tokens(text=2)


def test_calls_and_approvals_are_kept() -> None:
    call = from_client(FunctionCall(name="f", arguments="{}"), "item_1", "audio/pcm")
    approval = from_client(
        McpApprovalResponse(approval_request_id="a", approve=True), "item_2", "audio/pcm"
    )

    assert (call.wire["type"], call.wire["call_id"]) == ("function_call", "call_item_1")
    assert approval.wire["approve"] is True
    assert "content" not in call.with_sound()
