"""A ledger under load that is killed again and again, as a program: ``python -m``.

One parent imports everything once and forks a child for each life. A child opens the ledger, puts
the last rows of the life before it again, as if it had not been told of them, then new ones as
fast as they are acknowledged, and writes the name of each that is into a pipe. The parent kills it
at a random moment, prints what stood in the pipe, and begins the next life.

Prints a line ``life row`` for every acknowledged row. Rows cost one nano-dollar each.
"""

from __future__ import annotations

import os
import random
import select
import signal
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import attrs
import trio

from relayd.ledger.database import Database
from relayd.ledger.writer import Ledger
from tests.ledger.filled import row

AGAIN = 40
"""How many rows of the life before are put again."""

WAVES = (1, 3, 20, 100, 700)
"""How many rows are put together."""

LIFE_S_MAX = 0.12
"""A child is killed at most so long after its beginning: while it opens the file, too."""


def entry(life: int, number: int) -> str:
    return f"turn:{life}:{number}"


@attrs.define(eq=False)
class Child:
    """One life: puts rows until it is killed."""

    life: int
    acknowledged_before: int
    pipe: int
    waiting: int = 0
    idle: trio.Event = attrs.Factory(trio.Event)

    async def run(self, path: Path) -> None:
        with closing(Database.open(path)) as database:
            ledger = Ledger(database, on_failure="refuse")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ledger.run)
                first = max(0, self.acknowledged_before - AGAIN)
                again = range(first, self.acknowledged_before + AGAIN)
                await self.put(ledger, self.life - 1, again if self.life else range(0))
                number = 0
                while True:
                    wave = random.choice(WAVES)
                    await self.put(ledger, self.life, range(number, number + wave))
                    number += wave

    async def put(self, ledger: Ledger, life: int, numbers: range) -> None:
        """Put rows together, and wait until all are acknowledged."""
        self.idle = trio.Event()
        for number in numbers:
            self.waiting += 1
            each = row(0, session_id="session", entry=entry(life, number), cost_nano=1)
            ledger.put(each).then(partial(self.tell, ledger, life, number))
        if self.waiting:
            await self.idle.wait()

    def tell(self, ledger: Ledger, life: int, number: int) -> None:
        assert not ledger.failing
        assert ledger.rows_lost == 0
        os.write(self.pipe, b"%d %d\n" % (life, number))
        self.waiting -= 1
        if not self.waiting:
            self.idle.set()


def live(path: Path, life: int, acknowledged_before: int, seconds: float) -> list[bytes]:
    """Fork a child, kill it after so many seconds; the lines it wrote."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        try:
            trio.run(Child(life, acknowledged_before, writing).run, path)
        finally:
            os._exit(1)
    os.close(writing)
    end, read = time.monotonic() + seconds, bytearray()
    while (left := end - time.monotonic()) > 0:
        if select.select([reading], [], [], left)[0] and not drained(reading, read):
            break
    os.kill(pid, signal.SIGKILL)
    while drained(reading, read):
        pass
    os.close(reading)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), f"life {life} ended by itself: see its traceback"
    return bytes(read).splitlines()


def drained(pipe: int, into: bytearray) -> bool:
    """Take some of what is in the pipe; whether there may be more."""
    data = os.read(pipe, 65536)
    into += data
    return bool(data)


def main(path: Path, lives: int, seed: int) -> None:
    random.seed(seed)
    acknowledged = 0
    for life in range(lives):
        lines = live(path, life, acknowledged, random.uniform(0.0, LIFE_S_MAX))
        own = b"%d " % life
        acknowledged = sum(line.startswith(own) for line in lines)
        for line in lines:
            print(line.decode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
