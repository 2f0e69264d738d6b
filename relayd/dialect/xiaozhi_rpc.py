"""JSON-RPC 2.0, as far as MCP over a device's socket needs it: ids, and messages to make."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from relayd.dialect.responses_members import Members

ID_MAX_BYTES: Final = 128
"""Of an id as it is spelled; with a longer one a message has none."""

PARAMS_MAX_BYTES: Final = 2048
"""Of params that name a page of tools; a page with longer ones is not remembered."""

CALL_FAILED: Final = -32001
"""The code of a call whose answer will not come, in the range that JSON-RPC leaves to servers."""

TOOLS_LIST: Final = "tools/list"

_decode: Final = msgspec.json.decode
_encode: Final = msgspec.json.encode
_decode_id: Final = msgspec.json.Decoder(int | str).decode


class ToolsPage(msgspec.Struct):
    """One page of a device's tools, each as it spells it."""

    tools: list[msgspec.Raw] = []
    nextCursor: str | None = None


def digest(params: bytes) -> bytes:
    """What params are compared by: 32 bytes of them are kept, however long they are."""
    return hashlib.sha256(params).digest()


def error_response(request_id: bytes, message: str, code: int = CALL_FAILED) -> bytes:
    """A JSON-RPC error; ``request_id`` is JSON."""
    return response(request_id, b"error", _encode({"code": code, "message": message}))


def response(request_id: bytes, name: bytes, value: bytes) -> bytes:
    """An answer; ``name`` is ``result`` or ``error``, ``value`` and ``request_id`` are JSON."""
    return b'{"jsonrpc":"2.0","id":%b,"%b":%b}' % (request_id, name, value)


def request(number: int, method: str, params: bytes) -> bytes:
    """A request of relayd's own; ``params`` is a JSON object."""
    return b'{"jsonrpc":"2.0","id":%d,"method":%b,"params":%b}' % (number, _encode(method), params)


def id_of(members: Members) -> bytes | None:
    """A message's id in one spelling; ``None`` for none, or one that is no number and no string."""
    raw = members.values.get("id")
    if raw is None or len(memoryview(raw)) > ID_MAX_BYTES:
        return None
    try:
        return _encode(_decode_id(raw))
    except msgspec.DecodeError:
        return None


def number_of(request_id: bytes) -> int | None:
    """The number that an id of :func:`id_of` is; ``None`` for a string."""
    return None if request_id.startswith(b'"') else int(request_id)


def page_key(method: str, params: bytes) -> bytes:
    """A digest of the params of ``tools/list``: an empty cursor is as good as none.

    So a server cannot make relayd keep long ones. Empty for other methods, and for params that are
    not remembered.
    """
    if method != TOOLS_LIST or len(params) > PARAMS_MAX_BYTES:
        return b""
    try:
        fields = _decode(params)
    except (msgspec.DecodeError, RecursionError):
        return b""
    if not isinstance(fields, dict):
        return b""
    if not fields.get("cursor"):
        fields.pop("cursor", None)
    return digest(_encode(fields, order="sorted"))
