"""Whatever a client, an upstream and the end of a session do in whichever order, every ticket
that the meter gave ends exactly once, and no earlier than its turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from relayd.core.endings import Reason
from relayd.dialect.meter import Refuse, Ticket, Wait
from relayd.dialect.realtime_turns import ASKED_MAX, TURNS_MAX
from relayd.protocol.outcomes import Waiting
from tests.dialect.conversation import Talk, TellingMeter

NO = Refuse("rate_limit_exceeded", "rate_limit_exceeded", "Too many.")
USAGE = {"input_tokens": 5, "output_tokens": 7}

IDS = st.sampled_from(["a", "b", "c", None])
EVENT_IDS = st.sampled_from(["x", "y", None])
MOVES = st.one_of(
    st.tuples(st.just("ask"), EVENT_IDS),
    st.tuples(st.just("refused"), EVENT_IDS),
    st.tuples(st.just("held"), EVENT_IDS),
    st.tuples(st.just("held and refused"), EVENT_IDS),
    st.tuples(st.just("held while closing"), EVENT_IDS),
    st.tuples(st.just("held while ending"), EVENT_IDS),
    st.tuples(st.just("error"), EVENT_IDS),
    st.tuples(st.just("create error"), EVENT_IDS),
    st.tuples(st.just("created"), IDS),
    st.tuples(st.just("delta"), IDS),
    st.tuples(st.just("done"), IDS),
    st.tuples(st.just("oversize done"), IDS),
    st.tuples(st.just("many asks"), st.none()),
    st.tuples(st.just("many created"), st.none()),
    st.tuples(st.just("end"), st.none()),
)


@attrs.define
class Later:
    """Answers once something else has happened."""

    meter: TellingMeter
    refuse: Refuse | None = None
    meanwhile: Callable[[], None] = lambda: None

    async def wait(self) -> Ticket | Refuse:
        await trio.lowlevel.checkpoint()
        answer = self.refuse or self.meter.slip()
        self.meanwhile()
        return answer


@attrs.define
class Play:
    talk: Talk = attrs.field(factory=Talk)
    made: int = 0  # responses with ids of their own

    async def move(self, what: str, name: str | None) -> None:
        talk = self.talk
        match what:
            case "ask":
                talk.client("response.create", event_id=name)
            case "refused":
                talk.meter.answers = deque([NO])
                talk.client("response.create", event_id=name)
                talk.meter.answers.clear()
            case "held":
                await self.hold(Later(talk.meter), name)
            case "held and refused":
                await self.hold(Later(talk.meter, NO), name)
            case "held while closing":
                await self.hold(Later(talk.meter, meanwhile=self.close_to_turns), name)
                talk.conversation.closed_to_turns = None
            case "held while ending":
                await self.hold(Later(talk.meter, meanwhile=self.end), name)
            case "many asks":
                for _ in range(ASKED_MAX + 1):
                    talk.client("response.create")
            case "end":
                self.end()
            case _:
                self.hear(what, name)

    def hear(self, what: str, name: str | None) -> None:
        """The upstream says something."""
        talk = self.talk
        match what:
            case "error":
                talk.upstream("error", error={"event_id": name})
            case "create error":
                code = "conversation_already_has_active_response"
                talk.upstream("error", error={"event_id": name, "code": code})
            case "created":
                talk.created(name)
            case "delta":
                talk.delta(name)
            case "done":
                talk.done(name, usage=USAGE)
            case "oversize done":
                talk.oversize(b'{"type":"response.done"')
            case "many created":
                for _ in range(TURNS_MAX + 1):
                    self.made += 1
                    talk.created(f"resp_{self.made}")
            case _:
                raise AssertionError(what)

    async def hold(self, later: Later, name: str | None) -> None:
        """A create whose answer takes time, which the session waits for."""
        self.talk.meter.answers = deque([Wait(later)])
        action = self.talk.client("response.create", event_id=name)
        self.talk.meter.answers.clear()
        if isinstance(action, Waiting):  # else the session has ended
            await action.decision.wait()

    def close_to_turns(self) -> None:
        self.talk.conversation.closed_to_turns = NO

    def end(self) -> None:
        self.talk.conversation.cut_short(Reason.CLIENT_GONE, 9.0)


@settings(max_examples=400)
@given(st.lists(MOVES, max_size=30))
def test_every_ticket_ends_exactly_once(moves: list[tuple[str, str | None]]) -> None:
    play = Play()
    talk = play.talk

    async def run() -> None:
        for what, name in moves:
            await play.move(what, name)
            open_slips = [slip for slip in talk.meter.slips if not slip.endings]
            held = len(talk.conversation.asked) + len(talk.conversation.running)
            assert len(open_slips) == held
            assert len(talk.conversation.asked) <= ASKED_MAX
            assert all(len(slip.endings) <= 1 for slip in talk.meter.slips)

    trio.run(run)
    play.end()
    play.end()

    assert all(len(slip.endings) == 1 for slip in talk.meter.slips)
    settled = [slip.endings[0] for slip in talk.meter.slips if slip.endings[0] is not None]
    assert sorted(turn.number for turn in settled) == sorted(t.number for t in talk.heard.ended)
    ids = [turn.turn_id for turn in talk.heard.ended if turn.turn_id is not None]
    assert len(ids) == len(set(ids))
    assert len({turn.number for turn in settled}) == len(settled)
    assert not talk.conversation.busy
