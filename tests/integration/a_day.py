"""Clients, upstreams and a calendar for a day's traffic, and what its ledger has to say."""

from __future__ import annotations

import base64
import itertools
import json
import random
import tomllib
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import trio
from websockets.trio.client import ClientConnection, connect

from relayd.config.accounts import AccountSettings
from relayd.config.pricebook import PriceBook
from relayd.config.providers import Provider
from relayd.config.schema import (
    BudgetPeriod,
    KeySettings,
    LedgerSettings,
    ServerSettings,
    Settings,
)
from relayd.config.secret import KeyDigest, Secret
from relayd.ledger.report import Sums
from relayd.sim.realtime.audio import silence, tone
from relayd.sim.realtime.scenario import Scenario
from relayd.sim.realtime.tally import Tally
from relayd.sim.realtime.upstream import RealtimeUpstream
from relayd.sim.server import SimServer, serve

PRICES: Final = Path(__file__).parents[2] / "etc" / "prices.toml"
PATIENCE_S: Final = 30.0
STEPS: Final = 96
"""Of the day: quarters of an hour."""


@attrs.define
class Calendar:
    """A clock that the test turns."""

    now: float

    def __call__(self) -> float:
        return self.now


# -- who


@attrs.frozen
class Client:
    """A key, and the model that its owner always asks for.

    Attributes:
        model: What the accounts call it.
    """

    name: str
    model: str
    factor: Decimal = Decimal(1)
    budget_usd: Decimal = Decimal(0)
    period: BudgetPeriod = BudgetPeriod.MONTH

    @property
    def secret(self) -> str:
        return f"the-key-of-{self.name}"

    def key(self) -> KeySettings:
        return KeySettings(
            name=self.name,
            secret=KeyDigest.of(self.secret),
            budget_usd=self.budget_usd,
            budget_period=self.period,
            price_factor=self.factor,
            tokens_per_minute=10**9 if self.budget_usd else 0,
        )


@attrs.define
class Trade:
    """One client's sessions with one upstream, through an account of their own.

    So the upstream's own count is that of one key, one model and one scenario.
    """

    client: Client
    server: SimServer[RealtimeUpstream]
    scenario: Scenario
    model: str

    @property
    def account(self) -> str:
        """The name of the account, and what the client calls its model."""
        return f"{self.scenario.value}-{self.client.name}"

    @property
    def tally(self) -> Tally:
        """What the upstream has told so far."""
        return self.server.upstream.statistics().total

    def settings(self) -> AccountSettings:
        return AccountSettings(
            name=self.account,
            provider=Provider.COMPATIBLE,
            base_url=self.server.base_url,
            api_key=Secret("key-of-the-upstream"),
            models=(self.account,),
            model_map={self.account: self.model},
        )


async def open_trade(
    client: Client, scenario: Scenario, model: str, nursery: trio.Nursery
) -> Trade:
    """Start an upstream for one client."""
    server = await nursery.start(partial(serve, RealtimeUpstream(scenario)))
    return Trade(client, server, scenario, model)


def settings_of(
    trades: Sequence[Trade], clients: Sequence[Client], ledger: Path, prices: PriceBook
) -> Settings:
    return Settings(
        server=ServerSettings(
            listen=("127.0.0.1:0",), admin=f"unix:{ledger.with_name('admin.sock')}"
        ),
        ledger=LedgerSettings(url=f"sqlite:{ledger}"),
        keys=tuple(client.key() for client in clients),
        accounts=tuple(trade.settings() for trade in trades),
        prices=prices,
    )


# -- what they do

TURNS: Final = ("written", "spoken", "asked aloud", "overheard", "cut off", "too long")


@attrs.frozen
class Ask:
    """A turn that is due."""

    kind: str
    over: trio.Event = attrs.field(factory=trio.Event)


