"""The Codex CLI works through relayd: over WebSocket, and by POST after a 426.

The binary is the one that the environment variable ``CODEX`` names, or ``codex`` on the path. It
reaches nothing but this host: whatever else it wants goes to a proxy that is not there.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import trio

from relayd.observe.events import LogEvent
from relayd.sim.responses.scenario import Scenario
from tests.integration.conftest import KEY, Relayd
from tests.integration.responses_stage import (
    POST_KEY,
    Stage,
    base_url,
    crashes,
    drain,
    port_of,
    reasons,
    stopped_well,
    turns,
)

pytestmark = pytest.mark.slow

CODEX_S: Final = 60.0
NOBODY: Final = "http://127.0.0.1:9"
"""The port of discard (RFC 863), where nobody listens."""

CONFIG: Final = """\
model = "gpt-5.2-codex"
model_provider = "relayd"
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false

[analytics]
enabled = false

[model_providers.relayd]
name = "relayd"
base_url = "{base_url}"
env_key = "RELAYD_KEY"
wire_api = "responses"
supports_websockets = true
request_max_retries = 1
stream_max_retries = 8
stream_idle_timeout_ms = 8000
"""


@pytest.fixture
def program() -> str:
    """Where the binary is."""
    found = os.environ.get("CODEX") or shutil.which("codex")
    if found is None:
        pytest.skip("there is no Codex CLI: name it in CODEX, or put codex on the path")
    return found


@attrs.frozen
class Work:
    """What Codex has done.

    Attributes:
        status: Its exit code.
        commands: The output of each command that it has run.
        answer: The last that the model has said.
        errors: What it has told its user of errors, but for what it says of an unknown model.
    """

    status: int
    commands: list[str]
    answer: str | None
    errors: list[str]

    @classmethod
    def of(cls, ended: subprocess.CompletedProcess[bytes]) -> Work:
        """Read from its events, one JSON object a line."""
        events: list[dict[str, Any]] = [json.loads(line) for line in ended.stdout.splitlines()]
        items = [event["item"] for event in events if event["type"] == "item.completed"]
        said = [item["text"] for item in items if item["type"] == "agent_message"]
        wrong = [item["message"] for item in items if item["type"] == "error"]
        wrong += [event["message"] for event in events if event["type"] == "error"]
        return cls(
            status=ended.returncode,
            commands=[
                item["aggregated_output"] for item in items if item["type"] == "command_execution"
            ],
            answer=said[-1] if said else None,
            errors=[text for text in wrong if not text.startswith("Model metadata")],
        )


@attrs.frozen
class Codex:
    """The client of one relayd.

    Attributes:
        directory: Where it works.
    """

    directory: Path
    program: str
    relayd: Relayd
    key: str = KEY

    def command(self, prompt: str) -> partial[Any]:
        """How it is started, for a Trio nursery or by itself."""
        home = self.directory / "codex"
        home.mkdir(exist_ok=True)
        (home / "config.toml").write_text(CONFIG.format(base_url=base_url(self.relayd)))
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), NOBODY)
        proxies |= {name.lower(): value for name, value in proxies.items()}
        environ = {"CODEX_HOME": str(home), "RELAYD_KEY": self.key, "NO_PROXY": "127.0.0.1"}
        return partial(
            trio.run_process,
            [self.program, "exec", "--skip-git-repo-check", "--json", prompt],
            cwd=self.directory,
            env={**os.environ, **proxies, **environ, "no_proxy": "127.0.0.1"},
            capture_stdout=True,
            check=False,
        )

    async def work(self, prompt: str) -> Work:
        """Have it work on ``prompt`` to the end."""
        with trio.fail_after(CODEX_S):
            return Work.of(await self.command(prompt)())


@pytest.fixture
async def stage(nursery: trio.Nursery, tmp_path: Path) -> Stage:
    """A stage with one upstream."""
    made = Stage(tmp_path, nursery)
    await made.upstream()
    return made


@pytest.fixture
async def codex(program: str, stage: Stage) -> Codex:
    """Codex, and the relayd that it is configured with."""
    return Codex(stage.directory, program, await stage.relayd())


HELLO: Final = "run `echo hello` and tell me"


async def test_it_works_with_tools_over_one_socket(codex: Codex, stage: Stage) -> None:
    work = await codex.work(HELLO)

    assert (work.status, work.commands, work.errors) == (0, ["hello\n"], [])
    assert work.answer is not None
    assert work.answer.startswith("Answer 2. The tool said:")
    assert work.answer.endswith("hello")
    lines = await turns(codex.relayd, 3)
    assert reasons(lines) == ["completed"] * 3
    assert [line["warm_up"] for line in lines] == [True, False, False]
    assert [line["tool_calls"] for line in lines] == [0, 1, 0]
    assert [line["reused"] for line in lines] == [False, True, True]
    (ended,) = await codex.relayd.logged(LogEvent.SESSION_ENDED)
    assert (ended["reason"], ended["turns"]) == ("client_gone", 3)
    assert stage.tally().usage.input_tokens == ended["tokens_in"]
    await stopped_well(codex.relayd)


async def test_it_posts_after_a_426(codex: Codex, stage: Stage) -> None:
    work = await attrs.evolve(codex, key=POST_KEY).work(HELLO)

    assert (work.status, work.commands, work.errors) == (0, ["hello\n"], [])
    assert work.answer is not None
    assert work.answer.endswith("hello")
    assert reasons(await turns(codex.relayd, 2)) == ["completed"] * 2
    refused = codex.relayd.of(LogEvent.CONNECTION_REFUSED)
    assert {line["status"] for line in refused} == {426}
    assert codex.relayd.of(LogEvent.SESSION_ENDED) == []
    assert stage.tally().completed == 2
    await stopped_well(codex.relayd)


WARM_UP, CALL = Scenario.NORMAL, Scenario.NORMAL


@pytest.mark.parametrize(
    "script",
    [
        [Scenario.RESTART_BEFORE_CREATED],
        [WARM_UP, Scenario.RESTART_BEFORE_CREATED],
        [WARM_UP, CALL, Scenario.RESTART_BEFORE_CREATED],
        [WARM_UP, Scenario.RESTART_1012],
        [WARM_UP, CALL, Scenario.RESTART_1012],
        [WARM_UP, CALL, Scenario.RESET_MID_TURN],
        [WARM_UP, Scenario.RESTART_IDLE],
        [Scenario.RESTART_IDLE],
        [WARM_UP, CALL, Scenario.CONNECTION_LIMIT],
        [WARM_UP, CALL, Scenario.SERVER_ERROR],
        [WARM_UP, CALL, Scenario.FAILED],
        [WARM_UP, CALL, Scenario.ERROR_NO_STATUS],
        [WARM_UP, CALL, Scenario.ERROR_TOP_LEVEL],
        [WARM_UP, CALL, Scenario.CODEX],
        [WARM_UP, CALL, Scenario.FRAGMENTED],
        [WARM_UP, CALL, Scenario.BIG_EVENTS],
    ],
    ids=lambda script: f"{script[-1].value} {len(script)}",
)
@pytest.mark.parametrize("key", [KEY, POST_KEY], ids=["websocket", "post"])
async def test_it_works_though_its_upstream_fails(
    codex: Codex, stage: Stage, script: list[Scenario], key: str
) -> None:
    upstream = stage.upstreams["sim"].upstream
    upstream.script += script

    work = await attrs.evolve(codex, key=key).work(HELLO)

    assert (work.status, work.commands) == (0, ["hello\n"])
    assert work.answer is not None
    assert work.answer.endswith("hello")
    await stopped_well(codex.relayd)


async def test_it_waits_for_a_turn_that_is_silent_for_longer_than_it_would(
    codex: Codex, stage: Stage
) -> None:
    stage.upstreams["sim"].upstream.script += [WARM_UP, CALL, Scenario.SILENT_TURN]

    work = await codex.work(HELLO)

    assert (work.status, work.commands, work.errors) == (0, ["hello\n"], [])
    assert reasons(await turns(codex.relayd, 3)) == ["completed"] * 3
    await stopped_well(codex.relayd)


async def test_it_goes_on_with_a_new_relayd_when_the_old_one_drains_between_turns(
    codex: Codex, stage: Stage
) -> None:
    flag = codex.directory / "go-on"
    prompt = f"run `while [ ! -e {flag} ]; do sleep 0.1; done; echo hello` and tell me"
    worked: list[Work] = []

    async def work() -> None:
        worked.append(await codex.work(prompt))

    async with trio.open_nursery() as working:
        working.start_soon(work)
        await turns(codex.relayd, 2)
        drain(codex.relayd)
        new = await stage.restarted(codex.relayd)
        flag.touch()

    (work_done,) = worked
    assert (work_done.status, work_done.commands) == (0, ["hello\n"])
    assert work_done.answer is not None
    assert work_done.answer.endswith("hello")
    (ended,) = codex.relayd.of(LogEvent.SESSION_ENDED)
    assert (ended["reason"], ended["client_close"]) == ("drain", 1012)
    assert crashes(codex.relayd) == []
    assert reasons(await turns(new, 1)) == ["completed"]
    await stopped_well(new)


async def test_a_drain_lets_its_running_response_end(codex: Codex, stage: Stage) -> None:
    upstream = stage.upstreams["sim"].upstream
    upstream.script += [WARM_UP, CALL, Scenario.SLOW]
    worked: list[Work] = []

    async def work() -> None:
        worked.append(await codex.work("run `seq 40` and tell me"))

    async with trio.open_nursery() as working:
        working.start_soon(work)
        await upstream.last_begun.wait()
        drain(codex.relayd)

    (work_done,) = worked
    assert (work_done.status, work_done.errors) == (0, [])
    assert work_done.answer is not None
    assert work_done.answer.startswith("Answer 2. The tool said:")
    assert reasons(await turns(codex.relayd, 3)) == ["completed"] * 3
    await stopped_well(codex.relayd)


async def test_it_goes_on_with_a_new_relayd_when_the_old_one_is_killed(
    program: str, stage: Stage
) -> None:
    upstream = stage.upstreams["sim"].upstream
    upstream.script += [WARM_UP, CALL, Scenario.SLOW]
    worked: list[Work] = []

    async def work(codex: Codex) -> None:
        worked.append(await codex.work("run `seq 40` and tell me"))

    async with trio.open_nursery() as working:
        with pytest.RaisesGroup(subprocess.CalledProcessError):
            async with trio.open_nursery() as doomed:
                old = await stage.relayd(nursery=doomed)
                working.start_soon(work, Codex(stage.directory, program, old))
                await upstream.last_begun.wait()
                old.process.kill()
        new = await stage.relayd(port=port_of(old))

    (work_done,) = worked
    assert (work_done.status, len(work_done.commands)) == (0, 1)
    assert work_done.answer is not None
    assert work_done.answer.startswith("Answer 2. The tool said:")
    assert reasons(await turns(new, 1)) == ["completed"]
    await stopped_well(new)


async def test_a_turn_that_is_interrupted_closes_its_upstreams_socket(
    codex: Codex, stage: Stage, nursery: trio.Nursery
) -> None:
    server = stage.upstreams["sim"]
    server.upstream.script += [WARM_UP, CALL, Scenario.SILENT_AFTER_CREATED]
    process: trio.Process = await nursery.start(codex.command(HELLO))
    with trio.fail_after(CODEX_S):
        await server.upstream.last_begun.wait()

    process.send_signal(signal.SIGINT)

    lines = await turns(codex.relayd, 3)
    assert reasons(lines) == ["completed", "completed", "client_gone"]
    await stopped_well(codex.relayd)
    assert server.connections == 0
