"""The two halves of the Autobahn suite, as child processes of the environment for Python 2.7."""

import json
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from tests.conformance import echo, report
from tests.conformance.children import child

GROUPS = tuple(f"{group}.*" for group in range(1, 11))
"""Everything but compression, which relayd does not offer."""

AGENT = "relayd"
SERVER = Path(__file__).with_name("fuzzing_server.py")


class FuzzerFailed(Exception):
    """The suite itself did not work; the message is the end of what it printed."""


async def fuzz(
    python27: Path, url: str, directory: Path, *, cases: Sequence[str], protocols: Sequence[str]
) -> tuple[report.Outcome, ...]:
    """Attack the server at ``url`` as a client, and return what came of it.

    Args:
        python27: The interpreter of the suite's environment.
        url: Where to connect for each case.
        directory: Takes the specification and the suite's own report, in HTML too.
        cases: Patterns like ``1.*``.
        protocols: Subprotocols to offer.

    Cancelling ends the fuzzer.

    Raises:
        FuzzerFailed: it ended with an error.
    """
    specification = {
        "servers": [{"agent": AGENT, "url": url, "protocols": list(protocols)}],
        "outdir": str(directory),
        "cases": list(cases),
    }
    file = _write(directory, specification)
    command: list[str | Path] = [
        python27,
        "-u",
        "-m",
        "autobahntestsuite.wstest",
        "-m",
        "fuzzingclient",
        "-s",
        file,
    ]
    ended = await trio.run_process(
        command, capture_stdout=True, stderr=subprocess.STDOUT, check=False, cwd=directory
    )
    if ended.returncode != 0:
        raise FuzzerFailed(ended.stdout.decode(errors="replace")[-2000:])
    return report.read(directory, AGENT)


@attrs.frozen
class FuzzingServer:
    """Where the fuzzing server listens, on 127.0.0.1, and where it leaves its report."""

    port: int
    directory: Path

    def target(self, case: int) -> str:
        """Return the request target that asks for the case with this number, from 1 on."""
        return f"/runCase?case={case}&agent={AGENT}"

    async def judged(self, case: int) -> None:
        """Wait until the server is done with a case, which may be after the client is.

        Cancelling leaves the case as it is.
        """
        await echo.hear_out(self.port, f"/getCaseStatus?case={case}&agent={AGENT}")

    async def outcomes(self) -> tuple[report.Outcome, ...]:
        """Have the report written, and return what came of the cases that are judged."""
        await echo.hear_out(self.port, f"/updateReports?agent={AGENT}")
        return report.read(self.directory, AGENT)


@asynccontextmanager
async def fuzzing_server(
    python27: Path, directory: Path, *, cases: Sequence[str]
) -> AsyncIterator[FuzzingServer]:
    """Serve the cases to clients; the server ends with the block."""
    specification = {
        # The suite takes port 0 to mean that any Host header is the right one.
        "url": "ws://127.0.0.1:0",
        "outdir": str(directory),
        "cases": list(cases),
    }
    file = _write(directory, specification)
    async with child([python27, "-u", SERVER, file], directory) as output:
        said = await output.line_with("listening on ")
        yield FuzzingServer(port=int(said.rpartition(" ")[2]), directory=directory)


def _write(directory: Path, specification: Mapping[str, object]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "specification.json"
    file.write_text(json.dumps(specification))
    return file
