"""What is told of a request while it is answered."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from relayd.dialect.responses_aborts import Abort
from relayd.dialect.responses_turns import Running
from relayd.observe.bus import (
    SessionFailedOver,
    TurnFirstOutput,
    TurnStarted,
    TurnToolCalled,
    UpstreamConnected,
)
from relayd.session.responses.accounting import Bill
from relayd.session.responses.telling import TEXT_MAX_CHARS, Telling
from tests.session.responses.test_accounting import ASK, MAIN, SPARE, Scene, bill_of, scene

__all__ = ["scene"]


def run(*, reused: bool, dial_s: float | None) -> Any:  # noqa: ANN401 - the little of a Run that is used
    lease = SimpleNamespace(slot=7, generation=2, dial_s=dial_s)
    return SimpleNamespace(holder=SimpleNamespace(lease=lease), reused=reused)


async def telling_of(scene: Scene) -> tuple[Telling, Bill]:
    bill = await bill_of(scene)
    return Telling(bill, scene.purse.lines), bill


async def test_a_turn_is_told_as_it_goes(scene: Scene) -> None:
    telling, bill = await telling_of(scene)
    running = Running(response_id="resp_1")
    telling.began(running, 11.0)
    telling.tool_called(running, "look_up", "call_1")
    telling.first_output(running, 12.5)

    assert scene.heard == [
        TurnStarted(session=bill.facts, turn_id="resp_1"),
        TurnToolCalled(session=bill.facts, turn_id="resp_1", name="look_up", call_id="call_1"),
        TurnFirstOutput(session=bill.facts, turn_id="resp_1", ttft_ms=(12.5 - ASK.now) * 1000),
    ]


async def test_a_successor_s_first_output_counts_from_its_own_beginning(scene: Scene) -> None:
    telling, _ = await telling_of(scene)
    telling.first_output(Running(is_successor=True, created_at=12.0), 12.25)

    (told,) = scene.heard
    assert isinstance(told, TurnFirstOutput)
    assert told.ttft_ms == 250.0


async def test_what_an_upstream_names_is_cut(scene: Scene) -> None:
    telling, _ = await telling_of(scene)
    telling.tool_called(Running(), "n" * 1000, "c" * 1000)
    telling.tool_called(Running(), None, "c")

    first, second = scene.heard
    assert isinstance(first, TurnToolCalled)
    assert isinstance(second, TurnToolCalled)
    assert (first.name, first.call_id) == ("n" * TEXT_MAX_CHARS, "c" * TEXT_MAX_CHARS)
    assert second.name is None


@pytest.mark.parametrize(
    ("reused", "dial_s", "is_told"), [(False, 0.1, True), (False, None, False), (True, 0.1, False)]
)
async def test_a_socket_that_was_opened_for_it_is_told_and_no_other(
    scene: Scene, reused: bool, dial_s: float | None, is_told: bool
) -> None:
    telling, bill = await telling_of(scene)
    telling.placed(run(reused=reused, dial_s=dial_s), 0.25)

    place = bill.place
    assert (place.slot, place.generation, place.reused, place.wait_ms) == (7, 2, reused, 250.0)
    assert scene.heard == (
        [UpstreamConnected(session=bill.facts, wait_ms=250.0)] if is_told else []
    )


async def test_another_account_is_told_and_the_same_one_again_is_not(scene: Scene) -> None:
    telling, bill = await telling_of(scene)
    telling.moved(MAIN, Abort.UPSTREAM_CLOSED)
    assert scene.heard == []
    telling.moved(SPARE, Abort.UPSTREAM_UNREACHABLE)

    assert bill.facts.account == SPARE.name
    assert scene.heard == [
        SessionFailedOver(
            session=bill.facts,
            account_from=MAIN.name,
            reason=Abort.UPSTREAM_UNREACHABLE.value,
        )
    ]
