"""What the tests of the simulated run-task upstream share."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from relayd.sim.runtask.upstream import PATH, RunTaskUpstream
from tests.sim.peer import BEARER, Ended, Peer, served

Event = dict[str, Any]

TASK = "7c1e"


def run(text: str = "hello there", *, task: str = TASK, **more: object) -> Event:
    """A ``run-task``; what else is given are parameters, ``streaming`` and ``messages`` apart."""
    streaming = more.pop("streaming", "out")
    messages = more.pop("messages", [{"role": "user", "content": text}])
    return {
        "header": {"action": "run-task", "task_id": task, "streaming": streaming},
        "payload": {
            "model": "qwen-test",
            "task_group": "aigc",
            "task": "text-generation",
            "function": "generation",
            "parameters": {"result_format": "message", "incremental_output": True} | more,
            "input": {"messages": messages},
        },
    }


def say(action: str, *texts: str, task: str = TASK) -> Event:
    """A ``continue-task`` or a ``finish-task``."""
    messages = [{"role": "user", "content": text} for text in texts]
    header = {"action": action, "task_id": task, "streaming": "duplex"}
    return {"header": header, "payload": {"input": {"messages": messages}}}


@contextlib.asynccontextmanager
async def connected(upstream: RunTaskUpstream) -> AsyncIterator[Peer]:
    """A peer past the 101, with a key."""
    async with served(upstream, PATH) as peer:
        response = await peer.upgrade(BEARER)
        assert response.status_code == 101
        yield peer


async def task(peer: Peer, text: str = "hello there", **more: object) -> list[Event]:
    """The events of one task, up to its last or the end of the connection."""
    await peer.send(run(text, **more))  # type: ignore[arg-type]  # the task among them
    return await until_end(peer)


async def until_end(peer: Peer) -> list[Event]:
    """Events up to the last of a task, or the end of the connection."""
    events: list[Event] = []
    with contextlib.suppress(Ended):
        while not events or kinds(events)[-1] not in {"task-finished", "task-failed"}:
            events.append(await peer.event())
    return events


def kinds(events: list[Event]) -> list[str]:
    """What the events are called."""
    return [event["header"]["event"] for event in events]


def said(events: list[Event], member: str = "content") -> str:
    """What results in the message format say."""
    choices = [
        choice
        for event in events
        for choice in event.get("payload", {}).get("output", {}).get("choices", [])
    ]
    return "".join(choice["message"].get(member, "") for choice in choices)
