"""The facts of a machine that figures depend on."""

from __future__ import annotations

import os
import platform
import re
import ssl
import subprocess
from pathlib import Path
from typing import Final

from bench.relays import haproxy_command

_ASK_S: Final = 10.0
_ROOT: Final = Path(__file__).resolve().parent.parent


def facts() -> dict[str, str]:
    """What stands beside every result: processor, kernel, versions, revision."""
    return {
        "cpu": _cpu_model(),
        "cpus": str(len(os.sched_getaffinity(0))),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "haproxy": _haproxy_version(),
        "revision": _first_line("git", "-C", str(_ROOT), "describe", "--always", "--dirty"),
    }


def _cpu_model() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _haproxy_version() -> str:
    command = haproxy_command()
    if command is None:
        return "missing"
    found = re.search(r"version (\S+)", _first_line(command, "-v"))
    return found[1] if found else "unknown"


def _first_line(*command: str) -> str:
    """The first line a command writes, ``unknown`` where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return (done.stdout.splitlines() or ["unknown"])[0]
