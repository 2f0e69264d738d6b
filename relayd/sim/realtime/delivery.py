"""How the events of one session get onto the wire, and where a scenario goes wrong.

A delivery is handed each event in turn and may answer with an exit: what becomes of the
connection now. Faults that belong to a turn strike at its third delta, when the client has seen
output and the response is still running.
"""

from __future__ import annotations

import base64
import enum
import itertools
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import attrs
import msgspec
import trio
from websockets.frames import Close, Opcode

from relayd.sim.link import Link, frame
from relayd.sim.realtime import audio
from relayd.sim.realtime.client_events import JsonObject
from relayd.sim.realtime.scenario import Scenario

FAULT_AT_DELTA: Final = 3
SLOW_DELTA_S: Final = 0.05
PINGS: Final = 20_000
EMPTY_FRAGMENTS: Final = 20_000
SMALL_FRAME_BYTES: Final = 8 * 1024
LARGE_FRAME_BYTES: Final = 256 * 1024
BIG_DELTA_BYTES: Final = 96 * 1024
BIG_DONE_BYTES: Final = 80 * 1024
BIG_ITEM_BYTES: Final = 6 * 1024 * 1024
MAX_AGE_REASON: Final = "Your session hit the maximum duration of 60 minutes."

_FRAGMENT_SIZES: Final = (1, 2, 3, 13, 97)
_PING_EVERY: Final = 4  # a peer may take more than 100 control frames a second for a flood


@attrs.frozen
class CloseWith:
    """Send a Close."""

    code: int
    reason: str = ""


class Leave(enum.Enum):
    """End without a Close, or stay without a word."""

    FINISH = "send FIN"
    RESET = "reset TCP"
    MUTE = "send nothing more, but read and answer pings"
    FREEZE = "neither send nor read"


Exit = CloseWith | Leave

Send = Callable[[Link, JsonObject], Awaitable[Exit | None]]
"""Puts one event on the wire; says what becomes of the connection, if it is not to go on."""


def delivery_of(scenario: Scenario) -> Send:
    """A delivery for one session that plays ``scenario``."""
    match scenario:
        case Scenario.OVERSIZED:
            return Distorted(_inflated)
        case Scenario.SLOW:
            return deliver_slowly
        case Scenario.FRAGMENTED:
            return DeliverInFragments()
        case Scenario.CLOSE_1001_MAX_AGE:
            return deliver_one_turn
        case Scenario.CLOSE_AND_FIN:
            return DeliverAtOnce()
        case _ if scenario in FAULTS:
            return DeliverUntilFault(FAULTS[scenario])
        case _:
            return deliver


def is_delta(event: JsonObject) -> bool:
    """Whether ``event`` carries a piece of an answer."""
    kind = str(event["type"])
    return kind.startswith("response.") and kind.endswith(".delta")


async def deliver(link: Link, event: JsonObject) -> Exit | None:
    """As it should be."""
    await link.send(_encoded(event).decode())
    return None


async def deliver_slowly(link: Link, event: JsonObject) -> Exit | None:
    """Each delta a while after the event before it."""
    if is_delta(event):
        await trio.sleep(SLOW_DELTA_S)
    return await deliver(link, event)


async def deliver_one_turn(link: Link, event: JsonObject) -> Exit | None:
    """Until the first response is done, which is when the session is too old."""
    await deliver(link, event)
    return CloseWith(1001, MAX_AGE_REASON) if event["type"] == "response.done" else None


@attrs.define
class DeliverInFragments:
    """In fragments that cut words and characters, with a ping inside every fourth message."""

    _sent: int = attrs.field(default=0, init=False)

    async def __call__(self, link: Link, event: JsonObject) -> Exit | None:
        """Deliver ``event`` in pieces."""
        self._sent += 1
        has_ping = self._sent % _PING_EVERY == 0
        await link.send_raw(b"".join(_fragments(_encoded(event), ping=has_ping)))
        return None


@attrs.define
class DeliverAtOnce:
    """A turn is kept until it is whole; then its last byte, Close and FIN leave together."""

    _kept: bytearray = attrs.field(factory=bytearray, init=False)

    async def __call__(self, link: Link, event: JsonObject) -> Exit | None:
        """Deliver what is outside a turn, keep what is inside."""
        if not self._kept and event["type"] != "response.created":
            return await deliver(link, event)
        self._kept += frame(Opcode.TEXT, _encoded(event))
        if event["type"] != "response.done":
            return None
        self._kept += frame(Opcode.CLOSE, Close(1000, "bye").serialize())
        await link.send_raw(bytes(self._kept))
        return Leave.FINISH


@attrs.define
class Distorted:
    """Each event is changed before it is sent."""

    _change: Callable[[JsonObject], JsonObject]

    async def __call__(self, link: Link, event: JsonObject) -> Exit | None:
        """Deliver what ``event`` becomes."""
        return await deliver(link, self._change(event))


@attrs.define
class DeliverUntilFault:
    """As it should be until the third delta of the session; then the fault."""

    _fault: Send
    _deltas: int = attrs.field(default=0, init=False)

    async def __call__(self, link: Link, event: JsonObject) -> Exit | None:
        """Deliver ``event``, or play the fault in its place."""
        self._deltas += is_delta(event)
        if is_delta(event) and self._deltas == FAULT_AT_DELTA:
            return await self._fault(link, event)
        return await deliver(link, event)


