"""The frames of one answer."""

from __future__ import annotations

import json
from typing import Any

from relayd.sim.spark.answers import answer
from relayd.sim.spark.frames import (
    content_frame,
    frames,
    is_last,
    plugins_frame,
    text_of,
    texts_in,
    with_usage,
)
from tests.sim.spark.stage import question, search


def played(**given: object) -> list[Any]:
    return list(frames(answer(question(**given)), "cht1"))


def test_status_and_number_lead_through_an_answer() -> None:
    got = played(text="hi")

    assert [frame["payload"]["choices"]["status"] for frame in got] == [0, 1, 1, 1, 2]
    assert [frame["payload"]["choices"]["seq"] for frame in got] == [0, 1, 2, 3, 4]
    assert [is_last(frame) for frame in got] == [False] * 4 + [True]
    assert [frame for frame in got if "usage" in frame["payload"]] == got[-1:]


def test_a_single_frame_is_the_last() -> None:
    (only,) = played(max_tokens=1)

    assert is_last(only)
    assert only["payload"]["usage"]["text"]["completion_tokens"] == 1


def test_references_come_before_all_else_and_without_choices() -> None:
    plugins, first, *_ = played(tools=[search(enable=True, show_ref_label=True)])

    (found,) = plugins["payload"]["plugins"]["text"]
    assert "choices" not in plugins["payload"]
    assert (found["name"], found["role"]) == ("ifly_search", "tool")
    assert json.loads(found["content"])[0]["index"] == 1
    assert first["payload"]["choices"]["status"] == 0
    assert texts_in(plugins) == []


def test_usage_is_put_where_there_is_a_payload() -> None:
    frame = content_frame("cht1", 2, 0, [text_of("x")])

    assert with_usage(frame, 5)["payload"] == {
        "choices": {"status": 2, "seq": 0, "text": [text_of("x")]},
        "usage": {"text": 5},
    }
    assert with_usage({"header": {}}, 5) == {"header": {}}
    assert not is_last({})
    assert not is_last(plugins_frame("cht1", ()))
