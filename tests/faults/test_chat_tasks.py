"""The second provider of the chat dialect, of another shape: tasks, with a Bearer."""

from __future__ import annotations

import json

import trio

from relayd.config.accounts import AccountSettings
from relayd.config.providers import Provider
from relayd.config.secret import Secret
from relayd.observe.events import LogEvent
from tests.faults import chat
from tests.faults.chat import DONE, MODEL, Client, Json, take, wired
from tests.faults.harness import TIMEOUTS, UPSTREAM_KEY, Stage, Upstream
from tests.faults.wire import close


def tasks(upstream: Upstream) -> AccountSettings:
    return AccountSettings(
        name="tasks",
        provider=Provider.RUNTASK,
        base_url=f"ws://127.0.0.1:{upstream.port}",
        api_key=Secret(UPSTREAM_KEY),
        models=(MODEL,),
        timeouts=TIMEOUTS,
    )


def said(event: str, task: str, payload: Json | None = None, **header: str) -> Json:
    return {"header": {"event": event, "task_id": task, **header}, "payload": payload or {}}


def result(task: str, text: str, reason: str = "null") -> Json:
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": reason}
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    return said("result-generated", task, {"output": {"choices": [choice]}, "usage": usage})


async def test_a_task_is_an_answer(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(tasks(upstream)) as relay:
        client = await Client.asking(relay, stream=True, stream_options={"include_usage": True})
        far, run = await take(upstream)
        task = run["header"]["task_id"]
        await far.send(
            wired(
                said("task-started", task),
                result(task, "Hel"),
                result(task, "lo", "stop"),
                said("task-finished", task),
            )
        )
        events = await client.events()
        line = await stage.log.wait(LogEvent.TURN_ENDED)

    assert run["header"]["action"] == "run-task"
    head = bytes(far.seen).partition(b"\r\n\r\n")[0].decode()
    assert head.startswith("GET /api-ws/v1/inference HTTP/1.1")
    assert head.count("Authorization") == 1
    assert f"Authorization: Bearer {UPSTREAM_KEY}" in head
    assert chat.text_of(events) == "Hello"
    assert chat.finishes_of(events) == ["stop"]
    assert events[-1] == DONE
    assert events[-2]["usage"]["total_tokens"] == 5
    assert (line["turn_id"], line["tokens_out"]) == (task, 2)


async def test_a_task_that_fails(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(tasks(upstream)) as relay:
        client = await Client.asking(relay, stream=True)
        far, run = await take(upstream)
        task = run["header"]["task_id"]
        failed = said(
            "task-failed", task, error_code="InvalidParameter", error_message="top_p is wrong"
        )
        await far.send(wired(said("task-started", task), failed) + close(1007, masked=False))
        body = await client.json()

    assert client.status == 400
    assert body["error"]["code"] == "invalid_value"


async def test_a_client_that_leaves_ends_the_task_by_name(stage: Stage) -> None:
    upstream = await stage.upstream()
    async with stage.relay(tasks(upstream)) as relay:
        client = await Client.asking(relay, stream=True)
        far, run = await take(upstream)
        task = run["header"]["task_id"]
        await far.send(wired(said("task-started", task), result(task, "Hel")))
        await client.head()
        with trio.fail_after(1):
            client.wire.close()
            finish = json.loads((await far.frame()).payload)
            assert (await far.until_close()).close_code == 1000

    assert finish["header"] == {"action": "finish-task", "task_id": task, "streaming": "out"}


async def test_a_task_that_only_starts_is_waited_for_as_long_as_for_a_first_word(
    stage: Stage,
) -> None:
    upstream = await stage.upstream()
    async with stage.relay(tasks(upstream)) as relay:
        client = await Client.asking(relay)
        far, run = await take(upstream)
        await far.send(wired(said("task-started", run["header"]["task_id"])))
        body = await client.json()

    assert client.status == 504
    assert body["error"]["code"] == "upstream_timeout"
