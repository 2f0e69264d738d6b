"""``relayd reload``."""

from __future__ import annotations

import pytest

from relayd.config.mistakes import Mistake
from relayd.service.difference import Changes, Difference, ReloadOutcome
from tests.cli.conftest import Ops


async def test_what_has_changed_is_told(ops: Ops, capsys: pytest.CaptureFixture[str]) -> None:
    ops.stage.outcome = ReloadOutcome(
        difference=Difference(
            keys=Changes(added=("a",), removed=("b", "c")),
            accounts=Changes(changed=("main",)),
            listeners_added=("127.0.0.1:1",),
            listeners_removed=("127.0.0.1:2",),
        ),
        postponed=("server.admin",),
        duration_ms=12.4,
    )

    assert await ops.run("reload") == 0

    assert capsys.readouterr().out.splitlines() == [
        "reloaded in 12 ms",
        "  key added: a",
        "  keys removed: b, c",
        "  account changed: main",
        "  listening on 127.0.0.1:1",
        "  no longer listening on 127.0.0.1:2",
        "  server.admin has changed; it takes a restart",
    ]


async def test_every_mistake_is_told_and_exits_78(
    ops: Ops, capsys: pytest.CaptureFixture[str]
) -> None:
    mistakes = (Mistake("limits.stall_s", "too small"), Mistake("", "no\x1bTOML", "prices.toml"))
    ops.stage.outcome = ReloadOutcome(mistakes=mistakes)

    assert await ops.run("reload") == 78

    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "limits.stall_s: too small",
        "prices.toml: no\N{REPLACEMENT CHARACTER}TOML",
        "nothing was changed",
    ]


async def test_while_relayd_drains_it_exits_69(
    ops: Ops, capsys: pytest.CaptureFixture[str]
) -> None:
    ops.stage.draining = True

    assert await ops.run("reload") == 69
    assert "relayd drains" in capsys.readouterr().err
