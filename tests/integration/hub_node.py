"""A folder with the Node packages that clients of the hub use, made once and kept at the root.

The packages are pinned, completely and by their hashes, by the lock file in ``hub-node``.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.integration.client_environments import one_at_a_time
from tests.integration.conftest import CLIENTS
from tests.integration.test_other_clients import node

PINS: Final = Path(__file__).parent / "hub-node"
HOME: Final = Path(__file__).parents[2] / ".node-hub"
LOCK: Final = PINS / "package-lock.json"
FILES: Final = ("package.json", LOCK.name)
STEP_S: Final = 300.0
OUTPUT_TOLD: Final = 2000


def modules() -> Path:
    """The ``node_modules`` with the packages; skips where they cannot be had.

    They are fetched anew where the pins are not those they were fetched for, and where fetching
    was interrupted.
    """
    with one_at_a_time(LOCK):
        _ensure()
    return HOME / "node_modules"


def node_client(name: str, *arguments: str) -> list[str | Path]:
    """The command that runs a script in ``clients``, which may import the packages."""
    command = node()
    # A module looks for packages beside itself, and above.
    script = HOME / name
    with one_at_a_time(LOCK):
        _ensure()
        if not script.is_file() or script.read_text() != (CLIENTS / name).read_text():
            shutil.copyfile(CLIENTS / name, script)
    return [command, script, *arguments]


def _ensure() -> None:
    stamp, made_for = HOME / "made-for", LOCK.read_text()
    if not stamp.is_file() or stamp.read_text() != made_for:
        _fetch()
        stamp.write_text(made_for)


def _fetch() -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir()
    (HOME / ".gitignore").write_text("*\n")
    for name in FILES:
        shutil.copyfile(PINS / name, HOME / name)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        subprocess.run(
            command,
            cwd=HOME,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            check=True,
            timeout=STEP_S,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm ci was not done after {STEP_S:.0f} s")
    except subprocess.CalledProcessError as failed:
        pytest.skip(f"npm ci failed: {failed.stdout.decode(errors='replace')[-OUTPUT_TOLD:]}")
