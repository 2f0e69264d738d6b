"""Many streams of chat at once, read by the real openai SDK: no frame is lost.

``RELAYD_CHAT_STREAMS`` and ``RELAYD_CHAT_WORDS`` say how many streams there are, and how long they
are. What relayd's process costs is told on standard output, which ``pytest -s`` shows.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

import pytest
import trio

from relayd.sim.server import SimServer
from relayd.sim.spark.upstream import SparkUpstream
from tests.integration.chat_stage import Account, Stage, said, seen
from tests.integration.responses_stage import stopped_well

pytestmark = pytest.mark.slow

STREAMS: Final = int(os.environ.get("RELAYD_CHAT_STREAMS", "500"))
WORDS: Final = int(os.environ.get("RELAYD_CHAT_WORDS", "60"))
TICKS: Final = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def stage(nursery: trio.Nursery, tmp_path: Path) -> Stage:
    """A stage without upstreams."""
    return Stage(tmp_path, nursery)


def _cpu_s(pid: int) -> float:
    """The processor time of a process, in user and in kernel mode (proc(5): utime, stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _mhz() -> str:
    """The clocks of the machine's processors at this moment."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return ", ".join(line.partition(":")[2].strip() for line in lines if line.startswith("cpu MHz"))


async def _watch(spark: SimServer[SparkUpstream], most: list[int]) -> None:
    while True:
        most.append(max(most[-1], spark.connections))
        await trio.sleep(0.02)


@pytest.mark.parametrize("pace", ["slow", "normal"])
async def test_no_frame_of_many_streams_is_lost(
    stage: Stage, nursery: trio.Nursery, pace: str
) -> None:
    spark = await stage.spark()
    relayd = await stage.relayd({"spark": Account(upstream=spark)})
    most = [0]
    nursery.start_soon(_watch, spark, most)
    cpu_s, began = _cpu_s(relayd.process.pid), time.monotonic()

    told = await said(relayd, "many", STREAMS, WORDS, pace)

    cpu_s, took_s = _cpu_s(relayd.process.pid) - cpu_s, time.monotonic() - began
    print(
        f"\n{STREAMS} streams of {WORDS} words, {pace}: {told['chunks']} chunks in {took_s:.1f} s,"
        f" {cpu_s / told['chunks'] * 1e6:.0f} us of CPU a chunk, {max(most)} at once; {_mhz()} MHz"
    )
    assert told["wrong"] == []
    assert told["chunks"] == STREAMS * (WORDS + 2)  # its role, its words, its end
    assert pace == "normal" or max(most) == STREAMS
    found = spark.upstream.statistics().total
    assert (found.completed, found.requests) == (STREAMS, STREAMS)
    await seen(lambda: spark.connections == 0)
    await stopped_well(relayd)
    rows = stage.ledger()  # not the log: lines that a busy test does not read in time are lost
    assert [(row["reason"], row["tokens_out"]) for row in rows] == [("completed", WORDS)] * STREAMS
