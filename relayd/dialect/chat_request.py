"""Reading a chat request: hostile JSON in OpenAI's shape becomes a value, or a mistake.

Shape: the body of ``POST /v1/chat/completions``, with what clients of other providers add to it
(``top_k``, ``thinking``, ``enable_thinking``). What would change the answer and cannot be done is
refused where it is plain (several choices, pictures); any other member that nobody acts on is
named, so that the client can be told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from relayd.core.redact import redact
from relayd.dialect.chat_errors import Mistake
from relayd.dialect.chat_messages import (
    NOTHING,
    UNREADABLE,
    WrongError,
    read_messages,
    short_text,
    text_of,
    wrong_type,
)
from relayd.dialect.chat_tools import read_tool_choice, read_tools
from relayd.dialect.chat_values import ChatRequest, Thinking

REQUEST_MAX_BYTES: Final = 8 << 20
"""Several times the text that the longest context holds."""

STRUCTURES_MAX: Final = 65_536
"""Objects and lists in one request; each costs a hundred times its two bytes once it is decoded."""

REST_MAX_BYTES: Final = 256 << 10
"""All members but ``messages`` and ``tools`` together."""

MODEL_MAX_CHARS: Final = 256
COUNT_MAX: Final = 2**53
NAMED_MAX: Final = 32
"""Members that are named as ignored."""

_Values = Mapping[str, msgspec.Raw]

_PARAM: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_READ: Final = frozenset(
    {
        "enable_thinking",
        "frequency_penalty",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "model",
        "n",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
        "user",
        "web_search_options",
    }
)
_SILENT: Final = frozenset({b"null", b"{}", b"[]", b'""'})
_NEUTRAL: Final = {
    "best_of": {b"1"},
    "logprobs": {b"false"},
    "modalities": {b'["text"]'},
    "parallel_tool_calls": {b"true", b"false"},  # an answer has one call at most
    "service_tier": {b'"auto"', b'"default"'},
    "store": {b"false"},
    "top_logprobs": {b"0"},
}
"""Values that ask for what happens anyway."""

_THINKS: Final = {
    "none": Thinking.DISABLED,
    "minimal": Thinking.DISABLED,
    "low": Thinking.ENABLED,
    "medium": Thinking.ENABLED,
    "high": Thinking.ENABLED,
    "xhigh": Thinking.ENABLED,
    "max": Thinking.ENABLED,
}
"""By ``reasoning_effort``, for models that have no degrees."""


class _Long(msgspec.Struct):
    messages: msgspec.Raw = NOTHING
    tools: msgspec.Raw = NOTHING


class _WireOptions(msgspec.Struct):
    include_usage: bool | None = None


class _WireKind(msgspec.Struct):
    type: str


_decode_long: Final = msgspec.json.Decoder(_Long).decode
_decode_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_switch: Final = msgspec.json.Decoder(bool | None).decode
_decode_number: Final = msgspec.json.Decoder(float | None).decode
_decode_options: Final = msgspec.json.Decoder(_WireOptions | None).decode
_decode_kind: Final = msgspec.json.Decoder(_WireKind | None).decode
_decode_stop: Final = msgspec.json.Decoder(str | list[str] | None).decode


def read_request(payload: bytes) -> ChatRequest | Mistake:
    """What a request's body asks for; nothing is raised, whatever it is."""
    try:
        return _request(_members(payload))
    except WrongError as wrong:
        return wrong.mistake


def _members(payload: bytes) -> _Values:
    """The top-level members; limits come before anything is allocated for them."""
    if len(payload) > REQUEST_MAX_BYTES:
        message = f"The request has {len(payload)} bytes; at most {REQUEST_MAX_BYTES} are read."
        raise WrongError("request_too_large", message, status=413)
    if payload.count(b"{") + payload.count(b"[") > STRUCTURES_MAX:
        message = f"The request has more than {STRUCTURES_MAX} objects and lists."
        raise WrongError("request_too_large", message, status=413)
    try:
        payload.decode()  # what is embedded upstream as it is spelled must be text as well
        long = _decode_long(payload)
        rest = len(payload) - len(memoryview(long.messages)) - len(memoryview(long.tools))
        if rest > REST_MAX_BYTES:
            message = f"The members beside messages and tools exceed {REST_MAX_BYTES} bytes."
            raise WrongError("request_too_large", message, status=413)
        return _decode_members(payload)
    except UnicodeDecodeError:
        raise WrongError("invalid_json", "The body is no UTF-8 text.") from None
    except msgspec.DecodeError as error:
        raise WrongError("invalid_json", f"The body is no JSON object: {error}") from None
    except RecursionError:
        raise WrongError("invalid_json", "The body is nested too deeply.") from None


def _request(values: _Values) -> ChatRequest:
    model = _model(values)
    if _whole(values, "n", 1, COUNT_MAX) not in {None, 1}:
        message = "n must be 1: a request has one answer here. Send it again for another one."
        raise WrongError("unsupported_value", message, "n")
    limit, limit_param = _limit(values)
    thinking, thinking_param = _thinking(values)
    tools = read_tools(values.get("tools", NOTHING))
    choice = read_tool_choice(values.get("tool_choice", NOTHING), tools.functions)
    searches = values.get("web_search_options", NOTHING) != NOTHING
    top_k = _whole(values, "top_k", -1, COUNT_MAX)
    return ChatRequest(
        model=model,
        messages=read_messages(values.get("messages", NOTHING)),
        stream=_switch(values, "stream"),
        include_usage=_include_usage(values),
        temperature=_number(values, "temperature", 0, 2),
        top_p=_number(values, "top_p", 0, 1),
        top_k=top_k if top_k is not None and top_k > 0 else None,  # 0 and -1: off, elsewhere
        presence_penalty=_number(values, "presence_penalty", -2, 2),
        frequency_penalty=_number(values, "frequency_penalty", -2, 2),
        max_tokens=limit,
        max_tokens_param=limit_param,
        stop=_stop(values),
        user=_user(values),
        tools=tools.functions,
        tool_choice=choice.choice,
        web_search_param="web_search_options" if searches else tools.web_search_param,
        thinking=thinking,
        thinking_param=thinking_param,
        response_format=_response_format(values),
        unsupported=(*_unsupported(values), *tools.unsupported, *choice.unsupported),
    )


