"""What the server says of one task."""

from __future__ import annotations

from relayd.sim.runtask.actions import Message, Parameters
from relayd.sim.runtask.answers import answer
from relayd.sim.runtask.errors import ERRORS
from relayd.sim.runtask.events import Speech, failed, kind_of, started


def speech(**given: object) -> Speech:
    parameters = Parameters(**given)  # type: ignore[arg-type]  # its own fields
    return Speech("t", answer([Message(role="user", content="hi")], parameters), parameters)


def test_results_have_what_is_new_when_that_is_asked_for() -> None:
    results = list(speech(result_format="message", incremental_output=True).results())

    assert results[1] == {
        "header": {"task_id": "t", "event": "result-generated", "attributes": {}},
        "payload": {
            "output": {
                "choices": [
                    {
                        "finish_reason": "null",
                        "message": {"role": "assistant", "content": " 1."},
                    }
                ]
            },
            "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        },
    }


def test_results_have_all_so_far_otherwise_and_as_text() -> None:
    outputs = [result["payload"] for result in speech().results()]

    assert [output["output"] for output in outputs if isinstance(output, dict)] == [
        {"text": "Answer", "finish_reason": "null"},
        {"text": "Answer 1.", "finish_reason": "null"},
        {"text": "Answer 1. You", "finish_reason": "null"},
        {"text": "Answer 1. You said:", "finish_reason": "null"},
        {"text": "Answer 1. You said: hi", "finish_reason": "stop"},
    ]


def test_thoughts_have_a_member_of_their_own() -> None:
    given = speech(result_format="message", incremental_output=True, enable_thinking=True)
    first = next(given.results())

    assert "'content': '', 'reasoning_content': 'Let'" in str(first)


def test_a_cut_answer_says_so() -> None:
    *_, last = speech(max_tokens=2).results()

    assert "'finish_reason': 'length'" in str(last)


def test_the_ends_of_a_task() -> None:
    done = speech().finished()
    error = failed("t", ERRORS["Arrearage"])

    assert kind_of(started("t")) == "task-started"
    assert done["payload"] == {
        "output": {},
        "usage": {"input_tokens": 1, "output_tokens": 5, "total_tokens": 6},
    }
    assert error["header"] == {
        "task_id": "t",
        "event": "task-failed",
        "error_code": "Arrearage",
        "error_message": ERRORS["Arrearage"].message,
        "attributes": {},
    }
    assert kind_of({}) == ""
