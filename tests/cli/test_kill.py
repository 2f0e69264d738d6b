"""``relayd kill``."""

from __future__ import annotations

import pytest

from relayd.core.endings import Reason
from tests.cli.conftest import Ops


async def test_a_session_is_ended(ops: Ops, capsys: pytest.CaptureFixture[str]) -> None:
    session = ops.stage.session(1)

    assert await ops.run("kill", "sess_1") == 0

    assert session.leaving is Reason.KILLED
    assert capsys.readouterr().out == "sess_1 ends as killed\n"


@pytest.mark.parametrize("name", ["sess_2", "sess", "a/b", "..", "%2e"])
async def test_one_that_does_not_run_exits_69(
    ops: Ops, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    session = ops.stage.session(1)

    assert await ops.run("kill", name) == 69

    assert session.leaving is None
    assert "session" in capsys.readouterr().err


async def test_which_one_has_to_be_said(ops: Ops) -> None:
    assert await ops.run("kill") == 64
