"""``relayd pools``."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Ops


async def test_it_says_truthfully_that_there_are_none(
    ops: Ops, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await ops.run("pools") == 0
    assert "No dialect of this version" in capsys.readouterr().out


async def test_a_program_gets_no_object(ops: Ops, capsys: pytest.CaptureFixture[str]) -> None:
    assert await ops.run("pools", "--json") == 0

    out, err = capsys.readouterr()
    assert out == ""
    assert "No dialect of this version" in err
