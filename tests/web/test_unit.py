"""The dashboard's modules that need no page, tested by Node's own runner as a child process."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FOLDERS = ("relayd/web/static", "tests/web/unit")
RUN_S = 60.0
OLDEST = 20
"""The first release of Node whose runner counts as stable."""


def node() -> str:
    """Node's command; without one that is new enough, the test is skipped."""
    command = shutil.which("node")
    if command is None:
        pytest.skip("there is no node")
    version = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    if int(version.stdout.lstrip("v").partition(".")[0]) < OLDEST:
        pytest.skip(f"node is older than {OLDEST}")
    return command


def test_the_modules_do_what_their_tests_say(tmp_path: Path) -> None:
    for folder in FOLDERS:  # as in the tree, under a file that says that these are modules
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    files = sorted((tmp_path / "tests/web/unit").glob("*.test.js"))
    assert files

    ended = subprocess.run(
        [node(), "--test", *files],
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_S,
        cwd=tmp_path,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
