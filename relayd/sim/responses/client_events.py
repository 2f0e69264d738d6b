"""The client events of the Responses API in WebSocket mode, as far as an answer depends on them.

Source: the WebSocket mode guide; openai-python, types/responses/responses_client_event.py. A field
that is not named here is taken and ignored: clients send some that no document names.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, Struct

from relayd.sim.responses.errors import JsonObject, Rejected, ServiceError, invalid

_STREAM_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,256}")


class Create(Struct, tag_field="type", tag="response.create", kw_only=True, frozen=True):
    """Ask for a response. The fields are those of ``POST /v1/responses`` and a lane."""

    model: str
    input: str | list[JsonObject] = []
    instructions: str | None = None
    previous_response_id: str | None = None
    tools: list[JsonObject] | None = None
    tool_choice: str | JsonObject | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_tool_calls: int | None = None
    reasoning: JsonObject | None = None
    text: JsonObject | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    service_tier: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    truncation: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: JsonObject | None = None
    safety_identifier: str | None = None
    user: str | None = None
    generate: bool | None = None
    stream_id: object = UNSET

    @property
    def is_warm_up(self) -> bool:
        """Whether it asks for no output, only for an id to go on from."""
        return self.generate is False

    @property
    def is_stored(self) -> bool:
        """Whether the response is kept beyond its connection: the default."""
        return self.store is not False

    def lane(self) -> str | None:
        """Its ``stream_id``; ``None`` for the default lane.

        Raises:
            Rejected: It is none of 1 to 256 of the characters allowed.
        """
        if self.stream_id is UNSET:
            return None
        if isinstance(self.stream_id, str) and _STREAM_ID.fullmatch(self.stream_id):
            return self.stream_id
        raise Rejected(
            invalid(
                "invalid_stream_id",
                "The 'stream_id' field must be a non-empty string with at most 256 characters and "
                "may only contain letters, numbers, underscores, hyphens, and periods.",
                "stream_id",
            )
        )

    def items(self) -> list[JsonObject]:
        """Its input as items."""
        return as_items(self.input)


class Steer(Struct, tag_field="type", tag="response.steer", kw_only=True, frozen=True):
    """Say something to a response that is running."""

    previous_response_id: str
    input: str | list[JsonObject]

    def items(self) -> list[JsonObject]:
        """Its input as items, all of which name their type."""
        return [{"type": "message"} | item for item in as_items(self.input)]

    def is_acceptable(self) -> bool:
        """Whether its input is what may steer: messages of the user, at least one."""
        items = self.items()
        return bool(items) and all(
            item["type"] == "message" and item.get("role") == "user" for item in items
        )


ClientEvent = Create | Steer


class _Envelope(Struct):
    stream_id: object = UNSET


_EVENTS: Final[msgspec.json.Decoder[ClientEvent]] = msgspec.json.Decoder(ClientEvent)
_ENVELOPES: Final = msgspec.json.Decoder(_Envelope)
_COMPLAINT: Final = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(?P<name>.*)`$")


def parse(text: str) -> ClientEvent:
    """The client event in ``text``.

    Raises:
        Rejected: It is no JSON object, of no known type, or has wrong or missing fields.
    """
    try:
        return _EVENTS.decode(text)
    except msgspec.ValidationError as mistake:
        raise Rejected(_complaint(str(mistake)), _lane_of(text)) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Rejected(
            invalid("invalid_json", "We could not parse the event as JSON.", None)
        ) from None


def as_items(given: str | list[JsonObject]) -> list[JsonObject]:
    """An ``input`` as items: a string is a message of the user."""
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    return given


def _complaint(words: str) -> ServiceError:
    """The service's words for what is wrong with an event, from those of the parser."""
    matched = _COMPLAINT.match(words)
    what, path = (matched["what"], matched["path"] or "") if matched else (words, "")
    if missing := _MISSING.match(what):
        name = f"{path}.{missing['name']}" if path else missing["name"]
        return invalid("missing_required_parameter", f"Missing required parameter: '{name}'.", name)
    if path == "type":
        known = "Supported values are: 'response.create' and 'response.steer'."
        return invalid("invalid_value", f"{what}. {known}", path)
    return invalid("invalid_type", f"Invalid type for '{path or 'event'}': {what}.", path or None)


def _lane_of(text: str) -> str | None:
    """The lane that a refused event named, where that much can be read."""
    try:
        stream_id = _ENVELOPES.decode(text).stream_id
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    if isinstance(stream_id, str) and _STREAM_ID.fullmatch(stream_id):
        return stream_id
    return None
