"""Signatures, byte for byte, and clocks that differ."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from relayd.dialect.spark_signing import (
    authorization,
    clock_skew_s,
    http_date,
    signature,
    signed_target,
)
from tests.dialect.chat import KEY, SECRET, WALL

HOST = "spark-api.xf-yun.com"
DATE = "Fri, 20 Nov 2026 08:00:00 GMT"
VENDORS_DATE = "Fri, 05 May 2023 10:43:39 GMT"
VENDORS_KEY = "addd2272b6d8b7c8abdd79531420ca3b"
VENDORS_SECRET = "MjlmNzkzNmZkMDQ2OTc0ZDdmNGE2ZTZi"
VENDORS_AUTHORIZATION = (
    "YXBpX2tleT0iYWRkZDIyNzJiNmQ4YjdjOGFiZGQ3OTUzMTQyMGNhM2IiLCBhbGdvcml0aG09ImhtYWMtc2hhMjU2Ii"
    "wgaGVhZGVycz0iaG9zdCBkYXRlIHJlcXVlc3QtbGluZSIsIHNpZ25hdHVyZT0iejVnSGR1M3B4VlY0QURNeWs0Njd3"
    "T1dEUTlxNkJRelIzbmZNVGpjL0RhUT0i"
)
SECOND_AUTHORIZATION = (
    "YXBpX2tleT0idGVzdC1hcGkta2V5IiwgYWxnb3JpdGhtPSJobWFjLXNoYTI1NiIsIGhlYWRlcnM9Imhvc3QgZGF0ZSBy"
    "ZXF1ZXN0LWxpbmUiLCBzaWduYXR1cmU9InMxN3Vpek1qL2NlVFAveW8ybFlUV2x4TFFvZkdyK2lCekpsaWxDd2V4blU9"
    "Ig=="
)


@pytest.mark.parametrize(
    ("host", "path", "date", "secret", "expected"),
    [
        (
            HOST,
            "/v1.1/chat",
            VENDORS_DATE,
            VENDORS_SECRET,
            "z5gHdu3pxVV4ADMyk467wOWDQ9q6BQzR3nfMTjc/DaQ=",
        ),
        (HOST, "/v3.5/chat", DATE, SECRET, "s17uizMj/ceTP/yo2lYTWlxLQofGr+iBzJlilCwexnU="),
        (HOST, "/v4.0/chat", DATE, SECRET, "0NYkaoDhsxH2Q1P1vS6DhNw6B5vE279xdZkWdrzTP8I="),
        (HOST, "/chat/max-32k", DATE, SECRET, "cYlgu67zf+VPXAzqZvJadqkBGtTgZEI4YWG/1/PmLZc="),
        (HOST, "/chat/pro-128k", DATE, SECRET, "xP2O5MR+1l2eIqHjGuKgEDZHrlpJMnN9bxMjWTOOZNU="),
        (HOST, "/v1/x1", DATE, SECRET, "sh19DpkH2e0eyHwzJ5wkSSWsCaZmxyaL7BJvVxTdW4c="),
        (
            "127.0.0.1:18999",
            "/v3.5/chat",
            DATE,
            SECRET,
            "6+A/AIF3OK6BEnc4hvyyJEY7BXfAI1exitjwMmeEdDA=",
        ),
    ],
)
def test_the_vectors(host: str, path: str, date: str, secret: str, expected: str) -> None:
    assert signature(secret, host, date, path) == expected


@pytest.mark.parametrize(
    ("key", "secret", "path", "date", "expected"),
    [
        (VENDORS_KEY, VENDORS_SECRET, "/v1.1/chat", VENDORS_DATE, VENDORS_AUTHORIZATION),
        (KEY, SECRET, "/v3.5/chat", DATE, SECOND_AUTHORIZATION),
    ],
)
def test_the_vectors_authorization(
    key: str, secret: str, path: str, date: str, expected: str
) -> None:
    assert authorization(key, signature(secret, HOST, date, path)) == expected


def test_a_target_is_encoded_as_the_vendor_s_example() -> None:
    wall = 1683283419.0
    target = signed_target(VENDORS_KEY, VENDORS_SECRET, HOST, "/v1.1/chat", wall)

    assert target == (
        f"/v1.1/chat?authorization={VENDORS_AUTHORIZATION}"
        "&date=Fri%2C+05+May+2023+10%3A43%3A39+GMT&host=spark-api.xf-yun.com"
    )


def test_padding_and_ports_survive_the_query() -> None:
    target = signed_target(KEY, SECRET, "[::1]:8765", "/v3.5/chat", WALL)

    query = parse_qs(urlsplit(target).query, strict_parsing=True)
    assert query["host"] == ["[::1]:8765"]
    assert query["date"] == [DATE]


def test_another_method_is_signed_otherwise() -> None:
    assert signature(SECRET, HOST, DATE, "/v1/x", method="POST") != signature(
        SECRET, HOST, DATE, "/v1/x"
    )


def test_a_date_has_no_fractions() -> None:
    assert http_date(WALL + 0.999) == DATE


@pytest.mark.parametrize(("wall", "skew_s"), [(WALL, 0.0), (WALL - 400, 400.0), (WALL + 1e4, -1e4)])
def test_the_clock_s_skew_is_the_upstream_s_time_less_ours(wall: float, skew_s: float) -> None:
    assert clock_skew_s(DATE, wall) == skew_s
    assert clock_skew_s(DATE.replace("GMT", "UTC"), wall) == skew_s


@pytest.mark.parametrize(
    "date",
    [
        None,
        "",
        " ",
        "yesterday",
        "Fri, 31 Feb 2026 08:00:00 GMT",
        "Fri, 20 Nov 0000 08:00:00 GMT",
        "Fri, 20 Nov 2026 29:00:00 GMT",
        "Fri, 20 Nov 2026 08:00:00 +99999999",
        "Fri, 20 Nov 2026 08:00:00 GMT\n",
    ],
)
def test_what_is_no_date_gives_no_skew(date: str | None) -> None:
    assert clock_skew_s(date, WALL) is None
