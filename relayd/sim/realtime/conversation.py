"""One Realtime session as a machine: client events in, server events out, no I/O and no clock.

The owner hands in each client message with :meth:`Conversation.receive` and, while the model
speaks, asks for one server event after the other with :meth:`Conversation.advance`. So a test
decides what comes between two deltas, and the same calls give the same bytes.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import attrs

from relayd.sim.realtime import audio, items
from relayd.sim.realtime.billing import Billing
from relayd.sim.realtime.client_events import (
    AudioAppend,
    AudioClear,
    AudioCommit,
    ClientEvent,
    ItemCreate,
    ItemDelete,
    ItemReference,
    ItemRetrieve,
    ItemTruncate,
    JsonObject,
    OutputAudioClear,
    Rejected,
    ResponseCancel,
    ResponseCreate,
    ResponseWish,
    SessionUpdate,
    parse,
)
from relayd.sim.realtime.history import History
from relayd.sim.realtime.responses import Responses
from relayd.sim.realtime.session import (
    Ear,
    Kind,
    Settings,
    changed_session,
    opening_session,
    settings_of,
)
from relayd.sim.realtime.tally import Tally
from relayd.sim.realtime.transcription import transcription
from relayd.sim.realtime.usage import Tokens, model_audio_tokens

if TYPE_CHECKING:
    from relayd.sim.realtime.response import Response

Events = list[JsonObject]


@attrs.define
class Conversation:
    """The server's side of one session.

    Attributes:
        name: What makes its ids differ from those of other sessions.
        kind: What the handshake asked for.
        model: The handshake's model; ``None`` for a transcription session.
        expires_at: Unix seconds.
        billing: How it is billed.
        tally: What its responses and transcriptions have reported.
    """

    name: str
    kind: Kind
    model: str | None
    expires_at: int
    billing: Billing = attrs.field(factory=Billing)
    tally: Tally = attrs.field(factory=Tally, init=False)
    _session: JsonObject = attrs.field(init=False)
    _settings: Settings = attrs.field(init=False)
    _history: History = attrs.field(factory=History, init=False)
    _buffer: audio.InputBuffer = attrs.field(factory=audio.InputBuffer, init=False)
    _responses: Responses = attrs.field(init=False)
    _event_count: int = attrs.field(default=0, init=False)
    _item_count: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._responses = Responses(self.name, f"conv_{self.name}", self.billing)
        session_id, transcription = f"sess_{self.name}", self.billing.transcription
        self._adopt(
            opening_session(session_id, self.kind, self.model, self.expires_at, transcription)
        )

    @property
    def is_speaking(self) -> bool:
        """Whether :meth:`advance` has an event to give."""
        return self._responses.are_running

    def opening(self) -> Events:
        """What the server sends before it was asked anything."""
        created: Events = [{"type": "session.created", "session": self._session}]
        if self.kind is Kind.REALTIME:
            conversation_id = self._responses.conversation_id
            conversation = {"id": conversation_id, "object": "realtime.conversation"}
            created.append({"type": "conversation.created", "conversation": conversation})
        return self._stamped(created)

    def receive(self, message: str | bytes) -> Events:
        """What the server answers to ``message`` at once; never raises."""
        try:
            if isinstance(message, bytes):
                raise Rejected("invalid_value", "Binary messages are not supported.")
            event = parse(message)
        except Rejected as rejected:
            return self._stamped([_error(rejected, rejected.event_id)])
        try:
            return self._stamped(self._handle(event))
        except Rejected as rejected:
            return self._stamped([_error(rejected, event.event_id)])

    def advance(self) -> Events:
        """The next event of a running response; several responses take turns."""
        event, response = self._responses.advance()
        if event is None:
            self._keep(response)
            return []
        if event["type"] == "response.done":
            self._count(response)
        return self._stamped([event])

    def _handle(self, event: ClientEvent) -> Events:
        match event:
            case SessionUpdate():
                self._adopt(changed_session(self._session, event.session))
                return [{"type": "session.updated", "session": self._session}]
            case AudioAppend() | AudioCommit() | AudioClear() | OutputAudioClear():
                return self._handle_audio(event)
            case ItemCreate() | ItemRetrieve() | ItemTruncate() | ItemDelete():
                return self._handle_item(event)
            case ResponseCreate():
                self._respond(event.response or ResponseWish())
                return []
            case ResponseCancel():
                found = self._responses.find(event.response_id)
                return self._stop(found, "client_cancelled")

    def _handle_audio(
        self, event: AudioAppend | AudioCommit | AudioClear | OutputAudioClear
    ) -> Events:
        match event:
            case AudioAppend():
                return self._append(audio.decoded(event.audio))
            case AudioCommit():
                return self._commit(self._buffer.commit())
            case AudioClear():
                self._buffer.clear()
                return [{"type": "input_audio_buffer.cleared"}]
            case OutputAudioClear():
                message = "This event is only supported for WebRTC and SIP sessions."
                raise Rejected("invalid_value", message, "type")

    def _handle_item(self, event: ItemCreate | ItemRetrieve | ItemTruncate | ItemDelete) -> Events:
        match event:
            case ItemCreate():
                return self._create_item(event)
            case ItemRetrieve():
                item = self._history.find(event.item_id, "retrieve")
                return [{"type": "conversation.item.retrieved", "item": item.with_sound()}]
            case ItemTruncate():
                return self._truncate(event)
            case ItemDelete():
                self._history.remove(self._history.find(event.item_id, "delete"))
                return [{"type": "conversation.item.deleted", "item_id": event.item_id}]

    def _adopt(self, session: JsonObject) -> None:
        self._session = session
        self._settings = settings_of(session)
        self._buffer.audio_format = self._settings.audio.input.format.type

    def _append(self, data: bytes) -> Events:
        self._buffer.append(data)
        ear = self._settings.audio.input.turn_detection
        if ear is None:
            return []
        events: Events = []
        edges = self._buffer.listen(
            prefix_padding_ms=ear.prefix_padding_ms, silence_duration_ms=ear.silence_duration_ms
        )
        for edge in edges:
            item_id = f"item_{self.name}_{self._item_count + 1}"
            if isinstance(edge, audio.SpeechStarted):
                started: JsonObject = {"audio_start_ms": edge.at_ms, "item_id": item_id}
                events.append({"type": "input_audio_buffer.speech_started", **started})
                events += self._interrupt(ear)
            else:
                stopped: JsonObject = {"audio_end_ms": edge.at_ms, "item_id": item_id}
                events.append({"type": "input_audio_buffer.speech_stopped", **stopped})
                events += self._commit(edge.audio)
                self._respond_by_itself(ear)
        return events

    def _commit(self, sound: bytes) -> Events:
        audio_format = self._settings.audio.input.format.type
        item = items.user_audio(self._new_item_id(), sound, audio_format)
        after = self._history.add(item)
        follows: JsonObject = {"previous_item_id": after}
        events: Events = [
            {"type": "input_audio_buffer.committed", "item_id": item.id, **follows},
            {"type": "conversation.item.added", "item": item.wire, **follows},
            {"type": "conversation.item.done", "item": item.wire, **follows},
        ]
        transcriber = self._settings.audio.input.transcription
        if transcriber is not None:
            length_ms = audio.duration_ms(sound, audio_format)
            is_reported = self.billing.reports_transcriptions
            written, tally = transcription(item, transcriber, length_ms, is_reported=is_reported)
            events += written
            self.tally += tally
        return events

    def _interrupt(self, ear: Ear) -> Events:
        active = self._responses.active
        if active is None or not ear.interrupt_response:
            return []
        return self._stop(active, "turn_detected")

    def _respond_by_itself(self, ear: Ear) -> None:
        """Answer what was said aloud, unless an answer is under way already."""
        if ear.create_response and self.kind is Kind.REALTIME and self._responses.active is None:
            self._respond(ResponseWish())

    def _create_item(self, event: ItemCreate) -> Events:
        if isinstance(event.item, ItemReference):
            raise items.refuse_reference(event.item)
        item_id = event.item.id or self._new_item_id()
        audio_format = self._settings.audio.input.format.type
        item = items.from_client(event.item, item_id, audio_format)
        after = self._history.add(item, event.previous_item_id)
        about: JsonObject = {"previous_item_id": after, "item": item.wire}
        return [
            {"type": "conversation.item.added", **about},
            {"type": "conversation.item.done", **about},
        ]

    def _truncate(self, event: ItemTruncate) -> Events:
        item = self._history.find(event.item_id, "truncate")
        if item.wire.get("role") != "assistant" or not item.tokens.audio:
            raise Rejected("invalid_value", "Only an assistant's audio can be cut.", "item_id")
        cut = Tokens(audio=model_audio_tokens(max(event.audio_end_ms, 0)))
        if cut.audio > item.tokens.audio:
            message = f"Audio content is shorter than {event.audio_end_ms}ms."
            raise Rejected("invalid_value", message, "audio_end_ms")
        item.tokens = cut  # the text goes too: nobody knows which words were heard
        return [
            {
                "type": "conversation.item.truncated",
                "item_id": event.item_id,
                "content_index": event.content_index,
                "audio_end_ms": event.audio_end_ms,
            }
        ]

    def _respond(self, wish: ResponseWish) -> None:
        """Start the response that ``wish`` asks for; its events come from :meth:`advance`."""
        if self.kind is Kind.TRANSCRIPTION:
            raise Rejected("invalid_value", "A transcription session has no responses.", "type")
        self._responses.start(wish, self._session, self._history, self._new_item_id())

    def _stop(self, response: Response, reason: str) -> Events:
        was_done = response.report is not None
        ending = self._responses.stop(response, reason)
        if not was_done:
            self._count(response)
        self._keep(response)
        return ending

    def _count(self, response: Response) -> None:
        assert response.report is not None, "counted when its usage is reported"
        self.tally = self.tally.plus_response(response.usage, response.report.told)

    def _keep(self, response: Response) -> None:
        if response.plan.conversation_id is None or not response.has_item:
            return
        # A client may have filled the conversation, or taken the id, while this was said.
        with contextlib.suppress(Rejected):
            self._history.add(response.item())

    def _new_item_id(self) -> str:
        self._item_count += 1
        return f"item_{self.name}_{self._item_count}"

    def _stamped(self, events: Events) -> Events:
        """``events`` with their ids, in the order in which they are sent."""
        stamped: Events = []
        for event in events:
            self._event_count += 1
            event_id = f"event_{self.name}_{self._event_count}"
            stamped.append({"type": event["type"], "event_id": event_id, **event})
        return stamped


def _error(rejected: Rejected, event_id: str | None) -> JsonObject:
    error = {
        "type": "invalid_request_error",
        "code": rejected.code,
        "message": rejected.message,
        "param": rejected.param,
        "event_id": event_id,
    }
    return {"type": "error", "error": error}
