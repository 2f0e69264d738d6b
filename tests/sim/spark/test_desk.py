"""Where requests are taken in."""

from __future__ import annotations

from relayd.sim.spark.desk import LIMITS, Desk, Terms
from relayd.sim.spark.errors import Rejected, error
from relayd.sim.spark.limits import Limits
from relayd.sim.spark.question import Question
from relayd.sim.spark.scenario import Scenario
from relayd.sim.spark.tally import Book, Ending, Running
from relayd.sim.spark.upstream import SIMULATED
from tests.sim.spark.stage import clock, question, said


def terms(scenario: Scenario = Scenario.NORMAL, limits: Limits | None = None) -> Terms:
    return Terms(scenario=scenario, credentials=(SIMULATED,), limits=limits or Limits(), wall=clock)


def desk() -> Desk:
    return Desk("t", Book(10))


def code(desk_: Desk, holds: Terms, text: str = "hello") -> tuple[int, Running]:
    """The code of the first frame, and what was begun."""
    running = desk_.open(SIMULATED)
    step = next(desk_.begin(running, holds, lambda: question(text=text)))
    assert isinstance(step, dict)
    header = step["header"]
    assert isinstance(header, dict)
    return header["code"], running


async def test_an_answer_begins_with_its_question() -> None:
    taken = desk()
    running = taken.open(SIMULATED)

    steps = list(taken.begin(running, terms(), lambda: question("/v1.1/chat", domain="patch")))

    assert said(steps).endswith("You said: hello there")  # type: ignore[arg-type]  # frames alone
    assert (running.sid, running.app_id, running.domain) == ("cht00000001@dxt", "simspark", "patch")
    assert not running.is_closing
    assert running.used is not None
    assert taken.open(SIMULATED).sid == "cht00000002@dxt"


async def test_a_request_that_breaks_a_rule_is_let_in_and_refused() -> None:
    def ask() -> Question:
        raise Rejected(error(10004, "why"))

    taken = desk()
    running = taken.open(SIMULATED)
    (frame,) = taken.begin(running, terms(), ask)
    running.sent(frame)  # type: ignore[arg-type]  # a frame
    taken.dismiss(running, is_cancelled=False)

    (record,) = taken.book.records()
    assert running.is_admitted
    assert (record.ending, record.code, record.domain) == (Ending.ERROR, 10004, "")


async def test_only_what_was_let_in_is_let_out() -> None:
    taken, holds = desk(), terms(limits=Limits(at_a_time=1))
    got = []
    for _ in range(3):
        first, running = code(taken, holds)
        got.append(first)
        if len(got) > 1:
            taken.dismiss(running, is_cancelled=False)

    assert got == [0, 11203, 11203]


async def test_a_scenario_that_limits_goes_before_the_limits() -> None:
    taken, holds = desk(), terms(Scenario.DAILY_LIMIT, Limits(per_day=1))
    got = [code(taken, holds)[0] for _ in range(11)]

    assert LIMITS[Scenario.DAILY_LIMIT] == Limits(per_day=10)
    assert got == [0] * 10 + [11201]


async def test_the_request_has_the_last_word_on_what_is_played() -> None:
    taken = desk()

    assert code(taken, terms(Scenario.NOT_ENTITLED))[0] == 11200
    assert code(taken, terms(Scenario.NOT_ENTITLED), "[sim:normal] hi")[0] == 0
    assert code(taken, terms(), "[sim:audit_input] hi")[0] == 10013
    assert code(taken, terms(), "[sim:nothing] hi")[0] == 10005
    assert code(taken, terms(Scenario.IMPATIENT))[0] == 0
