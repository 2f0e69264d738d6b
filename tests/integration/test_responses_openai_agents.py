"""openai-agents talks to the Responses API through relayd, over WebSocket."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from relayd.observe.events import LogEvent
from tests.integration.client_environments import AGENTS
from tests.integration.conftest import CLIENTS, KEY, run_client
from tests.integration.responses_stage import Stage, base_url, reasons, stopped_well, turns

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("lanes", [True, False], ids=["upstream with lanes", "upstream without"])
async def test_openai_agents_holds_conversations_with_a_tool(
    nursery: trio.Nursery, tmp_path: Path, *, lanes: bool
) -> None:
    python = await trio.to_thread.run_sync(AGENTS.ensure)
    stage = Stage(tmp_path, nursery)
    await stage.upstream(lanes=lanes)
    relayd = await stage.relayd()

    script = CLIENTS / "openai_agents_responses.py"
    (told,) = await run_client([python, script, base_url(relayd), KEY])

    assert told["first"].startswith("Answer 2. The tool said: sunny in example")
    assert told["second"].startswith("Answer 3. You said: and what else")
    assert "raw_response_event" in told["types"]
    assert [each.split(". ")[1] for each in told["others"]] == [
        f"You said: number {number}" for number in range(4)
    ]
    assert reasons(await turns(relayd, 7)) == ["completed"] * 7
    await relayd.logged(LogEvent.SESSION_ENDED)
    await stopped_well(relayd)
