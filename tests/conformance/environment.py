"""A Python 2.7 with the Autobahn test suite, made once and kept at the root of the repository.

The suite was never ported to Python 3, so it lives in an environment of its own, whose packages
are pinned beside this file. ``python -m tests.conformance.environment`` makes it and says where.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

CONSTRAINTS = Path(__file__).with_name("constraints-py27.txt")
HOME = Path(__file__).parents[2] / ".venv-py27"

PROBE = "import ssl, sys, zlib; sys.exit(sys.version_info[:2] != (2, 7))"
"""What an interpreter must be able to say: without these modules nothing can be installed."""

PROBE_S = 20.0
STEP_S = 600.0
OUTPUT_TOLD = 3000

NO_PYTHON27 = (
    "the Autobahn suite needs Python 2.7, and none runs here: set PYTHON27 to one, put python2.7"
    " on PATH, or have one under pyenv"
)


class EnvironmentBroken(Exception):
    """Python 2.7 is there, but the environment could not be made; the message is the output."""


def find_python27(environ: Mapping[str, str]) -> Path | None:
    """Return the first Python 2.7 that runs, or None.

    Looked for in ``$PYTHON27``, everywhere on ``$PATH`` (where a shim may stand that knows no
    such version), and in the versions of pyenv, in this order.
    """
    return next((path for path in _candidates(environ) if _is_python27(path, environ)), None)


def _candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    search = environ.get("PATH", os.defpath)
    if named := shutil.which(environ.get("PYTHON27", ""), path=search):
        yield Path(named)
    for folder in search.split(os.pathsep):
        if found := shutil.which("python2.7", path=folder):
            yield Path(found)
    if pyenv := shutil.which("pyenv", path=search):
        asked = subprocess.run([pyenv, "root"], env=environ, capture_output=True, check=False)
        versions = Path(os.fsdecode(asked.stdout.strip())) / "versions"
        yield from sorted(versions.glob("2.7*/bin/python2.7"))


def _is_python27(path: Path, environ: Mapping[str, str]) -> bool:
    try:
        probe = subprocess.run(
            [path, "-c", PROBE], env=environ, capture_output=True, check=False, timeout=PROBE_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return probe.returncode == 0


def ensure(python27: Path) -> Path:
    """Return the interpreter of the environment, after making it if need be.

    It is made anew where the pins, the Python 2.7 or its own place are not those it was made for,
    and where making it was interrupted. That takes half a minute and a package index.

    Raises:
        EnvironmentBroken: a step failed.
    """
    interpreter = HOME / "bin" / "python"
    stamp = HOME / "made-for"
    made_for = f"{HOME}\n{python27}\n{CONSTRAINTS.read_text()}"
    if stamp.is_file() and stamp.read_text() == made_for:
        return interpreter
    shutil.rmtree(HOME, ignore_errors=True)
    _step([sys.executable, "-m", "virtualenv", "--quiet", "--python", python27, HOME])
    # The pins are complete: nothing is resolved, and nothing is fetched to build with.
    pip: list[str | Path] = [interpreter, "-m", "pip"]
    _step([*pip, "install", "--quiet", "--no-build-isolation", "--no-deps", "-r", CONSTRAINTS])
    _step([*pip, "check"])
    stamp.write_text(made_for)
    return interpreter


def _step(command: Sequence[str | Path]) -> None:
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=STEP_S,
        )
    except subprocess.TimeoutExpired as slow:
        raise EnvironmentBroken(f"{slow.cmd}: not done after {STEP_S:.0f} s") from slow
    if done.returncode != 0:
        output = done.stdout.decode(errors="replace")[-OUTPUT_TOLD:]
        raise EnvironmentBroken(f"{' '.join(map(str, command))}\n{output}")


def main() -> None:
    """Make the environment, if there is a Python 2.7, and print its interpreter."""
    python27 = find_python27(os.environ)
    if python27 is None:
        sys.exit(NO_PYTHON27)
    print(ensure(python27))


if __name__ == "__main__":
    main()
