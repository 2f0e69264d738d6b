"""MCP between servers and one device: JSON-RPC 2.0, in which servers ask and the device answers.

Three things are relayd's own. It calls tools itself, with ids from a range of its own, and keeps
the answers. It remembers what the device said of itself (``initialize``, the pages of
``tools/list``), so that a server that takes over is answered without asking the device anew. And it
keeps the servers' ids apart: each counts from 1, so that a late answer to a call of the lost one
could pass for an answer to the next one's.
"""

from __future__ import annotations

import math
from typing import Final

import attrs
import msgspec

from relayd.dialect.responses_members import Members, edited
from relayd.dialect.xiaozhi_actions import Called
from relayd.dialect.xiaozhi_addresses import Refuses, refuses_none, without_vision
from relayd.dialect.xiaozhi_messages import Unreadable, read_object, word_in
from relayd.dialect.xiaozhi_rpc import (
    TOOLS_LIST,
    ToolsPage,
    digest,
    error_response,
    id_of,
    number_of,
    page_key,
    request,
    response,
)

OWN_IDS: Final = range(0x6000_0000, 0x7FFF_FFFF)
"""A device reads an id as a signed 32-bit number; servers count from 1."""

CALLS_MAX: Final = 16
"""Calls of relayd's own that wait for one device at once."""

OPEN_MAX: Final = 64
"""Calls of a server that are remembered until their answer; of more, the oldest is forgotten."""

INITIALIZED_MAX_BYTES: Final = 16_384
PAGES_MAX: Final = 32
PAGES_MAX_BYTES: Final = 131_072
"""What is remembered of a device: its answer to ``initialize``, and its tools."""

METHOD_MAX_CHARS: Final = 128
_INITIALIZED: Final = "notifications/initialized"
_TOOLS_CHANGED: Final = "notifications/tools/list_changed"
_NOTED: Final = frozenset({"initialize", "tools/call"})

_decode: Final = msgspec.json.decode
_encode: Final = msgspec.json.encode


class TooManyCalls(Exception):
    """The device has :data:`CALLS_MAX` calls to answer already."""


@attrs.frozen
class Relayed:
    """What becomes of one JSON-RPC message: each part may be missing.

    Attributes:
        onward: Goes on to the other side; the very object that came where nothing was changed.
        back: Goes to the sender instead.
        to_device: Goes to the device besides.
        called: A call of relayd's own is answered.
        took_s: A server's call of a tool is answered, so long after it came.
        why: Where nothing goes anywhere: in few words, for counting.
        kept: Whether an answer that goes nowhere is remembered all the same.
    """

    onward: bytes | None = attrs.field(default=None, repr=False)
    back: bytes | None = attrs.field(default=None, repr=False)
    to_device: bytes | None = attrs.field(default=None, repr=False)
    called: Called | None = None
    took_s: float | None = None
    why: str | None = None
    kept: bool = False


@attrs.frozen
class _Asked:
    """A server's request, of ``at``, not answered yet. ``method`` is empty unless it is noted."""

    id: bytes  # as the server spells it
    method: str
    key: bytes
    at: float

    def took_s(self, now: float) -> float | None:
        """How long a call of a tool took; ``None`` for what is none."""
        return now - self.at if self.method == "tools/call" else None


@attrs.frozen
class _Own:
    """What an id of relayd's own stands for.

    Attributes:
        asked: A server's request that was given another id.
        late: Likewise, of a lost server. Without any of the three the answer is swallowed.
        deadline: Of a call of relayd's own.
    """

    asked: _Asked | None = None
    late: _Asked | None = None
    deadline: float | None = None


