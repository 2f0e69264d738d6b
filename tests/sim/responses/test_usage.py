"""What the model charges."""

from __future__ import annotations

import attrs
import pytest
from openai.types.responses import ResponseUsage

from relayd.sim.responses.usage import (
    MEDIA_TOKENS,
    Usage,
    reasoning_tokens,
    text_of,
    tokens_of,
    words,
)

USED = Usage(10, 4, 3, 5, 2)


def test_the_wire_form_is_what_typed_clients_read() -> None:
    read = ResponseUsage.model_validate(USED.wire(), strict=True)

    assert (read.input_tokens, read.output_tokens, read.total_tokens) == (10, 5, 15)
    assert read.input_tokens_details.cached_tokens == 4
    assert read.input_tokens_details.cache_write_tokens == 3
    assert read.output_tokens_details.reasoning_tokens == 2


def test_usages_add_up_kind_by_kind() -> None:
    assert attrs.astuple(USED + USED) == (20, 8, 6, 10, 4)


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ({"role": "user", "content": "one two"}, "one two"),
        ({"content": [{"type": "input_text", "text": "a"}, {"text": "b"}, 7]}, "a\nb"),
        ({"type": "function_call", "arguments": '{"a": 1}'}, '{"a": 1}'),
        ({"type": "custom_tool_call", "input": "ls"}, "ls"),
        ({"type": "function_call_output", "output": "done"}, "done"),
        ({"type": "function_call_output", "output": [{"text": "done"}]}, "done"),
        ({"type": "reasoning", "encrypted_content": "xyz"}, ""),
        ({"content": None}, ""),
    ],
)
def test_the_text_of_an_item(item: dict[str, object], text: str) -> None:
    assert text_of(item) == text
    assert tokens_of([item]) == words(text)


def test_an_image_and_a_file_have_their_price() -> None:
    parts = [{"type": "input_image"}, {"type": "input_file"}, {"type": "input_text", "text": "a"}]

    assert tokens_of([{"content": parts}]) == 2 * MEDIA_TOKENS + 1


@pytest.mark.parametrize("reasoning", [None, {}, {"effort": None}, {"effort": "unheard of"}])
def test_without_effort_there_is_no_thought(reasoning: dict[str, object] | None) -> None:
    assert reasoning_tokens(reasoning) == 0
