"""The provider: where it connects, and what it makes of a refusal."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import attrs
import pytest

from relayd.config.url import parse_base_url
from relayd.dialect.behind import Effect, Fault, Skew
from relayd.dialect.spark import SPARK
from relayd.dialect.spark_signing import authorization, signature
from tests.dialect.chat import KEY, SECRET, WALL, account, request

DATE = "Fri, 20 Nov 2026 08:00:00 GMT"
WRONG_DATE = (
    "HMAC signature cannot be verified, a valid date or x-date header is required for HMAC"
    " Authentication"
)


def said(message: str) -> bytes:
    return json.dumps({"message": message}).encode()


@pytest.mark.parametrize(
    ("base_url", "host", "path"),
    [
        ("wss://spark-api.xf-yun.com", "spark-api.xf-yun.com", "/v3.5/chat"),
        ("ws://127.0.0.1:18999", "127.0.0.1:18999", "/v3.5/chat"),
        ("wss://proxy.example/spark", "proxy.example", "/spark/v3.5/chat"),
        (None, "spark-api.xf-yun.com", "/v3.5/chat"),
    ],
)
def test_a_connection_is_signed_for_its_host_and_path(
    base_url: str | None, host: str, path: str
) -> None:
    url = None if base_url is None else parse_base_url(base_url)

    handshake = SPARK.target(attrs.evolve(account(), base_url=url), "any", WALL)

    parts = urlsplit(handshake.target)
    expected = authorization(KEY, signature(SECRET, host, DATE, path))
    assert parts.path == path
    assert parse_qs(parts.query) == {"authorization": [expected], "date": [DATE], "host": [host]}
    assert handshake.headers == ()
    assert handshake.authority == host
    assert SECRET not in repr(handshake)


def test_each_model_has_its_own_path() -> None:
    target = SPARK.target(account("max-32k"), "m", WALL).target

    assert target.startswith("/chat/max-32k?")


@pytest.mark.parametrize(
    "message",
    [
        "Unauthorized",
        "HMAC signature cannot be verified",
        "HMAC signature cannot be verified: fail to retrieve credential",
        "HMAC signature does not match",
    ],
)
def test_a_refused_key_is_never_the_client_s(message: str) -> None:
    fault = SPARK.classify_handshake(401, said(message), DATE, WALL)

    assert isinstance(fault, Fault)
    assert (fault.status, fault.code) == (502, "upstream_auth_failed")
    assert fault.effect is Effect.DISABLE
    assert message in fault.detail
    assert "HMAC" not in fault.message


def test_a_refused_address_is_the_operator_s() -> None:
    fault = SPARK.classify_handshake(403, said("Your IP address is not allowed"), DATE, WALL)

    assert isinstance(fault, Fault)
    assert (fault.status, fault.code) == (502, "upstream_auth_failed")
    assert "IP address" in fault.detail


@pytest.mark.parametrize("off_s", [301.0, -301.0, 90_000.0])
def test_a_clock_that_is_off_is_corrected_by_the_upstream_s(off_s: float) -> None:
    skew = SPARK.classify_handshake(403, said(WRONG_DATE), DATE, WALL - off_s)

    assert isinstance(skew, Skew)
    assert skew.offset_s == off_s
    assert (skew.fault.status, skew.fault.code) == (502, "upstream_auth_failed")


@pytest.mark.parametrize("date", [None, "yesterday", DATE])
def test_a_date_that_is_refused_though_it_is_right_is_a_fault(date: str | None) -> None:
    fault = SPARK.classify_handshake(403, said(WRONG_DATE), date, WALL)

    assert isinstance(fault, Fault)
    assert fault.code == "upstream_auth_failed"


def test_a_signature_with_the_offset_is_good_again() -> None:
    skew = SPARK.classify_handshake(403, said(WRONG_DATE), DATE, WALL - 400)
    assert isinstance(skew, Skew)

    corrected = SPARK.target(account(), "m", WALL - 400 + skew.offset_s)

    assert corrected == SPARK.target(account(), "m", WALL)


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [(404, b"<html>", 500), (429, b"", 429), (502, b"\xff\xfe", 502), (503, b"[" * 9999, 502)],
)
def test_other_answers_go_by_their_status(status: int, body: bytes, told: int) -> None:
    fault = SPARK.classify_handshake(status, body, None, WALL)

    assert isinstance(fault, Fault)
    assert fault.status == told


def test_a_request_becomes_an_exchange() -> None:
    exchange = SPARK.begin(request(seed=1), account(), "m", attempt=2)

    assert exchange.ignored == ("seed",)
    assert SPARK.takes(request(), account()) is None