@attrs.define(eq=False)
class Talk:
    """One session of a client: which turns it has, and in which of the day's steps.

    Attributes:
        trade: Where.
        turns: By step, in order.
    """

    trade: Trade
    turns: dict[int, str]
    _asks: trio.MemorySendChannel[Ask] | None = None
    _numbers: Iterator[int] = attrs.field(factory=itertools.count)

    @classmethod
    def planned(cls, trade: Trade, chance: random.Random, steps: range) -> Talk:
        """A session of up to five turns that begins in one of the ``steps``."""
        first, count = chance.choice(steps), chance.randint(2, 5)
        offsets = sorted(chance.sample(range(12), count))
        return cls(
            trade, {min(first + offset, STEPS - 1): chance.choice(TURNS) for offset in offsets}
        )

    async def step(self, step: int, address: str, sessions: trio.Nursery) -> None:
        """What is due in this step, to its end; the first one opens the session."""
        if self._asks is None:
            self._asks, asks = trio.open_memory_channel[Ask](0)
            sessions.start_soon(self._live, address, asks)
        ask = Ask(self.turns[step])
        with trio.fail_after(PATIENCE_S):
            await self._asks.send(ask)
            await ask.over.wait()
        if step == max(self.turns):
            await self._asks.aclose()

    async def _live(self, address: str, asks: trio.MemoryReceiveChannel[Ask]) -> None:
        async with connect(
            f"ws://{address}/v1/realtime?model={self.trade.account}",
            additional_headers={"Authorization": f"Bearer {self.trade.client.secret}"},
            max_size=None,
            compression=None,
            proxy=None,
        ) as connection:
            if self.trade.scenario is Scenario.XAI:
                transcription = {"model": "gpt-4o-transcribe"}
                audio = {"input": {"transcription": transcription}}
                session = {"type": "realtime", "audio": audio}
                await self._send(connection, "session.update", session=session)
            async for ask in asks:
                await self._turn(connection, ask.kind)
                ask.over.set()

    async def _turn(self, connection: ClientConnection, kind: str) -> None:
        send = partial(self._send, connection)
        match kind:
            case "written":
                text = {"type": "input_text", "text": "how long may a ship lie in this harbour"}
                item = {"type": "message", "role": "user", "content": [text]}
                await send("conversation.item.create", item=item)
                await send("response.create", response={"output_modalities": ["text"]})
            case "spoken":
                await send("response.create")
            case "asked aloud":
                await send("input_audio_buffer.append", audio=_sound(730, 0))
                await send("input_audio_buffer.commit")
                await send("response.create")
            case "overheard":
                await send("input_audio_buffer.append", audio=_sound(410, 700))
            case "cut off":
                await send("response.create")
                await send("response.cancel")
            case "too long":
                await send("response.create", response={"max_output_tokens": 9})
        while json.loads(await connection.recv())["type"] != "response.done":
            pass

    async def _send(self, connection: ClientConnection, kind: str, **fields: object) -> None:
        event = {"type": kind, "event_id": f"evt_{next(self._numbers)}", **fields}
        await connection.send(json.dumps(event))


def _sound(tone_ms: int, silence_ms: int) -> str:
    sound = tone("audio/pcm", tone_ms) + silence("audio/pcm", silence_ms)
    return base64.b64encode(sound).decode()


# -- what it comes to

COUNTS: Final = (
    "turns",
    "transcriptions",
    "tokens_in",
    "tokens_out",
    "tokens_in_text",
    "tokens_in_audio",
    "tokens_in_image",
    "tokens_in_cached_text",
    "tokens_in_cached_audio",
    "tokens_in_cached_image",
    "tokens_out_text",
    "tokens_out_audio",
)

Counts = dict[str, int]


def counted(sums: Sums) -> Counts:
    """What the ledger adds up to, and the milliseconds that were billed."""
    counts: Counts = {name: getattr(sums, name) for name in COUNTS}
    return counts | {"milliseconds": round(sums.seconds * 1000)}


def told(tally: Tally) -> Counts:
    """What an upstream has told that sorts every token by kind."""
    read, written = tally.usage.read, tally.usage.written
    heard, noted = tally.transcription_usage.read, tally.transcription_usage.written
    cached = tally.cached
    assert (read.unsorted, written.unsorted, cached.unsorted, tally.untold) == (0, 0, 0, 0)
    return {
        "turns": tally.responses,
        "transcriptions": tally.transcriptions,
        "tokens_in": read.total + heard.total,
        "tokens_out": written.total + noted.total,
        "tokens_in_text": read.text + heard.text,
        "tokens_in_audio": read.audio + heard.audio,
        "tokens_in_image": read.image,
        "tokens_in_cached_text": cached.text,
        "tokens_in_cached_audio": cached.audio,
        "tokens_in_cached_image": cached.image,
        "tokens_out_text": written.text + noted.text,
        "tokens_out_audio": written.audio,
        "milliseconds": tally.transcription_ms,
    }


def minus(counts: Counts, others: Counts) -> Counts:
    """What was added since."""
    return {name: count - others[name] for name, count in counts.items()}


# -- what it costs, computed by another way than relayd's


class Figures:
    """The figures of a prices file, as they stand there."""

    def __init__(self, path: Path) -> None:
        self._prices: list[dict[str, Any]] = tomllib.loads(path.read_text())["prices"]

    def of(self, model: str) -> dict[str, Decimal]:
        """Dollars per million tokens by kind, per second and per request."""
        (found,) = [price for price in self._prices if model in price["models"]]
        rates: dict[str, str] = found.get("per_million", {}) | {
            name: found[name] for name in ("per_second", "per_request") if name in found
        }
        return {name: Decimal(rate) for name, rate in rates.items()}

    def nano(self, tally: Tally, model: str, transcription_model: str | None) -> Decimal:
        """Nano-dollars of what an upstream has told."""
        rates, used, cached = self.of(model), tally.usage, tally.cached
        total = Decimal(0)
        for kind in ("text", "audio", "image"):
            read, hit = getattr(used.read, kind), getattr(cached, kind)
            full = rates.get(f"{kind}_in", Decimal(0))
            total += (read - hit) * full + hit * rates.get(f"{kind}_cached_in", full)
            total += getattr(used.written, kind) * rates.get(f"{kind}_out", Decimal(0))
        if transcription_model is not None:
            rates, heard = self.of(transcription_model), tally.transcription_usage
            total += heard.read.text * rates.get("text_in", Decimal(0))
            total += heard.read.audio * rates.get("audio_in", Decimal(0))
            total += heard.written.text * rates.get("text_out", Decimal(0))
            total += tally.transcription_ms * 1000 * rates.get("per_second", Decimal(0))
        return total * 1000  # a dollar for a million of them is 1,000 nano-dollars for each
