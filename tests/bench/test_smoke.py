from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench import results
from bench.relays import RelayKind, haproxy_command
from bench.rows import ROWS

ROOT = Path(__file__).resolve().parents[2]
BENCH_S = 120
COUNTS = (
    *("messages", "sessions", "turns", "leases", "chunks", "answers", "deliveries"),
    "packets",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "row",
    [
        "paced",
        "tls",
        "append",
        "idle",
        "sessions",
        "turn",
        "turn-paced",
        "turn-busy",
        "pool",
        "book",
        "idle-responses",
        "chat-chunk",
        "chat-paced",
        "chat-first",
        "hub-fan-10",
        "hub-fan-50",
        "hub-topics",
        "hub-stopped",
        "devices",
    ],
)
def test_a_quick_run_measures_relayd_and_what_it_is_compared_with(row: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "--quick", "--results", str(tmp_path), row]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=BENCH_S, check=False
    )

    assert done.returncode == 0, done.stderr
    result = results.read_all(tmp_path)[row]
    expected = set(ROWS[row].compared)
    if RelayKind.HAPROXY in expected and haproxy_command() is None:
        expected.remove(RelayKind.HAPROXY)
        assert "haproxy is skipped" in done.stderr
    assert set(result.medians) == expected
    for figures in result.medians.values():
        assert any(figures.get(name, 0) > 0 for name in COUNTS)
        assert {figures.get(f"{name}_lost", 0) for name in COUNTS} == {0}


def test_what_cannot_carry_a_row_is_skipped_and_said_to_be() -> None:
    command = [sys.executable, "-m", "bench", "--quick", "--relay", "haproxy", "pool", "book"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=BENCH_S, check=False
    )

    assert done.returncode == 0
    assert done.stdout == ""
    assert done.stderr.count("haproxy is skipped, it cannot carry this row") == 2


def test_a_relay_that_does_not_start_is_named_and_the_exit_is_69(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "--quick", "--relay", "relayd"]
    command += ["--relayd", str(tmp_path / "absent"), "--results", str(tmp_path), "paced"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=BENCH_S, check=False
    )

    assert done.returncode == 69
    assert f"{tmp_path}/absent does not start" in done.stderr
    assert results.read_all(tmp_path) == {}
