"""The small part of YAML that the page's examples are written in, read strictly.

Mappings, lists of mappings, lists of texts in brackets, and plain or quoted words. Whatever else
YAML knows is a mistake here: anchors, tags, tabs, folded text, and a key that stands twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

_ENTRY: Final = re.compile(r"([a-z_]+):(?: (\S.*))?")
_WORD: Final = re.compile(r"[A-Za-z0-9_./-]+")

Line: TypeAlias = tuple[int, str]
"""How far it is indented, and what stands there."""

Node: TypeAlias = str | list[Any] | dict[str, Any]


def parsed(text: str) -> dict[str, Any]:
    """What ``text`` says: a mapping of mappings, lists and texts.

    Raises:
        ValueError: It is not written in this part of YAML.
    """
    whole = _block([_line(each) for each in text.splitlines() if each.strip()])
    if not isinstance(whole, dict):
        raise ValueError("not understood: no mapping")
    return whole


def _line(text: str) -> Line:
    content = text.lstrip(" ")
    return len(text) - len(content), content


def _block(lines: list[Line]) -> Node:
    if lines[0][1].startswith("- "):
        return [_block([(at + 2, first[2:]), *rest]) for (at, first), rest in _groups(lines)]
    mapping: dict[str, Any] = {}
    for (_, first), rest in _groups(lines):
        entry = _ENTRY.fullmatch(first)
        if entry is None or entry[1] in mapping or (entry[2] is None) == (not rest):
            raise ValueError(f"not understood: {first}")
        mapping[entry[1]] = _block(rest) if rest else _scalar(entry[2])
    return mapping


def _groups(lines: list[Line]) -> Iterator[tuple[Line, list[Line]]]:
    """Each line that is as far out as the first, with what is indented below it."""
    outer = lines[0][0]
    while lines:
        first, *rest = lines
        below = next((i for i, (at, _) in enumerate(rest) if at <= outer), len(rest))
        if first[0] != outer:
            raise ValueError(f"indented in another way: {first[1]}")
        yield first, rest[:below]
        lines = rest[below:]


def _scalar(text: str) -> Node:
    if text.startswith(("[", '"')):
        node: Node = json.loads(text)  # what JSON calls so is the same in YAML (1.2.2, section 1.2)
        return node
    if _WORD.fullmatch(text) is None:
        raise ValueError(f"not understood: {text}")
    return text
