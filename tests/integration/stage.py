"""Where the programs of a page run: a directory of their own, and addresses of their own."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import trio

from relayd.observe.events import LogEvent
from tests.integration.conftest import CLIENT_S, Relayd
from tests.integration.pages import Command, commands_of

BIN: Final = Path(sys.executable).parent

Interpreter = Callable[[Path], list[str | Path]]
"""The command that runs a program's file."""

INTERPRETERS: Final[dict[str, Interpreter]] = {
    "python": lambda path: [sys.executable, path],
    "sh": lambda path: ["sh", "-e", path],
}

_BETWEEN: Final = "\x1e"  # ASCII's record separator: nothing that is run prints it
_STATUS: Final = re.compile(rf"(?P<output>.*?){_BETWEEN}(?P<status>\d+)\n", re.DOTALL)
_ASKS_STATUS: Final = "echo $?\n"


class ProgramFailed(Exception):
    """A program did not end well; the message is what it printed."""


@attrs.frozen
class Printed:
    """What a command of a ``console`` block printed, as the page would have it."""

    command: Command
    output: str


@attrs.define
class Running:
    """A program that runs while the test does something.

    Attributes:
        printed: So far.
    """

    process: trio.Process
    printed: str = ""

    async def until(self, is_there: Callable[[str], bool]) -> None:
        """Wait until what is printed is what the test waits for."""
        assert self.process.stdout is not None
        with trio.fail_after(CLIENT_S):
            while not is_there(self.printed):
                data = await self.process.stdout.receive_some()
                if not data:
                    raise ProgramFailed(self.printed)
                self.printed += data.decode(errors="replace")


def own_environ() -> dict[str, str]:
    """The test's environment, with this project's commands first and nothing meant for relayd."""
    ours = {name: value for name, value in os.environ.items() if "RELAYD" not in name}
    return {**ours, "PATH": f"{BIN}:{os.environ['PATH']}", "NO_PROXY": "*"}


@attrs.define
class Stage:
    """A directory, and what the page's addresses and paths are there.

    Attributes:
        directory: Where programs run.
        places: What stands on the page, and what stands for it here. Longer words go first.
        environ: Of every program.
    """

    directory: Path
    places: dict[str, str] = attrs.field(factory=dict)
    environ: dict[str, str] = attrs.field(factory=own_environ)
    _programs: int = 0

    def real(self, text: str) -> str:
        """A page's text with the addresses and paths of this stage."""
        for shown in sorted(self.places, key=len, reverse=True):
            text = text.replace(shown, self.places[shown])
        return text

    def shown(self, text: str) -> str:
        """What was printed here, with the addresses and paths of the page."""
        by_length = sorted(self.places.items(), key=lambda place: len(place[1]), reverse=True)
        for shown, real in by_length:
            text = text.replace(real, shown)
        return text.replace("\r\n", "\n")

    def write(self, name: str, text: str, *, end: bool = False) -> Path:
        """Write a file, or the end of one, with real addresses and paths."""
        path = self.directory / self.real(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_text() if end else ""
        path.write_text(before + self.real(text))
        return path

    def _write_program(self, text: str) -> Path:
        """A file of its own: a shell reads on in its file while it runs."""
        self._programs += 1
        return self.write(f"program-{self._programs}", text)

    async def run(self, text: str, interpreter: Interpreter) -> str:
        """Run a program to its end; what it printed, errors among it.

        Raises:
            ProgramFailed: Its exit code is not 0.
        """
        ended = await self._run(interpreter(self._write_program(text)))
        output = self.shown(ended.stdout.decode(errors="replace"))
        if ended.returncode:
            raise ProgramFailed(f"exit code {ended.returncode}: {output}")
        return output

    async def start(
        self,
        text: str,
        interpreter: Interpreter,
        nursery: trio.Nursery,
        *,
        descriptors: Sequence[int] = (),
    ) -> Running:
        """Start a program that gets ``descriptors``; it is ended with the nursery."""
        run = partial(
            trio.run_process,
            interpreter(self._write_program(text)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.directory,
            env=self.environ,
            pass_fds=descriptors,
        )
        return Running(await nursery.start(run))

    async def play(self, text: str) -> list[Printed]:
        """Run the commands of a ``console`` block in one shell; what each of them printed.

        Raises:
            ProgramFailed: A command's exit code is not 0, and the next one does not ask for it.
        """
        commands = commands_of(text)
        lines = [
            f"{each.text}__status=$?; printf '\\036%d\\n' $__status; (exit $__status)\n"
            for each in commands
        ]
        ended = await self._run(["sh", self._write_program("".join(lines))])
        found = list(_STATUS.finditer(ended.stdout.decode(errors="replace")))
        if len(found) < len(commands):
            raise ProgramFailed(self.shown(ended.stdout.decode(errors="replace")))
        for index, one in enumerate(found):
            asked = [each.text for each in commands[index + 1 : index + 2]] == [_ASKS_STATUS]
            if int(one["status"]) and not asked:
                raise ProgramFailed(f"{commands[index].text}{one['output']}")
        return [
            Printed(command, self.shown(one["output"]))
            for command, one in zip(commands, found, strict=True)
        ]

    async def serve(self, command: str, nursery: trio.Nursery) -> Relayd:
        """Start a relayd; it is ended with the nursery."""
        environ = [f"{name}={value}" for name, value in self.environ.items()]
        where = ["env", "-i", f"--chdir={self.directory}", *environ]
        relayd = await Relayd.start([*where, *shlex.split(self.real(command))], nursery)
        await relayd.logged(LogEvent.SERVER_STARTED)
        return relayd

    async def _run(self, command: list[str | Path]) -> subprocess.CompletedProcess[bytes]:
        with trio.fail_after(CLIENT_S):
            return await trio.run_process(
                command,
                capture_stdout=True,
                stderr=subprocess.STDOUT,
                check=False,
                cwd=self.directory,
                env=self.environ,
            )
