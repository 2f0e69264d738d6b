"""Items of a conversation: what was said, what it weighs, and how it looks on the wire."""

from __future__ import annotations

import base64
from typing import Final, assert_never

import attrs
from msgspec import UNSET

from relayd.sim.realtime import audio
from relayd.sim.realtime.client_events import (
    ContentPart,
    FunctionCall,
    FunctionCallOutput,
    ItemReference,
    JsonObject,
    McpApprovalResponse,
    Message,
    Rejected,
)
from relayd.sim.realtime.usage import IMAGE_TOKENS, Tokens, user_audio_tokens, words

PARTS_BY_ROLE: Final = {
    "user": ("input_text", "input_audio", "input_image"),
    "system": ("input_text",),
    "assistant": ("output_text", "output_audio"),
}
CARRIER: Final = {
    "input_text": "text",
    "input_audio": "audio",
    "input_image": "image_url",
    "output_text": "text",
    "output_audio": "transcript",
}
"""The field that a content part of each type must have."""


@attrs.define
class Item:
    """One item of a conversation.

    Attributes:
        wire: The item as events show it, without audio bytes.
        tokens: What it costs to read.
        said: Its words, as the simulated model understands them.
        sound: Its audio, kept for ``conversation.item.retrieve``.
    """

    wire: JsonObject
    tokens: Tokens
    said: str = ""
    sound: bytes = b""

    @property
    def id(self) -> str:
        """``item_…``, or what the client called it."""
        return str(self.wire["id"])

    def with_sound(self) -> JsonObject:
        """The item as ``conversation.item.retrieved`` shows it: with its audio."""
        content = self.wire.get("content")
        if not isinstance(content, list):
            return self.wire
        encoded = base64.b64encode(self.sound).decode()
        return self.wire | {
            "content": [
                part | {"audio": encoded} if part["type"].endswith("_audio") else part
                for part in content
            ]
        }


def user_audio(item_id: str, sound: bytes, audio_format: str) -> Item:
    """The user message that committed audio becomes."""
    length_ms = audio.duration_ms(sound, audio_format)
    wire: JsonObject = {
        "id": item_id,
        "object": "realtime.item",
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_audio", "transcript": None}],
    }
    tokens = Tokens(audio=user_audio_tokens(length_ms))
    return Item(wire, tokens, said=f"{length_ms} milliseconds of audio", sound=sound)


def from_client(
    given: Message | FunctionCall | FunctionCallOutput | McpApprovalResponse,
    item_id: str,
    audio_format: str,
) -> Item:
    """The item of a ``conversation.item.create``.

    Raises:
        Rejected: A content part does not fit the role, or lacks what its type needs.
    """
    base: JsonObject = {"id": item_id, "object": "realtime.item"}
    match given:
        case Message():
            return _message(given, base, audio_format)
        case FunctionCall():
            tokens = Tokens(text=words(given.arguments))
            call_id = f"call_{item_id}" if given.call_id is UNSET else given.call_id
            call = {"name": given.name, "arguments": given.arguments, "call_id": call_id}
            return Item(base | {"type": "function_call", "status": "completed"} | call, tokens)
        case FunctionCallOutput():
            tokens = Tokens(text=words(given.output))
            output = {"call_id": given.call_id, "output": given.output}
            wire = base | {"type": "function_call_output"} | output
            return Item(wire, tokens, said=f"the tool's answer {given.output}")
        case McpApprovalResponse():
            answer = {"approval_request_id": given.approval_request_id, "approve": given.approve}
            return Item(base | {"type": "mcp_approval_response"} | answer, Tokens())
        case _:
            assert_never(given)


def refuse_reference(given: ItemReference) -> Rejected:
    """Why an ``item_reference`` cannot be put into a conversation: it is in one already."""
    return Rejected("invalid_value", f"Cannot create a reference to '{given.id}'.", "item.type")


def _message(given: Message, base: JsonObject, audio_format: str) -> Item:
    tokens, said, sound = Tokens(), [], b""
    content: list[JsonObject] = []
    for index, part in enumerate(given.content):
        _check_part(part, given.role, index)
        if part.type == "input_audio":
            heard = audio.decoded(part.audio or "")
            content.append({"type": part.type, "transcript": part.transcript or None})
            tokens += Tokens(audio=user_audio_tokens(audio.duration_ms(heard, audio_format)))
            sound += heard
        elif part.type == "input_image":
            content.append({"type": part.type, "image_url": part.image_url})
            tokens += Tokens(image=IMAGE_TOKENS)
        else:
            text = str(getattr(part, CARRIER[part.type]))
            content.append({"type": part.type, CARRIER[part.type]: text})
            tokens += Tokens(text=words(text))
            said.append(text)
    status = {"type": "message", "status": "completed", "role": given.role, "content": content}
    return Item(base | status, tokens, said=" ".join(said), sound=sound)


def _check_part(part: ContentPart, role: str, index: int) -> None:
    where = f"item.content[{index}]"
    if part.type not in PARTS_BY_ROLE[role]:
        allowed = "', '".join(PARTS_BY_ROLE[role])
        message = f"Invalid value: '{part.type}'. Supported values are: '{allowed}'."
        raise Rejected("invalid_value", message, f"{where}.type")
    needed = CARRIER[part.type]
    if not isinstance(getattr(part, needed), str):
        name = f"{where}.{needed}"
        message = f"Missing required parameter: '{name}'."
        raise Rejected("missing_required_parameter", message, name)
