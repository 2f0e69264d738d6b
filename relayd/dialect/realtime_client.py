"""Reading a Realtime client's events: each is decided on, exactly, before it is sent on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
import msgspec

from relayd.core.endings import Reason
from relayd.core.redact import redact
from relayd.dialect.exact import DuplicateType, NotAnEvent, TypeWatch, decode_type, unique_fields
from relayd.dialect.meter import Refuse, TurnAsk, TurnDecision, Wait
from relayd.dialect.realtime_events import (
    HEAD,
    decode_fields,
    decode_session_update,
    error_event,
    event_id_of,
)
from relayd.dialect.realtime_turns import Turns
from relayd.protocol.outcomes import Action, Drop, Replace, Violation, Waiting, Watch

_APPENDS: Final = (
    b'{"type":"input_audio_buffer.append",',
    b'{"type": "input_audio_buffer.append", ',
)
_TYPE_KEY: Final = b'"type"'
_WAY_TO_MODELS: Final = ("session", "audio", "input", "transcription")
"""Keys from a ``session.update`` down to the objects that may name a model."""


@attrs.define(kw_only=True)
class ModelRule:
    """Which models a client's ``session.update`` may name.

    Attributes:
        permits: Whether the key allows a model.
        transcription: Whether the session is for transcription alone, where the transcription's
            model is the one that is paid for.
        upstream_name: What the account calls a model (``model_map``), as in the URL.
    """

    permits: Callable[[str], bool]
    transcription: bool = False
    upstream_name: Callable[[str], str] = str


class RealtimeClientReader:
    """See :class:`~relayd.protocol.outcomes.ClientReader`."""

    __slots__ = (
        "_rule",
        "_turns",
    )

    def __init__(self, turns: Turns, rule: ModelRule) -> None:
        self._turns = turns
        self._rule = rule

    def message(self, payload: bytes, now: float, *, text: bool) -> Action | None:
        """Decide about one client event. A binary message counts as what it would say as text."""
        if text and _is_plain_append(payload):
            return None
        try:
            kind = decode_type(payload if text else _as_text(payload))
        except DuplicateType as duplicate:
            return Violation(Reason.DUPLICATE_TYPE, str(duplicate))
        except NotAnEvent as wrong:
            return Drop(error_event("invalid_request_error", "invalid_json", str(wrong)))
        match kind:
            case "response.create":
                return self._create(payload, now)
            case "session.update":
                return self._update(payload)
        return None

    def release(self, head: bytes) -> Watch | None:
        """An append may go on while it arrives, watched for a second type."""
        found = HEAD.match(head)
        if found is None or found[2] != b"input_audio_buffer.append":
            return None
        watch = TypeWatch(inside=True)
        return None if watch.feed(head[found.end() :]) is not None else watch

    def _create(self, payload: bytes, now: float) -> Action | None:
        turns = self._turns
        answer: Refuse | Wait | None = turns.closed_to_turns
        if answer is None:
            answer = turns.meter.turn_asked(TurnAsk(now=now, payload=payload))
        match answer:
            case Refuse():
                return _refused(answer)
            case Wait(decision):
                return Waiting(_CreateDecision(turns, decision, now, event_id_of(payload)))
        turns.ask(now, event_id_of(payload))
        return None

    def _update(self, payload: bytes) -> Action | None:
        """Models named in a ``session.update`` are the key's to allow, like those in the URL."""
        rule = self._rule
        try:
            session = decode_session_update(payload).session
        except msgspec.DecodeError:
            return _invalid_update("a field has the wrong type")
        except RecursionError:
            return _invalid_update("nested too deeply")
        if _names_a_model_twice(payload):
            return _invalid_update("a key stands twice in one object, or there are too many")
        if session is None:
            return None
        named = [session.model]
        if rule.transcription:
            named.append(session.transcription_model)
        for model in named:
            if model is not None and not rule.permits(model):
                message = f"this key may not use the model {redact(model[:64])!r}"
                return Drop(error_event("invalid_request_error", "model_not_allowed", message))
        if session.model is None or rule.upstream_name(session.model) == session.model:
            return None
        return Replace(_with_model(payload, rule.upstream_name(session.model)))


def _with_model(payload: bytes, model: str) -> bytes:
    """A ``session.update`` that names ``model``; every other value stays as it is spelled."""
    update = decode_fields(payload)
    session = decode_fields(update["session"])
    session["model"] = msgspec.Raw(msgspec.json.encode(model))
    update["session"] = msgspec.Raw(msgspec.json.encode(session))
    return msgspec.json.encode(update)


@attrs.frozen
class _CreateDecision:
    """What becomes of a held create once its answer is known."""

    turns: Turns
    decision: TurnDecision
    asked_at: float
    event_id: str | None

    async def wait(self) -> Action | None:
        refused = await self.decision.wait() or self.turns.closed_to_turns
        if refused is not None:
            return _refused(refused)
        self.turns.ask(self.asked_at, self.event_id)
        return None


def _refused(refuse: Refuse) -> Drop:
    return Drop(error_event(refuse.kind, refuse.code, refuse.message))


def _invalid_update(what: str) -> Drop:
    return Drop(error_event("invalid_request_error", "invalid_value", f"session.update: {what}"))


def _as_text(payload: bytes) -> bytes:
    """A binary message, whose bytes nobody has validated yet."""
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise NotAnEvent("the message is binary and no UTF-8") from None
    return payload


def _names_a_model_twice(payload: bytes) -> bool:
    """Whether, on the way to a model, one parser may see another value than the next."""
    if b'model"' not in payload and b"\\u" not in payload:
        return False
    part = payload
    for key in _WAY_TO_MODELS:
        fields = unique_fields(part)
        if fields is None:
            return True
        part = bytes(fields.get(key, b""))
        if not part.startswith(b"{"):
            return False
    return unique_fields(part) is None


def _is_plain_append(payload: bytes) -> bool:
    """Whether ``payload`` begins as an append and holds no second ``type``, told without decoding.

    Without a backslash a key is spelled as it is meant, and the last two quotes are those of the
    last string, which is the audio: only what stands before it is searched.
    """
    if not payload.startswith(_APPENDS) or payload.find(b"\\") >= 0:
        return False
    last = payload.rfind(b'"', 0, payload.rfind(b'"'))
    return payload.find(_TYPE_KEY, len(_TYPE_KEY), last + len(_TYPE_KEY)) < 0
