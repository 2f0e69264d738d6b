"""``relayd drain``."""

from __future__ import annotations

import pytest
from trio.testing import wait_all_tasks_blocked

from tests.cli.conftest import Ops


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "no session runs, so it exits now"),
        (1, "it exits when 1 session has ended, in 30 s at most"),
        (2, "it exits when 2 sessions have ended, in 30 s at most"),
    ],
)
async def test_it_begins_and_says_for_how_long(
    ops: Ops, capsys: pytest.CaptureFixture[str], count: int, words: str
) -> None:
    for number in range(count):
        ops.stage.session(number)

    assert await ops.run("drain") == 0

    await wait_all_tasks_blocked()  # it begins when its answer has been sent
    assert ops.stage.done == ["drain"]
    assert capsys.readouterr().out == f"relayd drains; {words}\n"
