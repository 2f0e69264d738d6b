"""The client events of the GA Realtime API, parsed exactly: types, required and unknown fields.

Source: the API reference's list of client events. A field that the reference does not name is
refused as ``unknown_parameter``, because the service does so, and because that is how a client
that still speaks the beta shape finds out.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

JsonObject = dict[str, object]
Modality = Literal["audio", "text"]
OutputTokensMax = Annotated[int, Meta(ge=1, le=4096)] | Literal["inf"]


class _Exact(Struct, forbid_unknown_fields=True):
    """A JSON object in which every field is known."""


class AudioFormat(_Exact, kw_only=True):
    """How audio bytes are to be read. Rates other than 24 kHz exist for no format."""

    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"]
    rate: int | UnsetType = UNSET


class Transcription(_Exact, kw_only=True):
    """The second model of a session: the one that writes down what the user said."""

    model: str | UnsetType = UNSET
    language: str | UnsetType = UNSET
    languages: list[str] | UnsetType = UNSET
    prompt: str | UnsetType = UNSET
    keywords: list[str] | UnsetType = UNSET
    delay: str | UnsetType = UNSET


class NoiseReduction(_Exact, kw_only=True):
    """What cleans the input up."""

    type: Literal["near_field", "far_field"]
    strength: float | UnsetType = UNSET


class TurnDetection(_Exact, kw_only=True):
    """How the server notices that the user has finished speaking."""

    type: Literal["server_vad", "semantic_vad"]
    create_response: bool | UnsetType = UNSET
    interrupt_response: bool | UnsetType = UNSET
    threshold: float | UnsetType = UNSET
    prefix_padding_ms: int | UnsetType = UNSET
    silence_duration_ms: int | UnsetType = UNSET
    idle_timeout_ms: int | UnsetType | None = UNSET
    eagerness: Literal["low", "medium", "high", "auto"] | UnsetType = UNSET


class AudioInput(_Exact, kw_only=True):
    """``session.audio.input``."""

    format: AudioFormat | UnsetType = UNSET
    noise_reduction: NoiseReduction | UnsetType | None = UNSET
    transcription: Transcription | UnsetType | None = UNSET
    turn_detection: TurnDetection | UnsetType | None = UNSET


class AudioOutput(_Exact, kw_only=True):
    """``session.audio.output``."""

    format: AudioFormat | UnsetType = UNSET
    voice: str | JsonObject | UnsetType = UNSET
    speed: float | UnsetType = UNSET


class Audio(_Exact, kw_only=True):
    """``session.audio``."""

    input: AudioInput | UnsetType = UNSET
    output: AudioOutput | UnsetType = UNSET


class SessionChange(_Exact, kw_only=True):
    """``session.update``'s session: what it leaves out stays as it is."""

    type: Literal["realtime", "transcription"]
    model: str | UnsetType = UNSET
    instructions: str | UnsetType = UNSET
    output_modalities: list[Modality] | UnsetType = UNSET
    audio: Audio | UnsetType = UNSET
    tools: list[JsonObject] | UnsetType = UNSET
    tool_choice: str | JsonObject | UnsetType = UNSET
    parallel_tool_calls: bool | UnsetType = UNSET
    reasoning: JsonObject | UnsetType | None = UNSET
    max_output_tokens: OutputTokensMax | UnsetType = UNSET
    include: list[str] | UnsetType | None = UNSET
    prompt: JsonObject | UnsetType | None = UNSET
    tracing: str | JsonObject | UnsetType | None = UNSET
    truncation: str | JsonObject | UnsetType = UNSET


class ContentPart(_Exact, kw_only=True):
    """One part of a message; which fields it needs follows from its type."""

    type: Literal["input_text", "input_audio", "input_image", "output_text", "output_audio"]
    text: str | UnsetType = UNSET
    audio: str | UnsetType | None = UNSET
    transcript: str | UnsetType | None = UNSET
    image_url: str | UnsetType = UNSET
    detail: str | UnsetType = UNSET


class _Item(_Exact, tag_field="type", kw_only=True):
    id: str | UnsetType | None = UNSET
    object: str | UnsetType = UNSET
    status: str | UnsetType | None = UNSET


class Message(_Item, tag="message", kw_only=True):
    """What somebody said."""

    role: Literal["user", "assistant", "system"]
    content: list[ContentPart]


class FunctionCall(_Item, tag="function_call", kw_only=True):
    """A tool that the model asked for, as a client replays it."""

    name: str
    arguments: str
    call_id: str | UnsetType = UNSET


class FunctionCallOutput(_Item, tag="function_call_output", kw_only=True):
    """What a tool answered."""

    call_id: str
    output: str


class McpApprovalResponse(_Item, tag="mcp_approval_response", kw_only=True):
    """A person's yes or no to a remote tool."""

    approval_request_id: str
    approve: bool
    reason: str | UnsetType | None = UNSET


class ItemReference(_Item, tag="item_reference", kw_only=True):
    """An item of the conversation, named in a response's own input."""


