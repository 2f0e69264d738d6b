"""The simulated Spark on real sockets, asked as programs for the real one ask."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
from email.utils import formatdate
from functools import partial
from time import time
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
import trio
import trustme
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import connect

from relayd.sim.registry import serve_simulator
from relayd.sim.server import SimServer, Upstream

APP_ID, KEY, SECRET = "simspark", "simulated", "simulated"


def signed_url(url: str) -> str:
    """As the vendor's demo makes it."""
    parts = urlsplit(url)
    date = formatdate(time(), usegmt=True)
    origin = f"host: {parts.netloc}\ndate: {date}\nGET {parts.path} HTTP/1.1"
    digest = hmac.new(SECRET.encode(), origin.encode(), hashlib.sha256).digest()
    signature = base64.b64encode(digest).decode()
    authorization = (
        f'api_key="{KEY}", algorithm="hmac-sha256", headers="host date request-line", '
        f'signature="{signature}"'
    )
    query = {
        "authorization": base64.b64encode(authorization.encode()).decode(),
        "date": date,
        "host": parts.netloc,
    }
    return f"{url}?{urlencode(query)}"


async def ask(
    server: SimServer[Upstream], text: str, *, tls: ssl.SSLContext | None = None
) -> tuple[str, dict[str, Any], int | None]:
    """The answer, its usage, and the close code; as the vendor's demo asks."""
    frame = {
        "header": {"app_id": APP_ID, "uid": "1234"},
        "parameter": {"chat": {"domain": "4.0Ultra", "temperature": 0.5, "max_tokens": 4096}},
        "payload": {"message": {"text": [{"role": "user", "content": text}]}},
    }
    answer, usage = "", {}
    url = signed_url(f"{server.base_url.replace('http', 'ws', 1)}/v4.0/chat")
    async with connect(url, ssl=tls, proxy=None, compression=None) as socket:
        await socket.send(json.dumps(frame))
        try:
            while True:
                data = json.loads(await socket.recv())
                assert data["header"]["code"] == 0, data["header"]["message"]
                answer += data["payload"]["choices"]["text"][0]["content"]
                if data["payload"]["choices"]["status"] == 2:
                    usage = data["payload"]["usage"]["text"]
        except ConnectionClosed as closed:
            return answer, usage, closed.rcvd.code if closed.rcvd else None


async def test_the_vendors_demo_gets_its_answer(nursery: trio.Nursery) -> None:
    server = await nursery.start(partial(serve_simulator, "spark"))

    answer, usage, code = await ask(server, "你好")

    assert (answer, code) == ("Answer 1. You said: 你好", 1000)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert server.crashes == 0


async def test_over_tls_too_and_cut(nursery: trio.Nursery) -> None:
    authority = trustme.CA()
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    ours = ssl.create_default_context()
    authority.configure_trust(ours)
    server = await nursery.start(partial(serve_simulator, "spark", ssl_context=theirs))

    assert (await ask(server, "hi", tls=ours))[0] == "Answer 1. You said: hi"
    answer, _, code = await ask(server, "[sim:reset_mid_stream] hi", tls=ours)
    assert (answer, code) == ("Answer 1. You", None)
    assert server.crashes == 0


async def test_a_reset_is_a_reset(nursery: trio.Nursery) -> None:
    server = await nursery.start(partial(serve_simulator, "spark"))
    url = signed_url(f"ws://{server.address}/v4.0/chat")

    stream = await trio.open_tcp_stream(server.host, server.port)
    parts = urlsplit(url)
    head = (
        f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {server.address}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    await stream.send_all(head.encode())
    assert bytes(await stream.receive_some(4096)).startswith(b"HTTP/1.1 101")
    frame = {
        "header": {"app_id": APP_ID},
        "parameter": {"chat": {"domain": "4.0Ultra"}},
        "payload": {
            "message": {"text": [{"role": "user", "content": "[sim:reset_before_first] x"}]}
        },
    }
    payload = json.dumps(frame).encode()
    length = len(payload).to_bytes(2, "big")
    await stream.send_all(b"\x81\xfe" + length + bytes(4) + payload)
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some(1)
    await stream.aclose()


async def test_the_http_api_at_the_same_address(nursery: trio.Nursery) -> None:
    server = await nursery.start(partial(serve_simulator, "spark"))
    body = {
        "model": "generalv3.5",
        "messages": [{"role": "user", "content": "hello there"}],
        "stream": True,
    }

    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(
            f"{server.base_url}/v1/chat/completions",
            json=body,
            headers={"Authorization": "Bearer simulated"},
        )

    lines = [line.removeprefix("data:") for line in answer.text.split("\n\n") if line]
    chunks = [json.loads(line) for line in lines[:-1]]
    said = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
    assert (said, lines[-1]) == ("Answer 1. You said: hello there", "[DONE]")
    assert server.crashes == 0
