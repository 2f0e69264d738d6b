"""The kinds of value that settings take: names, origins, headers, secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from relayd.config import kinds
from relayd.config.files import Surroundings
from relayd.config.mistakes import Wrong
from relayd.config.networks import parse_network
from relayd.config.rules import Rule
from relayd.config.secret import KeyDigest, Secret

AROUND = Surroundings(
    environ={"KEY": "from-the-environment", "DIGEST": KeyDigest.of("abcdefgh").reference()},
    directory=Path("/nonexistent"),
)
TOKEN = "!#$%&'*+-.^_`|~09azAZ"


@pytest.mark.parametrize(
    ("rule", "value", "expected"),
    [
        (kinds.NAME, "a.B-c_1", "a.B-c_1"),
        (kinds.NAME, "a" * 64, "a" * 64),
        (kinds.ORIGINS, ["*", "https://a.example:8443"], ("*", "https://a.example:8443")),
        (kinds.ORIGINS, ["chrome-extension://abc"], ("chrome-extension://abc",)),
        (kinds.MODELS, ["ft:gpt-5:org::id", "*"], ("ft:gpt-5:org::id", "*")),
        (kinds.DIALECTS, ["*", "real*"], ("*", "real*")),
        (
            kinds.HEADERS,
            {"X-A": "a b", "b": "ENV:KEY"},
            {"X-A": "a b", "b": "from-the-environment"},
        ),
        (kinds.HEADERS, {"X-A": "env: not a reference"}, {"X-A": "env: not a reference"}),
        (kinds.ApiKey(), "abc", Secret("abc")),
        (kinds.ApiKey(), "ENV:KEY", Secret("from-the-environment")),
        (kinds.AdminToken(), "", None),
        (kinds.AdminToken(), "12345678", Secret("12345678")),
        (kinds.ClientKey(), "12345678", KeyDigest.of("12345678")),
        (kinds.ClientKey(), TOKEN, KeyDigest.of(TOKEN)),
        (kinds.ClientKey(), KeyDigest.of("a").reference(), KeyDigest.of("a")),
        (kinds.ClientKey(), "ENV:DIGEST", KeyDigest.of("abcdefgh")),
        (kinds.AuthorityFile(), "", None),
        (
            kinds.TRUSTED_PROXIES,
            ["10.0.0.0/8", "unix", "::1"],
            (parse_network("10.0.0.0/8"), "unix", parse_network("::1")),
        ),
    ],
)
def test_a_value_is_read(rule: Rule[object], value: object, expected: object) -> None:
    assert rule.read(value, AROUND) == expected


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        (kinds.NAME, ["", ".a", "-a", "a b", "a/b", "ä", "a" * 65, "a\n"]),
        (kinds.ORIGINS, [["https://*.a"], ["HTTPS://a"], ["https://a/b"], ["null"], [""]]),
        (kinds.MODELS, [[], [""], [" a"], ["a\n"], ["a" * 1025]]),
        (kinds.MODEL_MAP, [{"a*": "b"}, {"a": "b*"}, {"": "a"}, {"a": ""}]),
        (kinds.HEADERS, [{"a": ""}, {"a": " b"}, {"a": "b\x00"}, {"a": "ü"}, {"a": "b" * 4097}]),
        (kinds.HEADERS, [{"": "a"}, {"a b": "a"}, {"ä": "a"}, {"a\r\n": "b"}]),
        (kinds.HEADERS, [{"Upgrade": "a"}, {"CONNECTION": "a"}, {"Sec-WebSocket-Key": "a"}]),
        (kinds.HEADERS, [{"Content-Length": "1"}, {"Transfer-Encoding": "a"}]),
        (kinds.ApiKey(), ["", "a b", "a\n", "ü", "a" * 4097, "sha256:" + "0" * 64, None]),
        (kinds.AdminToken(), ["123", "1234 678", "sha256:" + "0" * 64, 0, []]),
        (kinds.ClientKey(), ["", "123", "1234,678", "1234(678", "12345678é", "a" * 4097]),
        (kinds.PemFile(), ["", "missing", 3]),
        (kinds.AuthorityFile(), ["missing", 3, "."]),
        (kinds.TRUSTED_PROXIES, ["unix", ["Unix"], ["unix:/run/a"], ["localhost"], ["*"], [8]]),
    ],
)
def test_a_value_is_refused(rule: Rule[object], values: list[object]) -> None:
    for value in values:
        with pytest.raises(Wrong):
            rule.read(value, AROUND)