async def fall_silent(_: Link, __: JsonObject) -> Exit | None:
    """Nothing more is said."""
    return Leave.MUTE


async def freeze(_: Link, __: JsonObject) -> Exit | None:
    """Nothing more is said or read."""
    return Leave.FREEZE


async def reset(link: Link, event: JsonObject) -> Exit | None:
    """Reset behind a whole frame."""
    await deliver(link, event)
    return Leave.RESET


async def reset_in_small_frame(link: Link, event: JsonObject) -> Exit | None:
    """Reset half-way through a frame that a careful relay holds back until it is whole."""
    return await _reset_within(link, event, SMALL_FRAME_BYTES)


async def reset_in_large_frame(link: Link, event: JsonObject) -> Exit | None:
    """Reset half-way through a frame so large that a relay has begun to forward it."""
    return await _reset_within(link, event, LARGE_FRAME_BYTES)


async def restart(_: Link, __: JsonObject) -> Exit | None:
    """Close as a server does that is being replaced."""
    return CloseWith(1012, "service restart")


async def send_masked(link: Link, event: JsonObject) -> Exit | None:
    """RFC 6455 section 5.1: a client must fail the connection when a server masks."""
    await link.send_raw(frame(Opcode.TEXT, _encoded(event), masked=True))
    return Leave.MUTE


async def send_bad_utf8(link: Link, event: JsonObject) -> Exit | None:
    """RFC 6455 section 8.1: text that is not UTF-8 fails the connection."""
    broken = _encoded(event | {"delta": "\N{EURO SIGN}"}).replace(b"\xe2\x82\xac", b"\xe2\x28\xa1")
    await link.send_raw(frame(Opcode.TEXT, broken))
    return Leave.MUTE


async def flood_with_pings(link: Link, _: JsonObject) -> Exit | None:
    """Pings as fast as they are taken; each is legal, all of them are not."""
    await link.send_raw(frame(Opcode.PING, b"flood") * PINGS)
    return Leave.MUTE


async def flood_with_fragments(link: Link, event: JsonObject) -> Exit | None:
    """A message that is begun and continued with nothing, and with nothing again."""
    await link.send_raw(frame(Opcode.TEXT, _encoded(event)[:64], fin=False))
    await link.send_raw(frame(Opcode.CONT, b"", fin=False) * EMPTY_FRAGMENTS)
    return Leave.MUTE


FAULTS: Final[dict[Scenario, Send]] = {
    Scenario.SILENT_MID_TURN: fall_silent,
    Scenario.HALF_OPEN: freeze,
    Scenario.RESET_MID_TURN: reset,
    Scenario.RESET_MID_FRAME_SMALL: reset_in_small_frame,
    Scenario.RESET_MID_FRAME_LARGE: reset_in_large_frame,
    Scenario.CLOSE_1012: restart,
    Scenario.MASKED_FRAME: send_masked,
    Scenario.BAD_UTF8: send_bad_utf8,
    Scenario.PING_FLOOD: flood_with_pings,
    Scenario.EMPTY_FRAGMENTS: flood_with_fragments,
}


async def _reset_within(link: Link, event: JsonObject, size_bytes: int) -> Exit:
    padded = _encoded(event | {"delta": _base64_of(size_bytes)})
    whole = frame(Opcode.TEXT, padded)
    await link.send_raw(whole[: len(whole) // 2])
    return Leave.RESET


def _inflated(event: JsonObject) -> JsonObject:
    """``event`` as large as the service has been seen to make it."""
    match event:
        case {"type": "response.output_audio.delta"}:
            return event | {"delta": _base64_of(BIG_DELTA_BYTES)}
        case {"type": "response.done", "response": dict(response)}:
            # The padding comes first, so that the usage stands far behind the frame's head.
            rest = {name: value for name, value in response.items() if name != "metadata"}
            return event | {"response": {"metadata": {"padding": "x" * BIG_DONE_BYTES}} | rest}
        case {"type": "conversation.item.retrieved", "item": dict(item)}:
            sound = {"type": "input_audio", "audio": _base64_of(BIG_ITEM_BYTES)}
            return event | {"item": item | {"content": [sound]}}
    return event


def _base64_of(length: int) -> str:
    """About ``length`` characters of base64 that decode to a tone."""
    once = base64.b64encode(audio.tone("audio/pcm", 100)).decode()
    return once * (length // len(once) + 1)


def _fragments(payload: bytes, *, ping: bool) -> Iterator[bytes]:
    sizes = itertools.cycle(_FRAGMENT_SIZES)
    start, opcode = 0, Opcode.TEXT
    while start < len(payload):
        end = min(start + next(sizes), len(payload))
        yield frame(opcode, payload[start:end], fin=end == len(payload))
        if ping and start == 0:
            yield frame(Opcode.PING, b"between")
        start, opcode = end, Opcode.CONT


def _encoded(event: JsonObject) -> bytes:
    return msgspec.json.encode(event)
