"""Keys with limits, prices that are easy to add up, and turns whose usage the test says."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any, Final, TypedDict, Unpack

import attrs
import pytest

from relayd.config.networks import Network
from relayd.config.pricebook import Price, PriceBook
from relayd.config.schema import BudgetPeriod, KeySettings
from relayd.config.snapshot import Snapshot
from relayd.ledger.database import Database
from relayd.service import app
from relayd.service.parts import open_books
from relayd.session.books import Books
from relayd.session.limits import Limits
from tests.faults.harness import CREATE, KEY, REALTIME, Relay
from tests.faults.wire import CLOSE, TEXT, Frame, Response, Wire, frame

NOON: Final = datetime.datetime(2026, 11, 2, 12, tzinfo=datetime.UTC)
"""A Monday, half a day before the budgets of a day begin anew."""

UNTIL_MIDNIGHT_S: Final = 43_200


@attrs.define
class Wall:
    """A calendar that stands still until a test moves it."""

    now: float = NOON.timestamp()

    def __call__(self) -> float:
        return self.now


_price: Final = partial(Price, date=NOON.date(), source="a test")

PRICES: Final = PriceBook(
    (
        _price(
            models=("gpt-realtime",),
            text_in=Decimal(1),
            audio_in=Decimal(1),
            text_out=Decimal(10),
            audio_out=Decimal(10),
        ),
        _price(models=("whisper-1",), per_second=Decimal("0.001")),
        _price(models=("relay/paid",), per_second=Decimal("0.01")),
    )
)
"""A microdollar for a token that goes in, ten for one that comes out."""

LONGEST_NANO: Final = 4096 * 10_000
"""What is set aside for a turn that says nothing of its length, before anything was said."""


class KeyLimits(TypedDict, total=False):
    """What a key may be limited by beside a budget."""

    expires: datetime.datetime
    allowed_ips: tuple[Network, ...]
    sessions_max: int
    requests_per_minute: int
    tokens_per_minute: int
    price_factor: Decimal


def key(budget_usd: str = "0", **limits: Unpack[KeyLimits]) -> KeySettings:
    """The client's key, with limits. A budget is one of a day."""
    usd, period = Decimal(budget_usd), BudgetPeriod.DAY
    return attrs.evolve(KEY, budget_usd=usd, budget_period=period, **limits)


def create(event_id: str, **response: object) -> bytes:
    """A ``response.create`` with an id of the client's own."""
    wanted = {"response": response} if response else {}
    return json.dumps({"type": "response.create", "event_id": event_id, **wanted}).encode()


def created(turn_id: str) -> bytes:
    """``response.created``."""
    event = {"type": "response.created", "response": {"id": turn_id, "status": "in_progress"}}
    return json.dumps(event).encode()


def done(turn_id: str, *, text_in: int = 0, text_out: int = 0) -> bytes:
    """``response.done``, with all that was used."""
    usage = {
        "total_tokens": text_in + text_out,
        "input_tokens": text_in,
        "output_tokens": text_out,
        "input_token_details": {"text_tokens": text_in, "audio_tokens": 0},
        "output_token_details": {"text_tokens": text_out, "audio_tokens": 0},
    }
    response = {"id": turn_id, "status": "completed", "usage": usage}
    return json.dumps({"type": "response.done", "response": response}).encode()


def error_event(kind: str, code: str, message: str, event_id: str | None = None) -> bytes:
    """An error event of relayd's own, to the byte."""
    error = {"type": kind, "code": code, "message": message, "param": None, "event_id": event_id}
    event = {"type": "error", "event_id": "event_relayd", "error": error}
    return json.dumps(event, separators=(",", ":")).encode()


def error_in(got: Frame) -> dict[str, Any]:
    """What an error event says."""
    event = json.loads(got.payload)
    assert event["type"] == "error", event
    error: dict[str, Any] = event["error"]
    return error


async def pass_on(far: Wire, client: Wire, event: bytes) -> None:
    """The upstream says ``event`` and the client gets it, byte for byte."""
    await far.send(frame(TEXT, event, masked=False))
    assert (await client.frame()).payload == event


async def ask(client: Wire, far: Wire, wish: bytes = CREATE) -> None:
    """The client asks for a turn and the upstream gets that, byte for byte."""
    await client.send(frame(TEXT, wish))
    assert (await far.frame()).payload == wish


async def turn(
    client: Wire,
    far: Wire,
    turn_id: str,
    *,
    wish: bytes = CREATE,
    text_in: int = 0,
    text_out: int = 0,
) -> None:
    """A whole turn."""
    await ask(client, far, wish)
    await pass_on(far, client, created(turn_id))
    await pass_on(far, client, done(turn_id, text_in=text_in, text_out=text_out))


async def leave(client: Wire, far: Wire) -> None:
    """The client is gone without a word, and the upstream takes its leave."""
    client.reset()
    assert await said_goodbye(far) == 1001


async def ended(client: Wire, far: Wire) -> int | None:
    """relayd ends the session; nothing else is said before. The code that the client gets."""
    code = await said_goodbye(client)
    assert await said_goodbye(far) == 1001
    return code


async def ended_for(code: str, client: Wire, far: Wire) -> None:
    """relayd ends the session as somebody must pay or go: an error event, then 1008."""
    error = error_in(await client.frame())
    assert (error["code"], error["event_id"]) == (code, None)
    assert await ended(client, far) == 1008


async def said_goodbye(wire: Wire) -> int | None:
    """The code of the Close that comes next; it is answered in kind."""
    got = await wire.frame()
    assert got.opcode == CLOSE, got
    await wire.send(frame(CLOSE, got.payload, masked=wire.is_client))
    await wire.finish()
    await wire.end()
    return got.close_code


async def refused(relay: Relay, path: str = REALTIME, *, source: str = "127.0.0.1") -> Response:
    """The answer to an upgrade that is not accepted."""
    return await relay.refusal(await relay.asking(path, source=source))


def error_of(response: Response) -> dict[str, Any]:
    """The error that a refusal tells, all but its message."""
    error: dict[str, Any] = json.loads(response.body)["error"]
    assert error.pop("message")
    return error


def header(response: Response, name: str) -> str | None:
    """A header's value; none is there twice."""
    lines = [line.partition(": ") for line in response.head.split("\r\n")[1:]]
    found = [value for given, _, value in lines if given.lower() == name.lower()]
    assert len(found) <= 1
    return found[0] if found else None


def watch_books(monkeypatch: pytest.MonkeyPatch) -> list[Books]:
    """The books of every relayd that is started from now on."""
    opened: list[Books] = []

    def opening(snapshot: Snapshot, database: Database, wall: Callable[[], float]) -> Books:
        opened.append(open_books(snapshot, database, wall))
        return opened[-1]

    monkeypatch.setattr(app, "open_books", opening)
    return opened


async def count_of_sessions(limits: Limits, name: str = KEY.name) -> int:
    """How many sessions the store counts of a key."""
    counted = await limits.store.get(f"sessions:{name}")
    return int(counted or 0)
