"""Whatever an upstream of the chat dialect says: an error, or a stream that ends as it should."""

from __future__ import annotations

import json
from typing import Any

import attrs
import hypothesis
import hypothesis.strategies as st
import pytest
import trio

from relayd.config.accounts import Timeouts
from tests.faults import chat
from tests.faults.chat import DONE, USAGE, Client, Json, said, spark, wired
from tests.faults.harness import LIMITS, Stage, Upstream
from tests.faults.wire import CONTINUATION, PING, TEXT, Ended, Wire, accepting, close, frame

QUICK = Timeouts(connect_s=0.5, first_frame_s=0.1, idle_s=0.1, total_s=2.0)

Step = dict[str, Any] | bytes | str
END, RESET, SILENCE = "end", "reset", "silence"


def in_two(event: dict[str, Any]) -> bytes:
    """A frame as two fragments, with a ping between them."""
    data = json.dumps(event).encode()
    head = frame(TEXT, data[:9], masked=False, fin=False)
    return head + frame(PING, b"", masked=False) + frame(CONTINUATION, data[9:], masked=False)


WORDS = st.text(min_size=1, max_size=20)
WHOLE = st.sampled_from([said("", 2, usage=USAGE), said("!", 2), said("", 2, code=10014)])
SPEECH = st.one_of(
    st.builds(said, WORDS, st.sampled_from([0, 1])),
    st.builds(said, WORDS, st.sampled_from([0, 1])).map(in_two),
    st.builds(lambda text: said("", 1, reasoning_content=text), WORDS),
    st.just(said("", 0)),
    st.just(said("", 1, function_call={"name": "f", "arguments": "{}"})),
    st.just({"header": {"code": 0, "status": 1}, "payload": {"plugins": {"text": []}}}),
    st.just(frame(PING, b"x", masked=False)),
)
FAULTS = st.one_of(
    st.sampled_from([10000, 10008, 10013, 10907, 11202, 77777]).map(lambda code: said(code=code)),
    st.binary(min_size=1, max_size=30),
    st.binary(max_size=20).map(lambda data: frame(TEXT, data, masked=False)),
    st.sampled_from(
        [
            frame(2, b"binary", masked=False),
            frame(TEXT, b'{"header":{}}', masked=False),
            frame(TEXT, b"{" * 3000, masked=False),
            b"\x81\x7e\xff",
        ]
    ),
    st.sampled_from([1000, 1001, 1011, 1013, 4000]).map(
        lambda code: close(code, "why", masked=False)
    ),
    st.sampled_from([END, RESET, SILENCE]),
)
SCRIPTS = st.tuples(
    st.lists(SPEECH, max_size=5),
    st.one_of(WHOLE, FAULTS),
    st.lists(st.one_of(SPEECH, FAULTS, WHOLE), max_size=2),
).map(lambda parts: [*parts[0], parts[1], *parts[2]])


def drawn(count: int) -> list[list[Step]]:
    """So many scripts. They are drawn first: Hypothesis does not run within a running relay."""
    found: list[list[Step]] = []

    @hypothesis.settings(
        max_examples=count,
        database=None,
        phases=[hypothesis.Phase.generate],
        derandomize=True,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(SCRIPTS)
    def draw(script: list[Step]) -> None:
        found.append(script)

    draw()
    return found


@attrs.define(eq=False)
class Player:
    """Plays the script at hand to whoever connects."""

    upstream: Upstream
    script: list[Step] = attrs.field(factory=list)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                sock, _ = await self.upstream.sock.accept()
                wire = Wire(sock, is_client=False)
                nursery.start_soon(self._play, wire, self.script)

    async def _play(self, wire: Wire, script: list[Step]) -> None:
        try:
            await wire.send(accepting(await wire.head()))
            await wire.frame()
            for step in script:
                match step:
                    case str():
                        if step == SILENCE:
                            await wire.end()
                        if step == RESET:
                            wire.reset()
                        return
                    case _:
                        await wire.send(wired(step))
            await wire.finish()
            await wire.end()
        except (Ended, OSError):
            return  # relayd has had enough
        finally:
            wire.close()


def is_whole(step: Step) -> bool:
    """Whether a step may end an answer."""
    return isinstance(step, dict) and (
        step["header"].get("status") == 2 and step["header"]["code"] in {0, 10014}
    )


def check(script: list[Step], client: Client, result: Json | list[Json | str]) -> None:
    """What holds for every script."""
    may_succeed = any(map(is_whole, script))
    if client.status != 200:
        assert client.status >= 400
        assert isinstance(result, dict)
        assert set(result["error"]) == {"message", "type", "param", "code"}
    elif isinstance(result, dict):
        assert may_succeed
        assert result["choices"][0]["finish_reason"]
    else:
        assert result[-1] == DONE
        assert result.count(DONE) == 1
        errors = [each for each in result[:-1] if "error" in each]
        assert len(errors) + len(chat.finishes_of(result)) == 1
        assert may_succeed or errors
        assert not errors or result[-2] is errors[0]


async def check_scripts(stage: Stage, count: int) -> None:
    """Play ``count`` scripts, each the answer to a request of its own."""
    scripts, upstream = drawn(count), await stage.upstream()
    # A model each: what stands against an account, or a model of it, is the next one's concern.
    accounts = [
        spark(upstream, f"a{number}", models=(f"m{number}",), timeouts=QUICK)
        for number in range(len(scripts))
    ]
    outcomes = set()
    limits = attrs.evolve(LIMITS, stall_s=2.0)
    async with stage.relay(*accounts, limits=limits) as relay, trio.open_nursery() as nursery:
        player = Player(upstream)
        nursery.start_soon(player.run)
        for number, script in enumerate(scripts):
            player.script = script
            stream = number % 3 > 0
            client = await Client.asking(relay, model=f"m{number}", stream=stream)
            await client.head()
            is_stream = client.headers["content-type"] == "text/event-stream"
            result = await client.events() if is_stream else await client.body()
            try:
                check(script, client, result)
            except AssertionError as wrong:
                wrong.add_note(f"script: {script}\nresult: {client.status} {result}")
                raise
            outcomes.add(client.status)
            client.wire.close()
        nursery.cancel_scope.cancel()
    assert outcomes >= {200, 400, 502}, "the scripts are of many kinds"


async def test_any_script(stage: Stage) -> None:
    await check_scripts(stage, 60)


@pytest.mark.slow
async def test_many_scripts(stage: Stage) -> None:
    await check_scripts(stage, 1000)
