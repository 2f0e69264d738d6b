"""What sockets and HTTP requests of one simulated Spark share: who asks, how much, and what.

A desk takes a request in, which then must be dismissed, whatever becomes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import attrs
import trio

from relayd.sim.responses.steps import Step
from relayd.sim.spark.answers import answer
from relayd.sim.spark.errors import Rejected, error
from relayd.sim.spark.faults import Speech, play
from relayd.sim.spark.limits import Gate, Limits
from relayd.sim.spark.question import Question
from relayd.sim.spark.scenario import Scenario
from relayd.sim.spark.signing import Credential
from relayd.sim.spark.tally import Book, Running

LIMITS: Final[Mapping[Scenario, Limits]] = {
    Scenario.QPS_LIMIT: Limits(per_second=2),
    Scenario.CONCURRENCY_LIMIT: Limits(at_a_time=2),
    Scenario.DAILY_LIMIT: Limits(per_day=10),
}
"""What the scenarios of that name allow."""


@attrs.frozen(kw_only=True)
class Terms:
    """What holds for one connection, from its beginning to its end.

    Attributes:
        scenario: What is played, unless a request directs otherwise.
        credentials: The applications there are.
        limits: What each may ask.
        wall: The clock, in Unix seconds.
    """

    scenario: Scenario
    credentials: Sequence[Credential]
    limits: Limits
    wall: Callable[[], float]


@attrs.define(eq=False)
class Desk:
    """Where requests are taken in.

    Attributes:
        name: What makes its sids differ from those of others.
        book: Where requests are counted when they have ended.
    """

    name: str
    book: Book
    _gate: Gate = attrs.field(factory=Gate, init=False)
    _requests: int = attrs.field(default=0, init=False)

    def open(self, credential: Credential) -> Running:
        """A request of ``credential`` has come in."""
        self._requests += 1
        sid = f"cht{self._requests:08x}@dx{self.name}"
        return Running(sid, credential.app_id)

    def begin(self, running: Running, terms: Terms, ask: Callable[[], Question]) -> Iterator[Step]:
        """What is done about a request: an answer, or the error that stands in for one.

        Args:
            running: Which.
            terms: What holds for it.
            ask: Reads the question; raises ``Rejected``.
        """
        limits = LIMITS.get(terms.scenario, terms.limits)
        try:
            self._gate.enter(running.app_id, limits, now=trio.current_time(), wall=terms.wall())
            running.is_admitted = True
            question = ask()
            running.domain, running.user = question.domain, question.user
            running.is_closing = question.model.is_closing
            running.scenario = _directed(question, terms.scenario)
        except Rejected as rejected:
            return iter([rejected.error.event(running.sid)])
        said = answer(question)
        running.used = said.usage
        return play(Speech(running.sid, said, question.directions.seconds), running.scenario)

    def dismiss(self, running: Running, *, is_cancelled: bool) -> None:
        """A request is over; ``is_cancelled``: its client has gone."""
        if running.is_admitted:
            self._gate.leave(running.app_id)
        self.book.add(running.record(is_cancelled=is_cancelled))


def _directed(question: Question, scenario: Scenario) -> Scenario:
    """What is played for ``question``.

    Raises:
        Rejected: It directs to a scenario that there is none of.
    """
    name = question.directions.scenario
    if name is None:
        return scenario if scenario.is_of_answers else Scenario.NORMAL
    found = next((one for one in Scenario if one.value == name and one.is_of_answers), None)
    if found is None:
        raise Rejected(error(10005, f"no answer can play '{name}'"))
    return found
