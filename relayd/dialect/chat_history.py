"""A conversation for models that know little: turns of user and assistant, one after the other.

Such a model takes a system text first, if it takes one at all, then user and assistant in strict
alternation, the user last. Tools have no voice of their own there: what was called and what came
back is told in words. No text of the client's is lost on the way, but an assistant's greeting
before the first word of the user, which there is no place for; it is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from relayd.dialect.chat_values import Message, Role

CALLED: Final = "调用 {name}({arguments})"
RETURNED: Final = "{name} 返回: {text}"
"""How a call and its result are told, in the language that the models are best at."""

_JOINT: Final = "\n\n"
_SOME_TOOL: Final = "tool"


@attrs.frozen
class Turn:
    """What one side says, with all that it said in a row."""

    role: Role
    text: str = attrs.field(repr=False)


@attrs.frozen
class History:
    """A conversation in turns.

    Attributes:
        turns: Never empty; the last is the user's.
        dropped: What there was no place for, each as ``messages[0]``.
    """

    turns: tuple[Turn, ...]
    dropped: tuple[str, ...] = ()


def told(messages: Sequence[Message], *, system: bool) -> History:
    """The conversation of a request in turns.

    Args:
        messages: Of a :class:`~relayd.dialect.chat_values.ChatRequest`.
        system: Whether the model takes a system text. Where not, it stands in front of the first
            text of the user.
    """
    system_texts: list[str] = []
    turns: list[Turn] = []
    trailing: list[str] = []
    dropped: list[str] = []
    names = {call.id: call.name for each in messages for call in each.tool_calls if call.id}
    for index, message in enumerate(messages):
        text = _text(message, names)
        if not text:
            continue
        if message.role is Role.SYSTEM:
            system_texts.append(text)
            trailing.append(text)
            continue
        trailing.clear()
        if message.role is not Role.ASSISTANT:
            _add(turns, Turn(Role.USER, text))
        elif turns:
            _add(turns, Turn(Role.ASSISTANT, text))
        else:
            dropped.append(f"messages[{index}]")
    if not turns or turns[-1].role is Role.ASSISTANT:
        # Nobody asks but the system itself: what it said last is what is to be answered.
        asked = trailing or system_texts
        system_texts = system_texts[: -len(asked)]
        turns.append(Turn(Role.USER, _JOINT.join(asked)))
    if system_texts and system:
        turns.insert(0, Turn(Role.SYSTEM, _JOINT.join(system_texts)))
    elif system_texts:
        turns[0] = Turn(Role.USER, _JOINT.join([*system_texts, turns[0].text]))
    return History(tuple(turns), tuple(dropped))


def _add(turns: list[Turn], turn: Turn) -> None:
    """Append a turn, or what it says to the last one of the same side."""
    if turns and turns[-1].role is turn.role:
        turn = Turn(turn.role, turns.pop().text + _JOINT + turn.text)
    turns.append(turn)


def _text(message: Message, names: dict[str, str]) -> str:
    match message.role:
        case Role.TOOL:
            name = names.get(message.tool_call_id or "") or message.name or _SOME_TOOL
            return RETURNED.format(name=name, text=message.text)
        case Role.ASSISTANT:
            return _JOINT.join(_said(message))
        case _:
            return message.text


def _said(message: Message) -> Iterable[str]:
    if message.text:
        yield message.text
    for call in message.tool_calls:
        yield CALLED.format(name=call.name, arguments=call.arguments)
