"""The responses of one session: which run, which may start, and what they are planned to say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs
import msgspec
from msgspec import UNSET

from relayd.sim.realtime.answers import answer
from relayd.sim.realtime.billing import Billing
from relayd.sim.realtime.client_events import ItemReference, JsonObject, Rejected, ResponseWish
from relayd.sim.realtime.history import History, heard, weight
from relayd.sim.realtime.items import Item, from_client
from relayd.sim.realtime.response import Plan, Response
from relayd.sim.realtime.session import Settings, overlaid, settings_of
from relayd.sim.realtime.usage import Tokens, words

RESPONSES_MAX: Final = 8
"""Responses that may run at one time; all but one are out of band."""


@attrs.define
class Responses:
    """What the model of one session is saying.

    Attributes:
        name: What makes its ids differ from those of other sessions.
        conversation_id: The one conversation of the session.
        billing: How its responses are billed.
    """

    name: str
    conversation_id: str
    billing: Billing
    _running: dict[str, Response] = attrs.field(factory=dict, init=False)
    _read_before: Tokens = attrs.field(init=False)
    _count: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._read_before = self.billing.cached

    @property
    def are_running(self) -> bool:
        """Whether any has not ended."""
        return bool(self._running)

    @property
    def active(self) -> Response | None:
        """The running response of the conversation itself; there is at most one."""
        in_band = (r for r in self._running.values() if r.plan.conversation_id is not None)
        return next(in_band, None)

    def start(
        self, wish: ResponseWish, session: JsonObject, history: History, item_id: str
    ) -> None:
        """Start the response that ``wish`` asks for.

        Args:
            wish: What it is to do differently from the session.
            session: The session as it stands.
            history: What the conversation consists of.
            item_id: The id of the item it will produce.

        Raises:
            Rejected: It names another conversation, or one is under way already.
        """
        is_in_band = wish.conversation is UNSET or wish.conversation in (
            "auto",
            self.conversation_id,
        )
        if not is_in_band and wish.conversation != "none":
            message = f"The conversation '{wish.conversation}' does not exist."
            raise Rejected("invalid_value", message, "response.conversation")
        if is_in_band and self.active is not None:
            running = self.active.plan.response_id
            message = f"Conversation already has an active response in progress: {running}."
            raise Rejected("conversation_already_has_active_response", message)
        if len(self._running) >= RESPONSES_MAX:
            raise Rejected("too_many_responses", f"At most {RESPONSES_MAX} responses can run.")
        settings = settings_of(overlaid(session, msgspec.to_builtins(wish)))
        context = _context(wish, settings, history)
        self._count += 1
        plan = self._plan(settings, context, item_id)
        if is_in_band:
            plan = self._in_band(plan, history)
        plan = attrs.evolve(plan, metadata=_metadata(wish))
        self._running[plan.response_id] = Response(plan, self.billing.reporter)

    def advance(self) -> tuple[JsonObject | None, Response]:
        """One event of one response; they take turns.

        Returns:
            The event and whose it is. ``None`` instead of an event: that response has ended.
        """
        response_id = next(iter(self._running))
        response = self._running.pop(response_id)
        event = response.advance()
        if event is not None:
            self._running[response_id] = response
        return event, response

    def find(self, response_id: str | None) -> Response:
        """The running response to be cancelled: the one called so, or the active one.

        Raises:
            Rejected: There is none.
        """
        found = self.active if response_id is None else self._running.get(response_id)
        if found is None:
            message = "Cancellation failed: no active response found."
            raise Rejected("response_cancel_not_active", message)
        return found

    def stop(self, response: Response, reason: str) -> list[JsonObject]:
        """End ``response`` at once, so that nothing of it follows what is said next.

        Returns:
            The events that end it.
        """
        del self._running[response.plan.response_id]
        response.cancel(reason)
        return list(iter(response.advance, None))

    def _plan(self, settings: Settings, context: Sequence[Item], item_id: str) -> Plan:
        output = settings.audio.output
        return Plan(
            response_id=f"resp_{self.name}_{self._count}",
            item_id=item_id,
            answer=answer(
                self._count,
                heard(context),
                aloud=output.format.type if "audio" in settings.output_modalities else None,
                tools=settings.tools,
                tool_choice=settings.tool_choice,
            ),
            voice=output.voice,
            output_tokens_max=settings.max_output_tokens,
            read=weight(context) + Tokens(text=words(settings.instructions)) + self.billing.prompt,
            number=self._count,
            fails=self.billing.fails,
        )

    def _in_band(self, plan: Plan, history: History) -> Plan:
        """``plan`` as a part of the conversation, whose earlier responses have warmed the cache."""
        cached = plan.read.at_most(self._read_before)
        self._read_before = plan.read
        return attrs.evolve(
            plan,
            cached=cached,
            conversation_id=self.conversation_id,
            previous_item_id=history.last_id,
        )


def _context(wish: ResponseWish, settings: Settings, history: History) -> Sequence[Item]:
    if wish.input is UNSET:
        return history.items
    audio_format = settings.audio.input.format.type
    return [
        history.find(str(given.id), "retrieve")
        if isinstance(given, ItemReference)
        else from_client(given, "item_of_input", audio_format)
        for given in wish.input
    ]


def _metadata(wish: ResponseWish) -> JsonObject | None:
    return None if wish.metadata is UNSET else wish.metadata