def _model(values: _Values) -> str:
    raw = values.get("model", NOTHING)
    if raw == NOTHING:
        raise WrongError("missing_required_parameter", "The request needs a model.", "model")
    model = text_of(raw)
    if not model or len(model) > MODEL_MAX_CHARS or not model.isprintable():
        message = f"model must be a string of 1 to {MODEL_MAX_CHARS} printable characters."
        raise WrongError("invalid_value", message, "model")
    return model


def _switch(values: _Values, name: str) -> bool:
    try:
        return bool(_decode_switch(values.get(name, NOTHING)))
    except UNREADABLE:
        wrong_type(name, "a boolean")


def _include_usage(values: _Values) -> bool:
    try:
        options = _decode_options(values.get("stream_options", NOTHING))
    except UNREADABLE:
        wrong_type("stream_options", "an object whose include_usage is a boolean")
    return options is not None and bool(options.include_usage)


def _number(values: _Values, name: str, least: float, most: float) -> float | None:
    try:
        number: float | None = _decode_number(values.get(name, NOTHING))
    except UNREADABLE:
        wrong_type(name, "a number")
    if number is not None and not least <= number <= most:
        message = f"{name} must be a number from {least:g} to {most:g}."
        raise WrongError("invalid_value", message, name)
    return number


def _whole(values: _Values, name: str, least: int, most: int) -> int | None:
    """A whole number, which some encoders spell ``1000.0``."""
    number = _number(values, name, least, most)
    if number is not None and not number.is_integer():
        wrong_type(name, "an integer")
    return None if number is None else int(number)


def _limit(values: _Values) -> tuple[int | None, str]:
    """The most tokens that the answer may have; 0 asks for the model's own limit."""
    old, new = (_whole(values, name, 0, COUNT_MAX) for name in ("max_tokens", _NEW_LIMIT))
    return (old or None, "max_tokens") if new is None else (new or None, _NEW_LIMIT)


_NEW_LIMIT: Final = "max_completion_tokens"


def _stop(values: _Values) -> tuple[str, ...]:
    try:
        stop: str | list[str] | None = _decode_stop(values.get("stop", NOTHING))
    except UNREADABLE:
        wrong_type("stop", "a string or a list of strings")
    texts = [stop] if isinstance(stop, str) else stop or []
    return tuple(text for text in texts if text)


def _user(values: _Values) -> str | None:
    """The client's word for its user, of any length: no upstream is sent more than its hash."""
    raw = values.get("user", NOTHING)
    user = text_of(raw)
    if user is None and raw != NOTHING:
        wrong_type("user", "a string")
    return user or None


def _response_format(values: _Values) -> str | None:
    try:
        kind: _WireKind | None = _decode_kind(values.get("response_format", NOTHING))
    except UNREADABLE:
        wrong_type("response_format", "an object with a type")
    if kind is None or kind.type == "text":
        return None
    if kind.type not in {"json_object", "json_schema"}:
        message = "response_format.type must be text, json_object or json_schema."
        raise WrongError("invalid_value", message, "response_format.type")
    return kind.type


def _thinking(values: _Values) -> tuple[Thinking | None, str]:
    """Whether to think, and the member that says so: the first of three spellings."""
    raw = values.get("thinking", NOTHING)
    if raw != NOTHING:
        try:
            kind = _decode_kind(raw)
        except UNREADABLE:
            wrong_type("thinking", "an object with a type")
        if kind is None or kind.type not in set(Thinking):
            message = f"thinking.type must be one of {', '.join(Thinking)}."
            raise WrongError("invalid_value", message, "thinking.type")
        return Thinking(kind.type), "thinking"
    if values.get("enable_thinking", NOTHING) != NOTHING:
        on = _switch(values, "enable_thinking")
        return (Thinking.ENABLED if on else Thinking.DISABLED), "enable_thinking"
    effort = short_text(values.get("reasoning_effort", NOTHING), "reasoning_effort")
    if effort is not None and effort not in _THINKS:
        message = f"reasoning_effort must be one of {', '.join(_THINKS)}."
        raise WrongError("invalid_value", message, "reasoning_effort")
    return (None if effort is None else _THINKS[effort]), "reasoning_effort"


def _unsupported(values: _Values) -> tuple[str, ...]:
    """Members that ask for something and that nobody reads.

    A name that cannot stand in a header, or that looks like a key pasted there, is left out.
    """
    names = (
        name
        for name, raw in values.items()
        if name not in _READ
        and _PARAM.fullmatch(name)
        and redact(name) == name
        and _asks(name, b"".join(bytes(raw).split()))
    )
    return tuple(sorted(names)[:NAMED_MAX])


def _asks(name: str, value: bytes) -> bool:
    return value not in _SILENT and value not in _NEUTRAL.get(name, ())
