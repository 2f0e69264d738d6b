"""What a create settles."""

from __future__ import annotations

import json

import pytest

from relayd.sim.responses.answers import Spoken
from relayd.sim.responses.client_events import Create, parse
from relayd.sim.responses.errors import Rejected
from relayd.sim.responses.memory import Memory, Past, Steered, Storage
from relayd.sim.responses.planning import Plan, plan
from relayd.sim.responses.usage import REASONING_TOKENS, TOOL_TOKENS
from tests.sim.responses.stage import SHELL, Event

CALL: Event = {"type": "function_call", "call_id": "c1", "name": "shell", "arguments": "{}"}
OUTPUT: Event = {"type": "function_call_output", "call_id": "c1", "output": "done it"}
USER: Event = {"role": "user", "content": "two words"}
PARENT = Past(id="parent", lane=None, tokens=50, depth=2)


def parsed(fields: dict[str, object]) -> Create:
    event = parse(json.dumps({"type": "response.create", "model": "gpt-test"} | fields))
    assert isinstance(event, Create)
    return event


def planned(near: Past | None = None, stored: Past | None = None, **fields: object) -> Plan:
    memory, storage = Memory(), Storage()
    if near is not None:
        memory.keep(near)
    if stored is not None:
        storage.keep("key", stored)
    return plan(
        parsed(fields),
        response_id="resp_1",
        lane=None,
        key="key",
        memory=memory,
        storage=storage,
        created_at=0,
    )


def refusal(near: Past | None = None, **fields: object) -> tuple[str | None, str]:
    with pytest.raises(Rejected) as rejected:
        planned(near, None, **fields)
    return rejected.value.error.code, rejected.value.error.message


def test_a_conversation_begins_with_its_input_instructions_and_tools() -> None:
    begun = planned(input=[USER], instructions="be very kind", tools=[SHELL])

    assert (begun.context_tokens, begun.depth) == (2, 1)
    assert (begun.input_tokens, begun.cached_tokens) == (2 + 3 + TOOL_TOKENS, 0)


def test_what_the_connection_remembers_is_cached() -> None:
    gone_on = planned(input=[USER], near=PARENT, previous_response_id="parent")

    assert (gone_on.input_tokens, gone_on.cached_tokens, gone_on.depth) == (52, 50, 3)


def test_what_is_stored_is_found_and_not_cached() -> None:
    gone_on = planned(input=[USER], stored=PARENT, previous_response_id="parent")

    assert (gone_on.input_tokens, gone_on.cached_tokens, gone_on.depth) == (52, 0, 3)


def test_what_is_neither_is_not_found() -> None:
    assert refusal(previous_response_id="parent") == (
        "previous_response_not_found",
        "Previous response with id 'parent' not found.",
    )


def test_a_history_told_anew_is_as_deep_as_it_was() -> None:
    told = [USER, CALL, OUTPUT, {"role": "assistant", "content": "fine"}, USER]

    again = planned(input=told)

    assert again.depth == 3
    assert again.answer == Spoken("Answer 3. You said: two words")


def test_a_warm_up_reads_and_says_nothing() -> None:
    warm = planned(input=[USER], generate=False, reasoning={"effort": "high"})

    assert (warm.answer, warm.depth, warm.input_tokens, warm.reasoning_tokens) == (None, 0, 2, 0)


def test_effort_costs_tokens() -> None:
    assert planned(reasoning={"effort": "high"}).reasoning_tokens == REASONING_TOKENS["high"]
    assert planned(reasoning={"summary": "auto"}).reasoning_tokens == 0


def test_only_who_asks_for_a_cache_writes_to_it() -> None:
    assert planned(input=[USER]).cache_write_tokens == 0
    asked = planned(
        input=[USER],
        near=PARENT,
        previous_response_id="parent",
        prompt_cache_options={"mode": "explicit", "ttl": "30m"},
    )
    assert asked.cache_write_tokens == 2


def test_an_output_needs_its_call() -> None:
    assert refusal(input=[OUTPUT]) == (
        None,
        "No tool call found for function call output with call_id c1.",
    )
    custom = {"type": "custom_tool_call_output", "call_id": "c2", "output": ""}
    assert refusal(input=[custom])[1] == (
        "No tool call found for custom tool call output with call_id c2."
    )


def test_a_call_needs_its_output() -> None:
    waiting = Past(id="parent", lane=None, tokens=1, depth=1, calls={"c1": "function_call"})
    missing = (None, "No tool output found for function call c1.")

    assert refusal(input=[USER], near=waiting, previous_response_id="parent") == missing
    assert refusal(input=[CALL]) == missing
    answered = planned(input=[OUTPUT], near=waiting, previous_response_id="parent")
    assert answered.answer == Spoken("Answer 2. The tool said: done it")


def test_what_was_said_meanwhile_comes_first() -> None:
    steered = Steered("steer_1", (USER,))
    waiting = Past(
        id="parent",
        lane=None,
        tokens=1,
        depth=1,
        calls={"c1": "function_call"},
        steers=(steered,),
    )

    gone_on = planned(input=[OUTPUT], near=waiting, previous_response_id="parent")

    assert gone_on.context_tokens == 1 + 2 + 2
    assert gone_on.answer == Spoken("Answer 2. The tool said: done it")
