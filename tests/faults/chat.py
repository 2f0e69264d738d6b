"""Chat clients between a relayd in this process and scripted, or simulated, upstreams."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Self, Unpack

import attrs

from relayd.config.accounts import AccountSettings, Timeouts, Transport
from relayd.config.pools import PoolSettings
from relayd.config.providers import Provider
from relayd.config.secret import Secret
from relayd.config.snapshot import Snapshot
from relayd.config.spark import SparkSettings
from tests.faults.harness import BEARER, TIMEOUTS, UPSTREAM_KEY, Options, Relay, Stage, Upstream
from tests.faults.wire import TEXT, Wire, close, frame

PATH = "/v1/chat/completions"
MODEL = "spark-max"
SID = "cht000cb087@dx18793cd421fb894542"
APP_SECRET = "canary-of-application"
PASSWORD = "canary-of-password"
USAGE = {"question_tokens": 4, "prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}
HELLO = [{"role": "user", "content": "Hello"}]
DONE = "[DONE]"

Json = dict[str, Any]


def spark(
    upstream: Upstream | int,
    name: str = "one",
    *,
    version: str = "v3.5",
    priority: int = 0,
    sessions_max: int = 0,
    timeouts: Timeouts = TIMEOUTS,
    models: tuple[str, ...] = (MODEL,),
    transport: Transport = Transport.WS,
) -> AccountSettings:
    """A Spark account at a scripted upstream, or at a port."""
    port = upstream if isinstance(upstream, int) else upstream.port
    return AccountSettings(
        name=name,
        provider=Provider.SPARK,
        base_url=f"ws://127.0.0.1:{port}",
        api_key=Secret(UPSTREAM_KEY),
        models=models,
        priority=priority,
        sessions_max=sessions_max,
        timeouts=timeouts,
        transport=transport,
        spark=SparkSettings(
            app_id="app",
            api_secret=Secret(APP_SECRET),
            api_version=version,
            http_password=Secret(PASSWORD),
        ),
    )


def said(
    text: str = "",
    status: int = 1,
    *,
    code: int = 0,
    message: str = "Success",
    usage: Json | None = None,
    **more: object,
) -> Json:
    """One frame of a Spark upstream."""
    header = {"code": code, "message": message, "sid": SID, "status": status}
    if code and code != 10014:
        return {"header": header | {"status": 2}}
    choice = {"content": text, "role": "assistant", "index": 0, **more}
    payload: Json = {"choices": {"status": status, "seq": 0, "text": [choice]}}
    if usage is not None:
        payload["usage"] = {"text": usage}
    return {"header": header, "payload": payload}


def answer(*words: str) -> list[Json]:
    """The frames of a whole answer."""
    *most, last = words
    return [
        *(said(word, 0 if number == 0 else 1) for number, word in enumerate(most)),
        said(last, 2, usage=USAGE),
    ]


def wired(*frames: Json | bytes) -> bytes:
    """Frames as they travel; bytes are sent as they are."""
    return b"".join(
        each if isinstance(each, bytes) else frame(TEXT, json.dumps(each).encode(), masked=False)
        for each in frames
    )


async def request_of(far: Wire) -> Json:
    """The request that an upstream is sent."""
    got = await far.frame()
    assert got.opcode == TEXT
    found: Json = json.loads(got.payload)
    return found


async def take(upstream: Upstream) -> tuple[Wire, Json]:
    """The next request, with its socket."""
    far = await upstream.accept_upgrade()
    return far, await request_of(far)


async def serve(upstream: Upstream, *frames: Json | bytes) -> Wire:
    """Answer the next request with these frames, and a Close."""
    far, _ = await take(upstream)
    await far.send(wired(*frames) + close(1000, "close this ws conn", masked=False))
    return far


def asking(path: str = PATH, headers: Mapping[str, str] | None = None, **fields: object) -> bytes:
    """A request."""
    body = json.dumps({"model": MODEL, "messages": HELLO, **fields}).encode()
    lines = {"Host": "relayd.test", "Content-Length": str(len(body)), **BEARER, **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


@attrs.define(eq=False)
class Client:
    """A client's connection, its request sent.

    Attributes:
        status: Of the answer, once its head was read.
        headers: Likewise; names in lower case.
    """

    wire: Wire
    status: int = 0
    headers: dict[str, str] = attrs.field(factory=dict)
    _events: bytes = attrs.field(default=b"", init=False)

    @classmethod
    async def asking(cls, relay: Relay, **fields: object) -> Self:
        """A new one."""
        wire = await relay.client()
        await wire.send(asking(**fields))  # type: ignore[arg-type]  # fields of the body, mostly
        return cls(wire)

    async def head(self) -> int:
        """The status."""
        lines = (await self.wire.head()).decode().split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        pairs = (line.partition(": ") for line in lines[1:] if line)
        self.headers = {name.lower(): value for name, _, value in pairs}
        return self.status

    async def json(self) -> Json:
        """The whole answer, as one document."""
        await self.head()
        return await self.body()

    async def body(self) -> Json:
        """Likewise, behind its head."""
        length = int(self.headers["content-length"])
        while len(self.wire.buffer) < length:
            self.wire.buffer += await self.wire.receive()
        body = bytes(self.wire.buffer[:length])
        del self.wire.buffer[:length]
        found: Json = json.loads(body)
        return found

    async def event(self) -> Json | str | None:
        """The next event of a stream: an object, ``[DONE]``, or ``None`` at its end."""
        while b"\n\n" not in self._events:
            if not await self._chunk():
                assert not self._events, "a stream ends between events"
                return None
        event, _, self._events = self._events.partition(b"\n\n")
        if event.startswith(b":"):
            return await self.event()
        assert event.startswith(b"data: "), event
        data = event.removeprefix(b"data: ").decode()
        if data == DONE:
            return DONE
        found: Json = json.loads(data)
        return found

    async def events(self) -> list[Any]:
        """All events of a stream, to its end."""
        if not self.status:
            await self.head()
        found: list[Any] = []
        while (event := await self.event()) is not None:
            found.append(event)
        return found

    async def _chunk(self) -> bool:
        """Read one HTTP chunk into the events; ``False`` for the last."""
        buffer = self.wire.buffer
        while b"\r\n" not in buffer:
            buffer += await self.wire.receive()
        size_text, _, _ = bytes(buffer).partition(b"\r\n")
        size, start = int(size_text, 16), len(size_text) + 2
        while len(buffer) < start + size + 2:
            buffer += await self.wire.receive()
        self._events += bytes(buffer[start : start + size])
        del buffer[: start + size + 2]
        return size > 0


def text_of(events: list[Any]) -> str:
    """What a stream's chunks say together."""
    return "".join(
        choice["delta"].get("content") or ""
        for event in events
        if isinstance(event, dict)
        for choice in event.get("choices", ())
    )


def finishes_of(events: list[Any]) -> list[str]:
    """Every finish reason of a stream."""
    return [
        choice["finish_reason"]
        for event in events
        if isinstance(event, dict)
        for choice in event.get("choices", ())
        if choice["finish_reason"] is not None
    ]


@attrs.define
class Prewarmed(Stage):
    """A stage whose relayd keeps one socket ready."""

    @classmethod
    def over(cls, stage: Stage) -> Self:
        """The same stage otherwise."""
        return cls(stage.folder, stage.log, stage.holds, stage.upstreams)

    def snapshot(self, *accounts: AccountSettings, **options: Unpack[Options]) -> Snapshot:
        """See :class:`Stage`."""
        settings = Stage.snapshot(self, *accounts, **options).settings
        return Snapshot.of(attrs.evolve(settings, pool=PoolSettings(prewarm=1)))