class McpRelay:
    """The JSON-RPC of one device.

    Attributes:
        tool_calls: ``tools/call`` of servers, so far.
        refuses: Hosts that the present server must not name to the device.
    """

    def __init__(self) -> None:
        self.tool_calls = 0
        self.refuses: Refuses = refuses_none
        self._initialized: bytes | None = None  # the result, as it is spelled
        self._params = b""  # a digest of those of the initialize that was answered so
        self._pages: dict[bytes, bytes] = {}  # results of tools/list, by params
        self._open: dict[bytes, _Asked] = {}  # of the present server, by id
        self._late: dict[bytes, _Asked] = {}  # lost servers' requests, by id
        self._own: dict[int, _Own] = {}
        self._next_id = OWN_IDS.start
        self._taken_over = False  # whether the present server is not the first
        self._skips_initialized = False

    # -- what a server says

    def from_server(self, payload: bytes, now: float) -> Relayed:
        """One message of the present server."""
        try:
            members = read_object(payload)
            method = word_in(members, "method", METHOD_MAX_CHARS)
            if method == "initialize":
                payload = without_vision(payload, self.refuses)
                members = read_object(payload)
        except Unreadable as wrong:
            return Relayed(why=str(wrong))
        if method is None:
            return Relayed(onward=payload)  # an answer to the device
        request_id = id_of(members)
        if request_id is None:
            if method == _INITIALIZED and self._skips_initialized:
                self._skips_initialized = False
                return Relayed(why="answered for the device")
            return Relayed(onward=payload)
        params = bytes(members.values.get("params", b"{}"))
        noted = method if method in _NOTED else ""
        asked = _Asked(request_id, noted, page_key(method, params), now)
        if self._taken_over and (result := self._remembered(asked)) is not None:
            return self._answer(asked, params, result)
        if method == "initialize":
            self._params = digest(params)
        self.tool_calls += method == "tools/call"
        return self._ask(asked, payload, members)

    def _remembered(self, asked: _Asked) -> bytes | None:
        if asked.method == "initialize":
            return self._initialized
        return self._pages.get(asked.key)

    def _answer(self, asked: _Asked, params: bytes, result: bytes) -> Relayed:
        """Answer for the device. What a server tells it in ``initialize`` still reaches it.

        That is where to send pictures, which is another place with every server.
        """
        besides = None
        if asked.method == "initialize":
            self._skips_initialized = True
            if (said := digest(params)) != self._params:
                self._params = said
                besides = request(self._new_id(_Own()), "initialize", params)
        return Relayed(back=response(asked.id, b"result", result), to_device=besides)

    def _ask(self, asked: _Asked, payload: bytes, members: Members) -> Relayed:
        """Let a request go on, under another id where its own may be mistaken."""
        number = number_of(asked.id)
        # A range looks through all of its numbers for what is none.
        if asked.id in self._late or (number is not None and number in OWN_IDS):
            new = b"%d" % self._new_id(_Own(asked))
            return Relayed(onward=edited(payload, members.spans, {"id": new}))
        self._open.pop(asked.id, None)
        self._open[asked.id] = asked
        if len(self._open) > OPEN_MAX:
            self._open.pop(next(iter(self._open)))
        return Relayed(onward=payload)

    # -- what the device says

    def from_device(self, payload: bytes, now: float) -> Relayed:
        """One message of the device."""
        try:
            members = read_object(payload)
        except Unreadable as wrong:
            return Relayed(why=str(wrong))
        if "method" in members.values:
            if word_in(members, "method", METHOD_MAX_CHARS) == _TOOLS_CHANGED:
                self._pages.clear()
            return Relayed(onward=payload)
        answered = id_of(members)
        if answered is None:
            return Relayed(onward=payload)  # an error about what could not be read has no id
        own = self._own.pop(number, None) if (number := number_of(answered)) is not None else None
        if own is not None and own.deadline is not None:
            return Relayed(called=Called(number or 0, payload))
        if own is not None and own.asked is not None:
            self._remember(own.asked, members)
            onward = edited(payload, members.spans, {"id": own.asked.id})
            return Relayed(onward=onward, took_s=own.asked.took_s(now))
        asked = self._open.pop(answered, None)
        if asked is not None:
            self._remember(asked, members)
            return Relayed(onward=payload, took_s=asked.took_s(now))
        late = self._late.pop(answered, None) if own is None else own.late
        # Its server is lost, and the next one would ask the device the same again.
        kept = late is not None and self._remember(late, members)
        return Relayed(why="an answer nobody waits for", kept=kept)

    def _remember(self, asked: _Asked, members: Members) -> bool:
        """Remember what the device says of itself; whether that was such an answer, and fits."""
        result = members.values.get("result")
        if result is None:
            return False
        size = len(memoryview(result))
        if asked.method == "initialize" and size <= INITIALIZED_MAX_BYTES:
            self._initialized = bytes(result)
            return True
        if not asked.key:
            return False
        self._pages.pop(asked.key, None)
        held = sum(len(key) + len(page) for key, page in self._pages.items())
        if held + len(asked.key) + size > PAGES_MAX_BYTES or len(self._pages) >= PAGES_MAX:
            return False
        self._pages[asked.key] = bytes(result)
        return True

    # -- calls of relayd's own

    def call(self, method: str, params: bytes, deadline: float) -> tuple[int, bytes]:
        """Make a request to the device.

        Args:
            params: One JSON object, the caller's to have checked.
            deadline: When it fails, by the clock of :meth:`expire`.

        Returns:
            What to know its answer by, and the JSON-RPC message.

        Raises:
            TooManyCalls: Nothing was made.
        """
        if sum(own.deadline is not None for own in self._own.values()) >= CALLS_MAX:
            raise TooManyCalls(f"{CALLS_MAX} calls wait for this device")
        call_id = self._new_id(_Own(deadline=deadline))
        return call_id, request(call_id, method, params)

    @property
    def deadline(self) -> float:
        """When the next call fails; infinite where none waits."""
        return min(
            (own.deadline for own in self._own.values() if own.deadline is not None),
            default=math.inf,
        )

    def expire(self, now: float) -> list[Called]:
        """Fail the calls whose time is up; late answers to them are swallowed."""
        return self._fail(now, "the device has not answered in time")

    def fail_all(self, why: str) -> list[Called]:
        """Fail all calls: the device is gone."""
        return self._fail(math.inf, why)

    def _fail(self, until: float, why: str) -> list[Called]:
        failed = [
            number
            for number, own in self._own.items()
            if own.deadline is not None and own.deadline <= until
        ]
        for number in failed:
            self._own[number] = _Own()
        return [Called(number, error_response(b"%d" % number, why)) for number in failed]

    def tools(self) -> list[msgspec.Raw] | None:
        """The device's tools as it spells them, from all pages; ``None`` where one is not known."""
        found: list[msgspec.Raw] = []
        key, seen = page_key(TOOLS_LIST, b"{}"), set[bytes]()
        while key in self._pages and key not in seen:
            seen.add(key)
            try:
                page = _decode(self._pages[key], type=ToolsPage)
            except (msgspec.DecodeError, RecursionError):
                return None
            found += page.tools
            if not page.nextCursor:
                return found
            key = page_key(TOOLS_LIST, _encode({"cursor": page.nextCursor}))
        return None

    # -- servers come and go

    def lost(self) -> int:
        """The server is gone: answers to what it asked go nowhere from now on.

        Returns:
            How many calls of tools it had open.
        """
        open_calls = sum(asked.method == "tools/call" for asked in self._open.values())
        self._late |= self._open
        while len(self._late) > 4 * OPEN_MAX:
            self._late.pop(next(iter(self._late)))
        self._open.clear()
        for number, own in self._own.items():
            if own.asked is not None:
                open_calls += own.asked.method == "tools/call"
                self._own[number] = _Own(late=own.asked)
        self._taken_over = True
        self._skips_initialized = False
        return open_calls

    def _new_id(self, own: _Own) -> int:
        number = self._next_id
        while number in self._own:  # there are few, and many ids
            number = _behind(number)
        self._next_id = _behind(number)
        while len(self._own) >= OPEN_MAX + CALLS_MAX:
            # What nobody waits for goes first, and then a server's oldest request.
            oldest = min(self._own, key=lambda each: _rank(self._own[each]))
            del self._own[oldest]
        self._own[number] = own
        return number


def _behind(number: int) -> int:
    """The id behind ``number``; behind the last one, the first."""
    return number + 1 if number + 1 in OWN_IDS else OWN_IDS.start


def _rank(own: _Own) -> int:
    return 2 if own.deadline is not None else int(own.asked is not None)
