"""A ledger that is killed under load, and one whose disk is full."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import trio

from relayd.ledger.database import Database, open_read_only
from relayd.ledger.writer import Ledger
from relayd.observe.events import LogEvent
from tests.conftest import LogLines
from tests.ledger.filled import row
from tests.ledger.killed import entry

ROOT = Path(__file__).parents[2]
LIVES = 200
SEED = 20261101
PROGRAM_S_MAX = 120.0
PATIENCE_S = 30.0
DISK_BYTES = 1024 * 1024

pytestmark = pytest.mark.slow


def test_no_acknowledged_row_is_missing_and_none_is_there_twice(tmp_path: Path) -> None:
    path = tmp_path / "relayd.db"
    arguments = [sys.executable, "-m", "tests.ledger.killed", str(path), str(LIVES), str(SEED)]

    lives = subprocess.run(
        arguments, cwd=ROOT, check=True, capture_output=True, text=True, timeout=PROGRAM_S_MAX
    )

    acknowledged = [tuple(map(int, line.split())) for line in lives.stdout.splitlines()]
    assert lives.stderr == ""
    with closing(Database.open(path)) as database:
        spent = database.spent("dev", 0.0)
    with closing(open_read_only(path)) as connection:
        there = Counter(name for (name,) in connection.execute("SELECT entry FROM rows"))
        verdict = connection.execute("PRAGMA integrity_check").fetchall()
    assert {entry(*each) for each in acknowledged} - there.keys() == set()
    assert set(there.values()) == {1}
    assert spent == len(there)
    assert verdict == [("ok",)]
    # The test is worth something only if the children came to write, and were cut off in it.
    assert len({life for life, _ in acknowledged}) > LIVES / 2
    assert len(there) > len(set(acknowledged)) > LIVES


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of a megabyte."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    place = tmp_path / "disk"
    place.mkdir()
    if mount is None or umount is None:
        pytest.skip("needs mount and umount")
    options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "relayd-test", str(place)]
    done = subprocess.run([mount, *options], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a disk cannot be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run([umount, "--lazy", str(place)], check=True)


async def becomes_idle(ledger: Ledger) -> None:
    with trio.fail_after(PATIENCE_S):
        while ledger.failing or ledger.pending:  # noqa: ASYNC110 - a thread sets no event of Trio's
            await trio.sleep(0.01)


async def test_a_full_disk_loses_nothing_and_recovers_by_itself(
    small_disk: Path, log_lines: LogLines
) -> None:
    told: list[int] = []
    ballast = small_disk / "ballast"
    with closing(Database.open(small_disk / "relayd.db")) as database:
        ledger = Ledger(database, on_failure="spill")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ledger.run)
            ledger.put(row(0, cost_nano=1))
            await becomes_idle(ledger)
            fill_up(ballast)
            for number in range(1, 400):
                ledger.put(row(number, tag="x" * 400, cost_nano=1)).then(
                    partial(told.append, number)
                )
            with trio.fail_after(PATIENCE_S):
                while not ledger.failing:  # noqa: ASYNC110 - a thread sets no event of Trio's
                    await trio.sleep(0.01)
            await trio.sleep(1.0)  # several commits fail
            assert ledger.failing
            assert ledger.accepts_turns
            assert told == list(range(1, 400))
            ballast.unlink()
            await becomes_idle(ledger)
            nursery.cancel_scope.cancel()

        assert database.spent("dev", 0.0) == 400
    assert (ledger.rows_written, ledger.rows_lost) == (400, 0)
    (failed,) = log_lines.of(LogEvent.LEDGER_FAILED)
    assert "there is no room for more" in failed["message"]
    assert len(log_lines.of(LogEvent.LEDGER_RECOVERED)) == 1


async def test_a_disk_that_stays_full_loses_what_it_says(
    small_disk: Path, log_lines: LogLines
) -> None:
    with closing(Database.open(small_disk / "relayd.db")) as database:
        ledger = Ledger(database, on_failure="refuse")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ledger.run)
            fill_up(small_disk / "ballast")
            for number in range(3000):
                ledger.put(row(number, tag="x" * 400, cost_nano=1))
            with trio.fail_after(PATIENCE_S):
                while not ledger.failing:  # noqa: ASYNC110 - a thread sets no event of Trio's
                    await trio.sleep(0.01)
            assert not ledger.accepts_turns
            nursery.cancel_scope.cancel()

        assert database.spent("dev", 0.0) == ledger.rows_written
    (lost,) = log_lines.of(LogEvent.LEDGER_LOST)
    assert lost["rows"] == ledger.rows_lost == 3000 - ledger.rows_written > 0


def fill_up(ballast: Path) -> None:
    """Take all the room that there is."""
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for _ in range(DISK_BYTES // 4096 + 1):
            file.write(b"\0" * 4096)
    assert shutil.disk_usage(ballast).free == 0