Item = Message | FunctionCall | FunctionCallOutput | McpApprovalResponse | ItemReference


class ResponseWish(_Exact, kw_only=True):
    """``response.create``'s response: what it leaves out is the session's."""

    conversation: str | UnsetType = UNSET
    input: list[Item] | UnsetType = UNSET
    instructions: str | UnsetType = UNSET
    tools: list[JsonObject] | UnsetType = UNSET
    tool_choice: str | JsonObject | UnsetType = UNSET
    output_modalities: list[Modality] | UnsetType = UNSET
    audio: Audio | UnsetType = UNSET
    max_output_tokens: OutputTokensMax | UnsetType = UNSET
    metadata: JsonObject | UnsetType | None = UNSET
    parallel_tool_calls: bool | UnsetType = UNSET
    prompt: JsonObject | UnsetType | None = UNSET
    reasoning: JsonObject | UnsetType | None = UNSET


class _Event(_Exact, tag_field="type", kw_only=True):
    event_id: str | None = None


class SessionUpdate(_Event, tag="session.update", kw_only=True):
    """Change the session."""

    session: SessionChange


class AudioAppend(_Event, tag="input_audio_buffer.append", kw_only=True):
    """More input audio, base64."""

    audio: str


class AudioCommit(_Event, tag="input_audio_buffer.commit", kw_only=True):
    """Make the buffer a user message."""


class AudioClear(_Event, tag="input_audio_buffer.clear", kw_only=True):
    """Forget the buffer."""


class OutputAudioClear(_Event, tag="output_audio_buffer.clear", kw_only=True):
    """Stop playing; only WebRTC and SIP sessions have such a buffer."""


class ItemCreate(_Event, tag="conversation.item.create", kw_only=True):
    """Put an item into the conversation."""

    item: Item
    previous_item_id: str | None = None


class ItemRetrieve(_Event, tag="conversation.item.retrieve", kw_only=True):
    """Show an item with its audio."""

    item_id: str


class ItemTruncate(_Event, tag="conversation.item.truncate", kw_only=True):
    """Forget the end of an answer that was not heard."""

    item_id: str
    content_index: int
    audio_end_ms: int


class ItemDelete(_Event, tag="conversation.item.delete", kw_only=True):
    """Take an item out of the conversation."""

    item_id: str


class ResponseCreate(_Event, tag="response.create", kw_only=True):
    """Ask for an answer."""

    response: ResponseWish | None = None


class ResponseCancel(_Event, tag="response.cancel", kw_only=True):
    """Stop an answer."""

    response_id: str | None = None


ClientEvent = (
    SessionUpdate
    | AudioAppend
    | AudioCommit
    | AudioClear
    | OutputAudioClear
    | ItemCreate
    | ItemRetrieve
    | ItemTruncate
    | ItemDelete
    | ResponseCreate
    | ResponseCancel
)


class Rejected(Exception):
    """A client event the service answers with an ``error`` event; the session goes on.

    Attributes:
        code: The service's code word.
        message: One sentence for a person.
        param: The field at fault, as a path.
        event_id: The client's own id of the event, if it gave one.
    """

    def __init__(
        self, code: str, message: str, param: str | None = None, event_id: str | None = None
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.param = param
        self.event_id = event_id


class _Envelope(Struct):
    event_id: str | None = None


_EVENTS: Final[msgspec.json.Decoder[ClientEvent]] = msgspec.json.Decoder(ClientEvent)
_ENVELOPES: Final = msgspec.json.Decoder(_Envelope)
_COMPLAINT: Final = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<name>.*)`$", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(?P<name>.*)`$")


def parse(text: str | bytes) -> ClientEvent:
    """The client event in ``text``.

    Raises:
        Rejected: It is no JSON, of no known type, or has wrong, missing or unknown fields. The
            code words and ``param`` are those of the service.
    """
    try:
        return _EVENTS.decode(text)
    except msgspec.ValidationError as invalid:
        raise _rejection(str(invalid), _event_id(text)) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Rejected("invalid_json", "We could not parse the event as JSON.") from None


def _rejection(complaint: str, event_id: str | None) -> Rejected:
    """The service's words for what is wrong with an event, from those of the parser."""
    matched = _COMPLAINT.match(complaint)
    what, path = (matched["what"], matched["path"] or "") if matched else (complaint, "")
    if unknown := _UNKNOWN.match(what):
        name = _joined(path, unknown["name"])
        return Rejected("unknown_parameter", f"Unknown parameter: '{name}'.", name, event_id)
    if missing := _MISSING.match(what):
        name = _joined(path, missing["name"])
        message = f"Missing required parameter: '{name}'."
        return Rejected("missing_required_parameter", message, name, event_id)
    return Rejected("invalid_value", f"{what}.", path or None, event_id)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _event_id(text: str | bytes) -> str | None:
    try:
        return _ENVELOPES.decode(text).event_id
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
