"""Other real Realtime clients hold conversations through relayd."""

from __future__ import annotations

import shutil
import subprocess

import pytest
import trio

from relayd.observe.events import LogEvent
from tests.integration.client_environments import AGENTS
from tests.integration.conftest import CLIENTS, KEY, Relayd, run_client

pytestmark = pytest.mark.slow

NODE_LEAST = (20, 10)
"""Since then Node has the WebSocket of browsers, at first behind a switch."""


def node() -> str:
    """The path of a Node that is new enough."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("Node is not installed")
    told = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    version = tuple(map(int, told.strip().removeprefix("v").split(".")[:2]))
    if version < NODE_LEAST:
        pytest.skip(f"Node {told.strip()} has no WebSocket of its own; 20.10 is the first that has")
    return found


async def test_a_browsers_websocket_comes_in_by_subprotocol(relayd: Relayd) -> None:
    url = f"ws://{relayd.address}/v1/realtime?model=gpt-realtime"
    flags = ("--experimental-websocket", "--no-warnings")

    (result,) = await run_client([node(), *flags, CLIENTS / "whatwg.mjs", url, KEY])

    assert result["protocol"] == "realtime"
    assert result["transcript"] == "Answer 1. You said: hello from a browser"
    assert result["code"] == 1000
    (ended,) = await relayd.logged(LogEvent.SESSION_ENDED)
    assert (ended["reason"], ended["client_close"]) == ("client_closed", 1000)
    assert KEY not in str(relayd.lines)


async def test_openai_agents_holds_a_conversation_with_a_tool(relayd: Relayd) -> None:
    python = await trio.to_thread.run_sync(AGENTS.ensure)
    url = f"ws://{relayd.address}/v1/realtime?model=gpt-realtime"

    (result,) = await run_client([python, CLIENTS / "openai_agents.py", url, KEY])

    assert result["errors"] == []
    assert result["tool_outputs"] == ["sunny in example"]
    assert result["audio_bytes"] > 0
    (ended,) = await relayd.logged(LogEvent.SESSION_ENDED)
    assert (ended["reason"], ended["turns"]) == ("client_closed", 2)
