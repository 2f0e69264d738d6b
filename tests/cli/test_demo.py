"""``relayd demo``, as it is run, and what it says when it cannot."""

from __future__ import annotations

from functools import partial

import attrs
import pytest
import trio

from relayd.cli import demo
from relayd.cli.main import run
from relayd.config.snapshot import Snapshot
from relayd.config.url import parse_base_url
from relayd.service import app
from relayd.service.listeners import BindError
from relayd.sim.registry import serve_simulator


def test_one_conversation_of_each_dialect_is_played(capsys: pytest.CaptureFixture[str]) -> None:
    status = run(["demo"])

    told = capsys.readouterr().out.splitlines()
    assert status == 0
    assert 'realtime    answered aloud: "Answer 1. You said: Hello from the demo"' in told
    assert 'realtime    understood: "1500 milliseconds of audio", for 19 tokens' in told
    assert 'responses   brought the output "42"; answered: "Answer 2. The tool said: 42"' in told
    assert any(line.startswith("chat        asked xunfei-spark-max") for line in told)
    assert any(line.startswith("xiaozhi     heard 20 packets") for line in told)
    assert any(line.startswith("passthrough sent") for line in told)
    assert "hub         followed workflow:demo; heard step.done as it was published" in told
    assert any(line.startswith("hub         left, came back") for line in told)


def test_what_was_used_comes_last(capsys: pytest.CaptureFixture[str]) -> None:
    run(["demo"])

    told = capsys.readouterr().out.splitlines()
    used = told[told.index("usage       as the relay counted it") + 1 :]
    assert used[0] == "  turn      resp_sim000001_1: 9 tokens in, 24 out"
    sessions = [line for line in used if line.startswith("  session")]
    assert [line.endswith("client_closed") for line in sessions] == [True] * 6
    assert "  device    2 turns, 0.10 s of audio in, 0.40 s out" in used


def test_no_escape_sequences_go_into_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    run(["demo"])

    assert "\x1b" not in capsys.readouterr().out


def test_a_relay_that_cannot_start_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def serve(*_: object, **__: object) -> None:
        raise BindError("the port is taken")

    monkeypatch.setattr(app, "serve", serve)

    assert run(["demo"]) == 69
    assert "the port is taken" in capsys.readouterr().err


def test_an_upstream_that_refuses_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def with_bad_upstreams(snapshot: Snapshot, nursery: trio.Nursery) -> Snapshot:
        bad = partial(serve_simulator, "realtime", scenario="insufficient_quota")
        base_url = parse_base_url((await nursery.start(bad)).base_url)
        return attrs.evolve(
            snapshot, accounts=tuple(attrs.evolve(a, base_url=base_url) for a in snapshot.accounts)
        )

    monkeypatch.setattr(demo, "with_simulators", with_bad_upstreams)

    assert run(["demo"]) == 69
    assert "Error" in capsys.readouterr().err


def test_a_demo_does_not_run_for_ever(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "DEMO_MAX_S", 0.0)

    assert run(["demo"]) == 69
    assert "did not end" in capsys.readouterr().err
