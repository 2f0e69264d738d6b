"""The real openai SDK holds conversations through relayd."""

from __future__ import annotations

import signal

import pytest
import trio

from relayd.observe.events import LogEvent
from tests.integration.conftest import KEY, Program, Relayd, StartRelayd, python_client, run_client

pytestmark = pytest.mark.slow

SCRIPT = "openai_realtime.py"
AT_ONCE = 200


async def test_a_conversation_is_held_and_counted(relayd: Relayd) -> None:
    (result,) = await run_client(python_client(SCRIPT, f"http://{relayd.address}/v1", KEY, "one"))

    first, second = result["turns"]
    assert result["first_event"] == "session.created"
    assert first["transcript"] == "Answer 1. You said: number 0"
    assert second["transcript"] == "Answer 2. You said: again 0"
    assert first["types"][-1] == "response.done"

    (ended,) = await relayd.logged(LogEvent.SESSION_ENDED)
    assert (ended["reason"], ended["fault"], ended["client_close"]) == (
        "client_closed",
        "none",
        1000,
    )
    assert (ended["turns"], ended["account"]) == (2, "sim-realtime")
    assert ended["tokens_in"] == first["tokens_in"] + second["tokens_in"]
    assert ended["tokens_out"] == first["tokens_out"] + second["tokens_out"]


async def test_speech_is_answered_and_its_transcription_counted(relayd: Relayd) -> None:
    (result,) = await run_client(python_client(SCRIPT, f"http://{relayd.address}/v1", KEY, "audio"))

    assert "input_audio_buffer.speech_stopped" in result["types"]
    assert "conversation.item.input_audio_transcription.completed" in result["types"]
    assert result["transcript"].startswith("Answer 1.")

    (ended,) = await relayd.logged(LogEvent.SESSION_ENDED)
    assert ended["tokens_in"] > result["tokens_in"]


async def test_two_hundred_conversations_at_once(relayd: Relayd) -> None:
    (results,) = await run_client(
        python_client(SCRIPT, f"http://{relayd.address}/v1", KEY, "many", AT_ONCE)
    )

    assert [result["transcript"] for result in results] == [
        f"Answer 1. You said: number {number}" for number in range(AT_ONCE)
    ]
    ended = await relayd.logged(LogEvent.SESSION_ENDED, AT_ONCE)
    assert {line["reason"] for line in ended} == {"client_closed"}
    assert sum(line["tokens_out"] for line in ended) == sum(r["tokens_out"] for r in results)


async def test_a_drain_is_survived_on_a_new_connection(
    start_relayd: StartRelayd, nursery: trio.Nursery
) -> None:
    old = await start_relayd()
    command = python_client(SCRIPT, f"http://{old.address}/v1", KEY, "reconnect")
    client = await Program.start(command, nursery)
    await client.until(lambda: len(client.lines) == 1)

    old.process.send_signal(signal.SIGTERM)
    await old.logged(LogEvent.SERVER_STOPPED)
    new = await start_relayd(port=int(old.address.rpartition(":")[2]))
    await client.until(lambda: len(client.lines) == 2)

    before, after = client.lines
    assert before["transcript"] == "Answer 1. You said: before"
    assert after == {"codes": [1012], "transcript": "Answer 1. You said: after"}
    assert await old.process.wait() == 0
    assert [line["reason"] for line in old.of(LogEvent.SESSION_ENDED)] == ["drain"]
    assert [line["reason"] for line in await new.logged(LogEvent.SESSION_ENDED)] == [
        "client_closed"
    ]


async def test_a_wrong_key_is_an_error_that_the_sdk_understands(relayd: Relayd) -> None:
    command = python_client(SCRIPT, f"http://{relayd.address}/v1", "wrong-key-wrong-key", "one")

    ended = await trio.run_process(command, capture_stderr=True, check=False)

    assert ended.returncode == 1
    assert b"HTTP 401" in ended.stderr
    (refused,) = await relayd.logged(LogEvent.CONNECTION_REFUSED)
    assert (refused["status"], refused["reason"]) == (401, "invalid_api_key")
