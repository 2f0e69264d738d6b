"""``relayd pools``."""

from __future__ import annotations

import json

import pytest

from relayd.cli import pools
from tests.cli.conftest import Ops
from tests.service.measured import pool_of

HEAD = (
    "account cl_active cl_waiting sv_active sv_idle sv_tested sv_login maxwait slots_max leases"
    " reused"
)


async def test_a_pipe_gets_every_column(ops: Ops, capsys: pytest.CaptureFixture[str]) -> None:
    ops.stage.pools = (
        pool_of(
            "talk",
            cl_active=3,
            sv_active=3,
            sv_idle=4,
            sv_tested=1,
            sv_login=2,
            leases=1500,
            reused=1440,
        ),
        pool_of("spare"),
    )

    assert await ops.run("pools") == 0

    out, err = capsys.readouterr()
    assert err == ""
    assert [line.split() for line in out.splitlines()] == [
        HEAD.split(),
        ["talk", "3", "0", "3", "4", "1", "2", "0.0s", "128", "1,500", "96%"],
        ["spare", "0", "0", "0", "0", "0", "0", "0.0s", "128", "0", "-"],
    ]


async def test_where_turns_wait_it_says_what_to_do(
    ops: Ops, capsys: pytest.CaptureFixture[str]
) -> None:
    ops.stage.pools = (
        pool_of("talk", cl_active=2, cl_waiting=7, sv_active=2, slots_max=2, maxwait_s=3.456),
        pool_of("spare", cl_active=2, sv_active=2, slots_max=2),
    )

    assert await ops.run("pools") == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[2] == "7"
    assert lines[1].split()[7] == "3.5s"
    assert lines[3].startswith("turns wait at talk: ")
    assert "pool.slots_max" in lines[3]
    assert len(lines) == 4


async def test_a_program_gets_objects_of_all_pages(
    ops: Ops, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "LIMIT_MAX", 1)
    ops.stage.pools = (pool_of("a", leases=4, reused=3), pool_of("b", maxwait_s=0.25))

    assert await ops.run("pools", "--json") == 0

    out, err = capsys.readouterr()
    first, second = map(json.loads, out.splitlines())
    assert (first["account"], first["leases"], first["reused"]) == ("a", 4, 3)
    assert (second["account"], second["maxwait_s"]) == ("b", 0.25)
    assert err == ""


async def test_where_there_is_none_it_says_why(
    ops: Ops, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await ops.run("pools") == 0
    assert capsys.readouterr().out == (
        "no account speaks the responses dialect, so no socket is kept\n"
    )

    assert await ops.run("pools", "--json") == 0
    assert capsys.readouterr().out == "", "a program gets no object"


async def test_a_terminal_gets_a_table_that_fits(
    ops: Ops, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("TERM", "dumb"), ("COLUMNS", "80")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    ops.stage.pools = (pool_of("an-account-with-a-long-name", cl_waiting=3, leases=1, reused=1),)

    assert await ops.run("pools") == 0

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-2])) <= 80
    for word in ("cl_waiting", "sv_active", "maxwait"):
        assert word in lines[0]
