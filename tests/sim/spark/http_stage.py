"""What the tests of the simulated HTTP API share: a client on a memory stream."""

from __future__ import annotations

import json
from typing import Any

import attrs
import h11
import trio
import trio.testing

from relayd.sim.spark.upstream import SparkUpstream

PATH = "/v1/chat/completions"
BEARER = {"Authorization": "Bearer simulated"}


@attrs.frozen
class Answer:
    """What came back.

    Attributes:
        status: The HTTP status; 0 where none came.
        headers: By names in lower case.
        body: As far as it came.
        is_whole: Whether it has its end.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    is_whole: bool

    @property
    def json(self) -> Any:  # noqa: ANN401  # what others wrote
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The data of each event, ``[DONE]`` as text."""
        lines = [line for line in self.body.decode().split("\n\n") if line]
        assert all(line.startswith("data:") and line[5] != " " for line in lines)
        return [line[5:] if line[5:] == "[DONE]" else json.loads(line[5:]) for line in lines]


def body(text: str = "hello there", **given: object) -> dict[str, Any]:
    """A request as OpenAI's clients make it, without a search."""
    messages = [{"role": "user", "content": text}]
    off = [{"type": "web_search", "web_search": {"enable": False}}]
    return {"model": "generalv3.5", "messages": messages, "tools": off} | given


async def post(
    spark: SparkUpstream,
    content: object,
    *,
    path: str = PATH,
    headers: dict[str, str] = BEARER,
    method: str = "POST",
) -> Answer:
    """One request on a connection of its own."""
    near, far = trio.testing.memory_stream_pair()
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(spark.serve_stream, far)
        await near.send_all(request_bytes(raw, path=path, headers=headers, method=method))
        return await answer_on(near)


def request_bytes(
    raw: bytes, *, path: str = PATH, headers: dict[str, str] = BEARER, method: str = "POST"
) -> bytes:
    """One request on the wire."""
    head = {"Host": "sim", "Content-Length": str(len(raw))} | headers
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
    return "\r\n".join([*lines, "", ""]).encode() + raw


async def answer_on(stream: trio.abc.ReceiveStream) -> Answer:
    """The answer, up to its end or that of the connection."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "sim")]))
    connection.send(h11.EndOfMessage())
    status, whole = 0, b""
    headers: dict[str, str] = {}
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return Answer(status, headers, whole, is_whole=False)
        if event is h11.NEED_DATA:
            try:
                data = await stream.receive_some(65_536)
            except trio.BrokenResourceError:
                data = b""
            connection.receive_data(bytes(data))
        elif isinstance(event, h11.Response):
            status = event.status_code
            headers = {name.decode(): value.decode() for name, value in event.headers}
        elif isinstance(event, h11.Data):
            whole += event.data
        elif isinstance(event, h11.EndOfMessage):
            return Answer(status, headers, whole, is_whole=True)
        else:
            return Answer(status, headers, whole, is_whole=False)
