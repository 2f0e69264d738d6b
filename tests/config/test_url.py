"""Base URLs: strict in what they take, and the same address whatever the spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.config.url import Url, parse_authority, parse_base_url


@pytest.mark.parametrize(
    ("text", "url", "authority"),
    [
        ("https://a.example/v1/", Url(True, "a.example", 443, "/v1", False), "a.example"),
        ("HTTP://A.Example", Url(False, "a.example", 80, "", False), "a.example"),
        ("ws://a:80/", Url(False, "a", 80, "", False), "a"),
        ("wss://a:80", Url(True, "a", 80, "", False), "a:80"),
        ("http://127.0.0.1:9/x", Url(False, "127.0.0.1", 9, "/x", True), "127.0.0.1:9"),
        ("wss://[0:0::1]:9", Url(True, "::1", 9, "", True), "[::1]:9"),
        ("https://[2001:db8::1]", Url(True, "2001:db8::1", 443, "", True), "[2001:db8::1]"),
        ("http://localhost:1", Url(False, "localhost", 1, "", False), "localhost:1"),
        ("http://my_box-1:1/a%20b/~c", Url(False, "my_box-1", 1, "/a%20b/~c", False), "my_box-1:1"),
    ],
)
def test_a_base_url_is_taken_apart(text: str, url: Url, authority: str) -> None:
    assert parse_base_url(text) == url
    assert url.authority == authority


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("", "starts with"),
        ("a.example", "starts with"),
        ("//a.example", "starts with"),
        ("ftp://a", "starts with"),
        ("unix:/a", "starts with"),
        ("http:///a", "the host is missing"),
        ("http://u@a", "user name"),
        ("http://u:p@a", "user name"),
        ("http://a?b", "query"),
        ("http://a/#b", "fragment"),
        ("http://a:0", "port of 1"),
        ("http://a:65536", "at most 65535"),
        ("http://a:x", "host:port"),
        ("http://a:", "host:port"),
        ("http://::1", "host:port"),
        ("http://[::1", "host:port"),
        ("http://[a]", "no IPv6 address"),
        ("http://[::1%eth0]", "a zone"),
        ("http://127.1", "must be an IPv4"),
        ("http://2130706433", "must be an IPv4"),
        ("http://0x7f000001", "must be an IPv4"),
        ("http://127.0.0.01", "must be an IPv4"),
        ("http://a..b", "no valid name"),
        ("http://-a", "no valid name"),
        ("http://" + "a" * 64, "no valid name"),
        ("http://" + ".".join(["a" * 60] * 5), "no valid name"),
        ("http://ünïcode", "printable ASCII"),
        ("http://a/b c", "printable ASCII"),
        ("http://a/b\n", "printable ASCII"),
        ("http://a/" + "b" * 2048, "at most 2048"),
        ("http://a/b\\c", "percent-encoding"),
        ("http://a/%2", "percent-encoding"),
        ("http://a/../b", "segments"),
        ("http://a/b/.", "segments"),
    ],
)
def test_a_url_that_leaves_room_for_guesses_is_refused(text: str, fragment: str) -> None:
    with pytest.raises(ValueError, match=fragment):
        parse_base_url(text)


def test_a_refusal_does_not_repeat_the_url() -> None:
    with pytest.raises(ValueError, match="api_key") as caught:
        parse_base_url("https://user:canary@a/")

    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:1", ("a", 1, False)),
        ("a", ("a", None, False)),
        ("[::1]:0", ("::1", 0, True)),
        ("0.0.0.0:9", ("0.0.0.0", 9, True)),
    ],
)
def test_an_authority_is_a_host_and_perhaps_a_port(
    text: str, expected: tuple[str, int | None, bool]
) -> None:
    assert parse_authority(text) == expected


@given(st.text() | st.from_regex(r"https?://[^/]*/?.*"))
def test_any_text_is_a_url_or_a_value_error(text: str) -> None:
    try:
        url = parse_base_url(text)
    except ValueError:
        return
    again = parse_base_url(f"{'https' if url.tls else 'http'}://{url.authority}{url.path}")
    assert again == url
