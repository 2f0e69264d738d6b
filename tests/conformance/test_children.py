import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.conformance.children import ChildEnded, Output, child

LIMIT_S = 30.0
FOREVER = "import signal; print('ready', flush=True); signal.pause()"


async def test_a_line_is_returned_when_it_comes(tmp_path: Path) -> None:
    with trio.fail_after(LIMIT_S):
        async with child([sys.executable, "-c", FOREVER], tmp_path) as output:
            assert await output.line_with("read") == "ready"


async def test_a_child_that_ends_without_the_line_is_told_with_its_last_words(
    tmp_path: Path,
) -> None:
    with trio.fail_after(LIMIT_S):
        async with child([sys.executable, "-c", "print('no room')"], tmp_path) as output:
            with pytest.raises(ChildEnded, match="no room"):
                await output.line_with("ready")


async def test_a_child_that_fails_ends_the_block(tmp_path: Path) -> None:
    with (
        trio.fail_after(LIMIT_S),
        pytest.RaisesGroup(subprocess.CalledProcessError) as failed,
    ):
        async with child([sys.executable, "-c", "raise SystemExit(3)"], tmp_path):
            await trio.sleep_forever()

    (error,) = failed.value.exceptions
    assert isinstance(error, subprocess.CalledProcessError)
    assert error.returncode == 3


async def test_lines_do_not_depend_on_how_their_bytes_arrive() -> None:
    send, receive = trio.testing.memory_stream_one_way_pair()
    output = Output()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.follow, receive)
        for chunk in (b"o", b"ne\ntw", b"o\n\xc3", b"\xa4\n"):
            await send.send_all(chunk)
        await send.aclose()

    assert output.lines == ["one", "two", "ä"]
