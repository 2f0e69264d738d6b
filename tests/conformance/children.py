"""Programs that run beside a test, for as long as a block lasts."""

import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import trio

LINES_TOLD = 20


class ChildEnded(Exception):
    """It printed its last line, and never the one that was waited for; the message is the last."""


@attrs.define
class Output:
    """The lines that a child printed so far on its standard output."""

    lines: list[str] = attrs.field(factory=list)
    _ended: bool = False
    _more: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    async def line_with(self, text: str) -> str:
        """Return the first line that contains ``text``, as soon as it is there.

        Raises:
            ChildEnded: there will be none.
        """
        seen = 0
        while True:
            for line in self.lines[seen:]:
                if text in line:
                    return line
            if self._ended:
                raise ChildEnded("\n".join(self.lines[-LINES_TOLD:]))
            seen = len(self.lines)
            await self._more.park()

    async def follow(self, stream: trio.abc.ReceiveStream) -> None:
        """Read until the child closes the stream, so that it never waits for a reader."""
        rest = b""
        async for chunk in stream:
            *lines, rest = (rest + bytes(chunk)).split(b"\n")
            self.lines.extend(line.decode(errors="replace") for line in lines)
            self._more.unpark_all()
        self._ended = True
        self._more.unpark_all()


@asynccontextmanager
async def child(command: Sequence[str | Path], directory: Path) -> AsyncIterator[Output]:
    """Run a program in ``directory`` until the block ends, then end it with SIGTERM.

    It has five seconds to obey; one that does not is killed and makes the block fail with trio's
    RuntimeWarning. Cancelling the block ends it likewise.

    Raises:
        subprocess.CalledProcessError: it ended by itself, with an error; the block is cancelled.
    """
    output = Output()
    run = partial(trio.run_process, command, stdout=subprocess.PIPE, cwd=directory)
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(run)
        assert process.stdout is not None  # it is a pipe
        nursery.start_soon(output.follow, process.stdout)
        yield output
        nursery.cancel_scope.cancel()
