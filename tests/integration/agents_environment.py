"""A Python with openai-agents, made once and kept at the root of the repository.

The package pins an older ``websockets`` than relayd does, so it lives in an environment of its
own, whose packages are pinned beside this file.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CONSTRAINTS = Path(__file__).with_name("constraints-agents.txt")
HOME = Path(__file__).parents[2] / ".venv-agents"
STEP_S = 300.0
OUTPUT_TOLD = 3000


class EnvironmentBroken(Exception):
    """The environment could not be made; the message is the output of what failed."""


def ensure() -> Path:
    """The interpreter of the environment, after making it if need be.

    It is made anew where the pins, this Python or its own place are not those it was made for,
    and where making it was interrupted. That takes half a minute and a package index.

    Raises:
        EnvironmentBroken: A step failed.
    """
    interpreter = HOME / "bin" / "python"
    stamp = HOME / "made-for"
    made_for = f"{HOME}\n{sys.version}\n{CONSTRAINTS.read_text()}"
    if stamp.is_file() and stamp.read_text() == made_for:
        return interpreter
    shutil.rmtree(HOME, ignore_errors=True)
    _step([sys.executable, "-m", "venv", HOME])
    # The pins are complete: nothing is resolved.
    _step([interpreter, "-m", "pip", "install", "--quiet", "--no-deps", "-r", CONSTRAINTS])
    _step([interpreter, "-m", "pip", "check"])
    stamp.write_text(made_for)
    return interpreter


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
