"""Reading a Realtime client's events: each is decided on, exactly, before it is sent on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
import msgspec

from relayd.core.endings import Reason
from relayd.core.redact import redact
from relayd.dialect.exact import DuplicateType, NotAnEvent, TypeWatch, decode_type, unique_fields
from relayd.dialect.meter import Refuse, TurnDecision, Wait
from relayd.dialect.realtime_estimates import Heard, amount_of_item
from relayd.dialect.realtime_events import (
    HEAD,
    WireSession,
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
_ENVELOPE_BYTES: Final = len(b'{"type":"input_audio_buffer.append","audio":""}')
"""Of an append, around its audio. A shorter message holds none, and takes nothing away."""

_TYPE_KEY: Final = b'"type"'
_TYPE_KEY_BYTES: Final = len(_TYPE_KEY)
_INVALID: Final = "invalid_request_error"
_SHOWN_MAX_CHARS: Final = 64  # of a model's name, in a message
_WAY_TO_MODELS: Final = ("session", "audio", "input", "transcription")
"""Keys from a ``session.update`` down to the objects that may name a model."""


def _always(model: str) -> bool:
    return True


@attrs.define(kw_only=True)
class ModelRule:
    """Which models a client's ``session.update`` may name.

    Attributes:
        permits: Whether the key allows a model.
        transcription: Whether the session is for transcription alone, where the transcription's
            model is the one that is paid for.
        upstream_name: What the account calls a model (``model_map``), as in the URL.
        priced: Whether a model may be used for money, by the account's name for it.
    """

    permits: Callable[[str], bool]
    transcription: bool = False
    upstream_name: Callable[[str], str] = str
    priced: Callable[[str], bool] = _always


class RealtimeClientReader:
    """See :class:`~relayd.protocol.outcomes.ClientReader`."""

    __slots__ = ("_heard", "_rule", "_turns")

    def __init__(self, turns: Turns, rule: ModelRule) -> None:
        self._turns = turns
        self._heard = turns.heard
        self._rule = rule

    def message(self, payload: bytes, now: float, *, text: bool) -> Action | None:
        """Decide about one client event. A binary message counts as what it would say as text."""
        if text and _is_plain_append(payload):
            if (audio_chars := len(payload) - _ENVELOPE_BYTES) > 0:
                self._heard.appended += audio_chars
            return None
        try:
            kind = decode_type(payload if text else _as_text(payload))
        except DuplicateType as duplicate:
            return Violation(Reason.DUPLICATE_TYPE, str(duplicate))
        except NotAnEvent as wrong:
            return Drop(error_event(_INVALID, "invalid_json", str(wrong)))
        match kind:
            case "response.create":
                return self._create(payload, now)
            case "session.update":
                return self._update(payload)
            case "conversation.item.create":
                self._heard.add_item(amount_of_item(payload))
            case "input_audio_buffer.append":
                self._heard.appended += max(0, len(payload) - _ENVELOPE_BYTES)
        return None

    def release(self, head: bytes) -> Watch | None:
        """An append may go on while it arrives, watched for a second type."""
        found = HEAD.match(head)
        if found is None or found[2] != b"input_audio_buffer.append":
            return None
        watch = TypeWatch(inside=True)
        if watch.feed(head[found.end() :]) is not None:
            return None
        self._heard.appended += len(head) - _ENVELOPE_BYTES
        return _AppendWatch(watch, self._heard)

    def _create(self, payload: bytes, now: float) -> Action | None:
        turns, event_id = self._turns, event_id_of(payload)
        if (refuse := turns.refuses()) is not None:
            return _refused(refuse, event_id)
        match turns.meter.turn_asked(turns.ask_of(now, payload)):
            case Refuse() as refused:
                return _refused(refused, event_id)
            case Wait(decision):
                return Waiting(_CreateDecision(turns, decision, now, event_id))
            case ticket:
                turns.ask(now, ticket, event_id)
        return None

    def _update(self, payload: bytes) -> Action | None:
        """Models named in a ``session.update`` are the key's to allow, like those in the URL."""
        rule = self._rule
        try:
            session = decode_session_update(payload).session
        except msgspec.DecodeError:
            return _invalid_update("a field has the wrong type", event_id_of(payload))
        except RecursionError:
            return _invalid_update("nested too deeply", event_id_of(payload))
        if _names_a_model_twice(payload):
            what = "a key stands twice in one object, or there are too many"
            return _invalid_update(what, event_id_of(payload))
        if session is None:
            return None
        if (refused := self._refuses_models(session)) is not None:
            kind, message = refused
            return Drop(error_event(_INVALID, kind, message, event_id_of(payload)))
        if session.model is None or rule.upstream_name(session.model) == session.model:
            return None
        return Replace(_with_model(payload, rule.upstream_name(session.model)))

    def _refuses_models(self, session: WireSession) -> tuple[str, str] | None:
        """Code and message where ``session`` names a model that it may not."""
        rule = self._rule
        model, transcription_model = session.model, session.transcription_model
        for asked in (model, transcription_model if rule.transcription else None):
            if asked is not None and not rule.permits(asked):
                return "model_not_allowed", f"this key may not use the model {_shown(asked)}"
        paid = (None if model is None else rule.upstream_name(model), transcription_model)
        for name in paid:
            if name is not None and not rule.priced(name):
                return "model_not_priced", (
                    f"This key has a budget and the model {_shown(name)} has no price, so it"
                    " cannot be used with it. The operator can add a price, or use a key without"
                    " a budget."
                )
        return None


def _shown(model: str) -> str:
    return repr(redact(model[:_SHOWN_MAX_CHARS]))


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
        answer = await self.decision.wait()
        if isinstance(answer, Refuse):
            return _refused(answer, self.event_id)
        refuse = self.turns.refuses()
        if refuse is not None:  # since the question was put
            answer.void()
            return _refused(refuse, self.event_id)
        self.turns.ask(self.asked_at, answer, self.event_id)
        return None


@attrs.frozen
class _AppendWatch:
    """Counts the rest of an append that is on its way, and looks for a second type in it."""

    types: TypeWatch
    heard: Heard

    def feed(self, piece: bytes) -> Violation | None:
        """See :class:`~relayd.protocol.outcomes.Watch`."""
        self.heard.appended += len(piece)
        return self.types.feed(piece)


def _refused(refuse: Refuse, event_id: str | None) -> Drop:
    return Drop(error_event(refuse.kind, refuse.code, refuse.message, event_id))


def _invalid_update(what: str, event_id: str | None) -> Drop:
    return Drop(error_event(_INVALID, "invalid_value", f"session.update: {what}", event_id))


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
    return payload.find(_TYPE_KEY, _TYPE_KEY_BYTES, last + _TYPE_KEY_BYTES) < 0
