"""The signature in the URL, as the vendor's gateway checks it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from urllib.parse import quote, urlencode

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.sim.spark.signing import (
    BAD_DATE,
    MISMATCH,
    SKEW_MAX_S,
    UNAUTHORIZED,
    UNKNOWN_KEY,
    UNVERIFIABLE,
    Credential,
    Refusal,
    credential_of,
    signature,
    unix_time,
)
from relayd.sim.spark.upstream import SIMULATED
from tests.sim.spark.stage import HOST, MAX, NOW, ORIGIN, signed

VENDOR = Credential(
    app_id="vendor",
    api_key="addd2272b6d8b7c8abdd79531420ca3b",
    api_secret="MjlmNzkzNmZkMDQ2OTc0ZDdmNGE2ZTZi",
    api_password="none",
)
TEST = Credential(
    app_id="test", api_key="test-api-key", api_secret="test-api-secret", api_password="none"
)
CLOUD = "spark-api.xf-yun.com"
MAY = "Fri, 05 May 2023 10:43:39 GMT"
NOVEMBER = "Fri, 20 Nov 2026 08:00:00 GMT"

VECTORS = [
    (CLOUD, "/v1.1/chat", MAY, VENDOR, "z5gHdu3pxVV4ADMyk467wOWDQ9q6BQzR3nfMTjc/DaQ="),
    (CLOUD, "/v3.5/chat", NOVEMBER, TEST, "s17uizMj/ceTP/yo2lYTWlxLQofGr+iBzJlilCwexnU="),
    (CLOUD, "/v4.0/chat", NOVEMBER, TEST, "0NYkaoDhsxH2Q1P1vS6DhNw6B5vE279xdZkWdrzTP8I="),
    (CLOUD, "/chat/max-32k", NOVEMBER, TEST, "cYlgu67zf+VPXAzqZvJadqkBGtTgZEI4YWG/1/PmLZc="),
    (CLOUD, "/chat/pro-128k", NOVEMBER, TEST, "xP2O5MR+1l2eIqHjGuKgEDZHrlpJMnN9bxMjWTOOZNU="),
    (CLOUD, "/v1/x1", NOVEMBER, TEST, "sh19DpkH2e0eyHwzJ5wkSSWsCaZmxyaL7BJvVxTdW4c="),
    (
        "127.0.0.1:18999",
        "/v3.5/chat",
        NOVEMBER,
        TEST,
        "6+A/AIF3OK6BEnc4hvyyJEY7BXfAI1exitjwMmeEdDA=",
    ),
]
AUTHORIZATIONS = [
    "YXBpX2tleT0iYWRkZDIyNzJiNmQ4YjdjOGFiZGQ3OTUzMTQyMGNhM2IiLCBhbGdvcml0aG09ImhtYWMtc2hhMjU2Iiwg"
    "aGVhZGVycz0iaG9zdCBkYXRlIHJlcXVlc3QtbGluZSIsIHNpZ25hdHVyZT0iejVnSGR1M3B4VlY0QURNeWs0Njd3T1dE"
    "UTlxNkJRelIzbmZNVGpjL0RhUT0i",
    "YXBpX2tleT0idGVzdC1hcGkta2V5IiwgYWxnb3JpdGhtPSJobWFjLXNoYTI1NiIsIGhlYWRlcnM9Imhvc3QgZGF0ZSBy"
    "ZXF1ZXN0LWxpbmUiLCBzaWduYXR1cmU9InMxN3Vpek1qL2NlVFAveW8ybFlUV2x4TFFvZkdyK2lCekpsaWxDd2V4blU9"
    "Ig==",
]


def target(path: str, date: str, credential: Credential, signed_with: str) -> str:
    origin = ORIGIN.format(key=credential.api_key, signature=signed_with)
    authorization = base64.b64encode(origin.encode()).decode()
    return f"{path}?{urlencode({'authorization': authorization, 'date': date, 'host': 'any'})}"


def check(asked: str, *, host: str = HOST, wall: float = NOW) -> Credential | Refusal:
    return credential_of(asked, host, (VENDOR, SIMULATED, TEST), wall=wall)


@pytest.mark.parametrize(("host", "path", "date", "credential", "expected"), VECTORS)
def test_the_published_vectors_open_the_door(
    host: str, path: str, date: str, credential: Credential, expected: str
) -> None:
    wall = unix_time(date)
    assert wall is not None

    assert signature(f"host: {host}\ndate: {date}\nGET {path} HTTP/1.1", credential.api_secret) == (
        expected
    )
    assert check(target(path, date, credential, expected), host=host, wall=wall) is credential


@pytest.mark.parametrize(
    ("vector", "authorization"), list(zip(VECTORS, AUTHORIZATIONS, strict=False))
)
def test_the_published_authorizations_open_the_door(
    vector: tuple[str, str, str, Credential, str], authorization: str
) -> None:
    host, path, date, credential, _ = vector
    asked = f"{path}?authorization={quote(authorization)}&date={quote(date)}&host={host}"

    assert check(asked, host=host, wall=unix_time(date) or 0) is credential


@pytest.mark.parametrize("asked", [MAX, f"{MAX}?date=x&host=y", f"{MAX}?authorization=&date=x"])
def test_without_authorization_there_is_nothing_to_check(asked: str) -> None:
    assert check(asked) == UNAUTHORIZED


@pytest.mark.parametrize(
    ("wall", "is_taken"),
    [
        (NOW, True),
        (NOW - SKEW_MAX_S, True),
        (NOW + SKEW_MAX_S, True),
        (NOW - SKEW_MAX_S - 1, False),
        (NOW + SKEW_MAX_S + 1, False),
    ],
)
def test_a_date_is_good_for_five_minutes_either_way(wall: float, is_taken: bool) -> None:
    assert check(signed(), wall=wall) == (SIMULATED if is_taken else BAD_DATE)


@pytest.mark.parametrize(
    "date",
    [
        "",
        "yesterday",
        "2026-11-20T08:00:00Z",
        "Fri, 20 Nov 2026 08:00:00 CET",
        "Fri, 20 Nov 2026 08:00:00 +0000",
        "Fri, 20 Nov 0000 08:00:00 GMT",
    ],
)
def test_what_is_no_date_is_as_bad_as_an_old_one(date: str) -> None:
    assert unix_time(date) is None
    assert check(signed(write=lambda _: date)) == BAD_DATE


def test_utc_is_gmt() -> None:
    assert check(signed(write=lambda date: date.replace("GMT", "UTC"))) is SIMULATED


@pytest.mark.parametrize(
    "origin",
    [
        'hmac username="{key}", algorithm="hmac-sha256", headers="host date request-line", '
        'signature="{signature}"',
        'signature="{signature}",headers="host date request-line",algorithm="hmac-sha256",'
        'api_key="{key}"',
        'api_key = "{key}" , algorithm="hmac-sha256",  headers="host  date request-line", '
        'signature="{signature}" ',
    ],
)
def test_what_varies_between_working_clients_is_taken(origin: str) -> None:
    assert check(signed(origin=origin)) is SIMULATED


@pytest.mark.parametrize(
    "origin",
    [
        "",
        'algorithm="hmac-sha256", headers="host date request-line", signature="{signature}"',
        'api_key="{key}", headers="host date request-line", signature="{signature}"',
        'api_key="{key}", algorithm="hmac-sha1", headers="host date request-line", '
        'signature="{signature}"',
        'api_key="{key}", algorithm="hmac-sha256", headers="host date", signature="{signature}"',
        'api_key="{key}", algorithm="hmac-sha256", headers="host date host", '
        'signature="{signature}"',
        'api_key="{key}", algorithm="hmac-sha256", headers="host date request-line"',
    ],
)
def test_what_is_incomplete_cannot_be_verified(origin: str) -> None:
    asked = signed(origin=origin or "nothing at all")

    assert check(asked) == UNVERIFIABLE


@pytest.mark.parametrize("authorization", ["no base64!", "5L2g5", "/////w==", "ÿÿ"])
def test_what_is_no_base64_of_text_cannot_be_verified(authorization: str) -> None:
    query = urlencode({"authorization": authorization, "date": NOVEMBER, "host": HOST})

    assert check(f"{MAX}?{query}") == UNVERIFIABLE


def test_an_unknown_key_is_told_apart() -> None:
    stranger = attrs.evolve(SIMULATED, api_key="nobody")

    assert check(signed(credential=stranger)) == UNKNOWN_KEY


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: signed(host="other"),
        lambda: signed(host=f"{HOST}:80"),
        lambda: signed("/v4.0/chat").replace("/v4.0/chat", MAX, 1),
        lambda: signed(credential=attrs.evolve(SIMULATED, api_secret="other")),
        lambda: signed().replace("08%3A00%3A00", "08%3A00%3A01"),
        lambda: signed(origin=ORIGIN.replace("{signature}", "é")),
    ],
    ids=["host", "port", "path", "secret", "date", "text"],
)
def test_a_signature_of_something_else_does_not_match(wrong: Callable[[], str]) -> None:
    assert check(wrong()) == MISMATCH


def test_an_unescaped_plus_is_no_space() -> None:
    asked = signed(credential=attrs.evolve(TEST, api_key="~~~~>>>>"))
    known = attrs.evolve(TEST, api_key="~~~~>>>>")
    plain = asked.replace("%2B", "+").replace("%2F", "/")

    assert "+" in plain
    assert credential_of(plain, HOST, (known,), wall=NOW) is known


@given(st.text(), st.text(), st.text())
def test_nothing_opens_the_door_by_chance(authorization: str, date: str, host: str) -> None:
    inner = base64.b64encode(authorization.encode()).decode()
    query = {"date": date, "host": host}

    for given_ in (authorization, inner):
        asked = f"{MAX}?{urlencode(query | {'authorization': given_})}"
        assert isinstance(check(asked), Refusal)
