from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench import results
from bench.relays import haproxy_command

ROOT = Path(__file__).resolve().parents[2]
BENCH_S = 120


@pytest.mark.slow
@pytest.mark.parametrize("row", ["paced", "tls", "append", "idle", "sessions"])
def test_a_quick_run_measures_relayd_and_haproxy_where_there_is_one(
    row: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "bench", "--quick", "--results", str(tmp_path), row]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=BENCH_S, check=False
    )

    assert done.returncode == 0, done.stderr
    result = results.read_all(tmp_path)[row]
    expected = {"relayd", "haproxy"} if haproxy_command() else {"relayd"}
    assert set(result.medians) == expected
    for figures in result.medians.values():
        assert figures.get("messages", figures.get("sessions", 0)) > 0
        assert figures.get("messages_lost", 0) == 0
    if haproxy_command() is None:
        assert "haproxy is skipped" in done.stderr


def test_a_relay_that_does_not_start_is_named_and_the_exit_is_69(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "--quick", "--relay", "relayd"]
    command += ["--relayd", str(tmp_path / "absent"), "--results", str(tmp_path), "paced"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=BENCH_S, check=False
    )

    assert done.returncode == 69
    assert f"{tmp_path}/absent does not start" in done.stderr
    assert results.read_all(tmp_path) == {}
