"""Pythons with clients that relayd does not depend on, each made once and kept at the root.

Every environment is pinned, completely, by a file beside this one; nothing is resolved.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs
import pytest

HOME: Final = Path(__file__).parents[2]
STEP_S: Final = 300.0
OUTPUT_TOLD: Final = 2000


class EnvironmentBroken(Exception):
    """An environment could not be made; the message is the output of what failed."""


@attrs.frozen
class ClientEnvironment:
    """A Python with some client.

    Attributes:
        name: Its folder is ``.venv-NAME``, its pins are ``constraints-NAME.txt``.
    """

    name: str

    def python(self) -> Path:
        """The interpreter, after making its environment if need be; skips where that fails.

        It is made anew where the pins, this Python or its own place are not those it was made
        for, and where making it was interrupted. That takes half a minute and a package index.
        """
        try:
            return self.ensure()
        except EnvironmentBroken as broken:
            pytest.skip(f"{self.name} cannot be installed here: {broken}")

    def ensure(self) -> Path:
        """The same.

        Raises:
            EnvironmentBroken: A step failed.
        """
        home = HOME / f".venv-{self.name}"
        pins = Path(__file__).with_name(f"constraints-{self.name}.txt")
        interpreter, stamp = home / "bin" / "python", home / "made-for"
        made_for = f"{home}\n{sys.version}\n{pins.read_text()}"
        with one_at_a_time(pins):
            if stamp.is_file() and stamp.read_text() == made_for:
                return interpreter
            shutil.rmtree(home, ignore_errors=True)
            _step([sys.executable, "-m", "venv", home])
            (home / ".gitignore").write_text("*\n")
            _step([interpreter, "-m", "pip", "install", "--quiet", "--no-deps", "-r", pins])
            _step([interpreter, "-m", "pip", "check"])
            stamp.write_text(made_for)
            return interpreter


@contextmanager
def one_at_a_time(pins: Path) -> Iterator[None]:
    """While the block lasts no other process makes what is pinned there; tests run in several."""
    with pins.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


AGENTS: Final = ClientEnvironment("agents")
"""With openai-agents, for all tests of it: that pins an older ``websockets`` than relayd does."""


def _step(command: Sequence[str | Path]) -> None:
    try:
        subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            check=True,
            timeout=STEP_S,
        )
    except subprocess.TimeoutExpired as slow:
        raise EnvironmentBroken(f"{slow.cmd}: not done after {STEP_S:.0f} s") from slow
    except subprocess.CalledProcessError as failed:
        output = failed.stdout.decode(errors="replace")[-OUTPUT_TOLD:]
        raise EnvironmentBroken(f"{failed.cmd}\n{output}") from failed
