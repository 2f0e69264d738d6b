"""What the tests of the simulated Spark share: a client that signs, and the requests it makes."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from email.utils import formatdate
from typing import Any
from urllib.parse import urlencode

from relayd.sim.spark.frame_request import question_of, read_frame
from relayd.sim.spark.limits import Limits
from relayd.sim.spark.models import PATHS
from relayd.sim.spark.question import Question
from relayd.sim.spark.scenario import Scenario
from relayd.sim.spark.signing import Credential
from relayd.sim.spark.upstream import SIMULATED, SparkUpstream
from tests.sim.peer import Ended, Peer, served

Event = dict[str, Any]

NO_LIMITS = Limits()
NOW = 1_795_161_600.0  # Fri, 20 Nov 2026 08:00:00 GMT
HOST = "sim"
MAX = "/v3.5/chat"
DOMAINS = {
    "/v1.1/chat": "lite",
    "/v2.1/chat": "generalv2",
    "/v3.1/chat": "generalv3",
    "/chat/pro-128k": "pro-128k",
    "/v3.5/chat": "generalv3.5",
    "/chat/max-32k": "max-32k",
    "/v4.0/chat": "4.0Ultra",
    "/v1.1/chat_kjwx": "kjwx",
    "/v1/x1": "spark-x",
    "/v1/reasoner-x1-preview": "x1",
    "/x2": "spark-x",
    "/v1/assistants/abc123": "generalv3.5",
}
"""A domain for each path."""
WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
ORIGIN = (
    'api_key="{key}", algorithm="hmac-sha256", headers="host date request-line", '
    'signature="{signature}"'
)


def clock() -> float:
    """The upstream's clock in all these tests."""
    return NOW


def signature(host: str, date: str, path: str, secret: str) -> str:
    """As the vendor's page computes it."""
    text = f"host: {host}\ndate: {date}\nGET {path} HTTP/1.1"
    digest = hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def signed(
    path: str = MAX,
    *,
    host: str = HOST,
    wall: float = NOW,
    credential: Credential = SIMULATED,
    origin: str = ORIGIN,
    write: Callable[[str], str] = str,
) -> str:
    """Path and query of a connection; ``write`` changes how the date is written."""
    date = write(formatdate(wall, usegmt=True))
    inner = origin.format(
        key=credential.api_key, signature=signature(host, date, path, credential.api_secret)
    )
    authorization = base64.b64encode(inner.encode()).decode()
    return f"{path}?{urlencode({'authorization': authorization, 'date': date, 'host': host})}"


def request(text: object = "hello there", **given: object) -> Event:
    """A request as the vendor's page has it.

    ``messages`` stand in for the text; ``domain``, ``functions`` and ``uid`` go to their places,
    all else is a parameter.
    """
    header: Event = {"app_id": SIMULATED.app_id}
    if (uid := given.pop("uid", None)) is not None:
        header["uid"] = uid
    said = given.pop("messages", [{"role": "user", "content": text}])
    payload: Event = {"message": {"text": said}}
    if (functions := given.pop("functions", None)) is not None:
        payload["functions"] = {"text": functions}
    chat = {"domain": "generalv3.5", "tools": [search(enable=False)]} | given
    return {"header": header, "parameter": {"chat": chat}, "payload": payload}


def search(**settings: object) -> Event:
    """The service's own tool."""
    return {"type": "web_search", "web_search": settings}


def talk(*texts: str) -> list[Event]:
    """A conversation, the user first."""
    roles = ("user", "assistant")
    return [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]


def question(path: str = MAX, /, **given: object) -> Question:
    """A question that came by WebSocket."""
    given.setdefault("domain", DOMAINS[path])
    frame = read_frame(json.dumps(request(**given)))
    return question_of(frame, PATHS[path], SIMULATED.app_id)


def upstream(
    scenario: Scenario = Scenario.NORMAL,
    *,
    credentials: tuple[Credential, ...] = (SIMULATED,),
    limits: Limits = NO_LIMITS,
    clock_skew_s: float = 0.0,
) -> SparkUpstream:
    """An upstream with a fixed clock and name."""
    return SparkUpstream(
        scenario,
        credentials=credentials,
        limits=limits,
        clock_skew_s=clock_skew_s,
        wall=clock,
        name="t",
    )


@contextlib.asynccontextmanager
async def connected(spark: SparkUpstream, path: str = MAX) -> AsyncIterator[Peer]:
    """A peer past the 101."""
    async with served(spark, signed(path)) as peer:
        response = await peer.upgrade({})
        assert response.status_code == 101, response.body
        yield peer


async def ask(peer: Peer, text: str = "hello there", **given: object) -> list[Event]:
    """The frames of one answer, up to the end of the connection."""
    await peer.send(request(text, **given))
    return await frames(peer)


async def frames(peer: Peer) -> list[Event]:
    """All frames up to the end of the connection."""
    got: list[Event] = []
    with contextlib.suppress(Ended):
        while True:
            got.append(await peer.event())
    return got


def said(answer: list[Event], member: str = "content") -> str:
    """What the frames of an answer say."""
    texts = [
        text
        for frame in answer
        for text in frame.get("payload", {}).get("choices", {}).get("text", [])
    ]
    return "".join(text.get(member, "") for text in texts)


def codes(answer: list[Event]) -> list[int]:
    """The code of each frame."""
    return [frame["header"]["code"] for frame in answer]
