"""Chat requests and accounts for tests."""

from __future__ import annotations

import json
from typing import Any

import attrs

from relayd.config.secret import Secret
from relayd.config.spark import ChatDefaults, SparkSettings
from relayd.config.url import Url, parse_base_url
from relayd.dialect.chat_errors import Mistake
from relayd.dialect.chat_request import read_request
from relayd.dialect.chat_values import ChatRequest

SID = "cht000cb087@dx18793cd421fb894542"
KEY, SECRET = "test-api-key", "test-api-secret"
WALL = 1795161600.0
"""Fri, 20 Nov 2026 08:00:00 GMT."""

HELLO = [{"role": "user", "content": "hello"}]
WEATHER = {"name": "weather", "description": "of a city", "parameters": {"type": "object"}}
TOOLS = [{"type": "function", "function": WEATHER}]


def body(**members: object) -> bytes:
    return json.dumps({"model": "m", "messages": HELLO} | members, ensure_ascii=False).encode()


def request(**members: object) -> ChatRequest:
    read = read_request(body(**members))
    assert isinstance(read, ChatRequest), read
    return read


def mistake(**members: object) -> Mistake:
    read = read_request(body(**members))
    assert isinstance(read, Mistake), read
    return read


@attrs.frozen(kw_only=True)
class FakeAccount:
    """As much of an account as providers look at."""

    base_url: Url | None = attrs.field(factory=lambda: parse_base_url("wss://spark-api.xf-yun.com"))
    api_key: Secret | None = attrs.field(factory=lambda: Secret(KEY))
    defaults: ChatDefaults = attrs.field(factory=ChatDefaults)
    spark: SparkSettings | None = None


def settings(api_version: str | None = "v3.5", **members: object) -> SparkSettings:
    others: dict[str, Any] = members
    known = SparkSettings(app_id="a1b2c3d4", api_secret=Secret(SECRET), api_version=api_version)
    return attrs.evolve(known, **others)


def account(
    api_version: str | None = "v3.5", *, defaults: ChatDefaults | None = None, **members: object
) -> FakeAccount:
    return FakeAccount(spark=settings(api_version, **members), defaults=defaults or ChatDefaults())


def frame(
    *,
    code: int = 0,
    message: str = "Success",
    status: int = 1,
    usage: object = None,
    sid: object = SID,
    **text: object,
) -> bytes:
    """One of Spark's frames."""
    header = {"code": code, "message": message, "sid": sid, "status": status}
    if code and not text:
        return json.dumps({"header": header | {"status": 2}}).encode()
    payload: dict[str, object] = {
        "choices": {"status": status, "seq": 0, "text": [{"role": "assistant", "index": 0} | text]}
    }
    if usage is not None:
        payload["usage"] = {"text": usage}
    return json.dumps({"header": header, "payload": payload}).encode()
