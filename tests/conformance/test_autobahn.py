"""The Autobahn suite against relayd: its front door as a server, its upstream side as a client.

Each half is also run against the echo that stands at the far end, without relayd: as long as those
pass, what fails is relayd.
"""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.conformance import echo, environment, report
from tests.conformance.fuzzing import GROUPS, fuzz, fuzzing_server
from tests.conformance.route import Route, directly, through_relayd

pytestmark = pytest.mark.slow

Way = Callable[[int], AbstractAsyncContextManager[Route]]
"""From a server's port to the route that leads there."""

RUN_S = 240.0
"""For a run of all cases, which takes 16 s on a quiet core at 2.5 GHz."""

LOW_MESSAGE_MAX_BYTES = 2**20
TOO_BIG = ("9.1.4", "9.1.6", "9.2.6", "9.3.4", "9.4.6")
"""Messages of 4 and 16 MiB, text and binary, in one frame and in many."""


@pytest.fixture(scope="module")
def python27() -> Path:
    """The interpreter of the suite's environment."""
    found = environment.find_python27(os.environ)
    if found is None:
        pytest.skip(environment.NO_PYTHON27)
    return environment.ensure(found)


@asynccontextmanager
async def echo_server() -> AsyncIterator[int]:
    """Echo on a free port of 127.0.0.1, which is the value, until the block ends."""
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, echo.serve, 0, host="127.0.0.1")
        listeners: list[trio.SocketListener] = await nursery.start(serve)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def fuzz_a_server(
    python27: Path, directory: Path, way: Way, *, cases: Sequence[str] = GROUPS
) -> Sequence[report.Outcome]:
    """Let the fuzzing client attack what stands between it and the echo."""
    with trio.fail_after(RUN_S):
        async with echo_server() as port, way(port) as route:
            url = f"ws://127.0.0.1:{route.port}{route.prefix}/"
            return await fuzz(
                python27, url, directory / "report", cases=cases, protocols=route.protocols
            )


async def fuzz_a_client(
    python27: Path,
    directory: Path,
    way: Way,
    *,
    cases: Sequence[str] = GROUPS,
    count: int = report.CASES,
) -> Sequence[report.Outcome]:
    """Let the fuzzing server attack what stands between it and the echo, once a case."""
    with trio.fail_after(RUN_S):
        async with (
            fuzzing_server(python27, directory / "report", cases=cases) as fuzzer,
            way(fuzzer.port) as route,
        ):
            for case in range(1, count + 1):
                await take_a_case(route, fuzzer.target(case))
                await fuzzer.judged(case)
            return await fuzzer.outcomes()


async def take_a_case(route: Route, target: str) -> None:
    try:
        await echo.dial(route.port, route.prefix + target, route.headers)
    except (echo.Refused, trio.TooSlowError, OSError) as error:
        error.add_note(f"in {target}")
        raise


def assert_conformant(outcomes: Sequence[report.Outcome]) -> None:
    print(report.summary(outcomes))  # shown beside a failure, and by pytest -rP
    assert report.complaints(outcomes) == []


async def test_the_echo_itself_passes_as_a_server(python27: Path, tmp_path: Path) -> None:
    assert_conformant(await fuzz_a_server(python27, tmp_path, directly))


async def test_the_echo_itself_passes_as_a_client(python27: Path, tmp_path: Path) -> None:
    assert_conformant(await fuzz_a_client(python27, tmp_path, directly))


async def test_the_front_door_passes_and_says_why_it_closes(python27: Path, tmp_path: Path) -> None:
    way = partial(through_relayd, directory=tmp_path)

    assert_conformant(await fuzz_a_server(python27, tmp_path, way))


async def test_the_upstream_side_passes_and_says_why_it_closes(
    python27: Path, tmp_path: Path
) -> None:
    way = partial(through_relayd, directory=tmp_path)

    assert_conformant(await fuzz_a_client(python27, tmp_path, way))


async def test_a_client_sees_1009_for_a_message_over_the_limit(
    python27: Path, tmp_path: Path
) -> None:
    way = partial(through_relayd, directory=tmp_path, message_max_bytes=LOW_MESSAGE_MAX_BYTES)

    outcomes = await fuzz_a_server(python27, tmp_path, way, cases=TOO_BIG)

    assert {seen.case: seen.close_code for seen in outcomes} == dict.fromkeys(TOO_BIG, 1009)


async def test_an_upstream_sees_1009_for_a_message_over_the_limit(
    python27: Path, tmp_path: Path
) -> None:
    way = partial(through_relayd, directory=tmp_path, message_max_bytes=LOW_MESSAGE_MAX_BYTES)

    outcomes = await fuzz_a_client(python27, tmp_path, way, cases=TOO_BIG, count=len(TOO_BIG))

    assert {seen.case: seen.close_code for seen in outcomes} == dict.fromkeys(TOO_BIG, 1009)
