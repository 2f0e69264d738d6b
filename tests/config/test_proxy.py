"""The URL of an account's proxy: what is taken, and that none of it is ever repeated."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.config.files import Surroundings
from relayd.config.mistakes import Unavailable, Wrong
from relayd.config.proxy import CREDENTIAL_MAX_BYTES, Proxy, ProxyKind, ProxyUrl, parse_proxy
from relayd.config.secret import Secret

AROUND = Surroundings(
    environ={"PROXY": "socks5h://canary-user:canary-word@proxy.example:1080"},
    directory=Path("/nonexistent"),
)


def proxy(kind: str, host: str, port: int, *, is_literal: bool = False) -> Proxy:
    return Proxy(kind=ProxyKind(kind), host=host, port=port, is_literal=is_literal)


def credentials_of(parsed: Proxy) -> tuple[str, str] | None:
    if parsed.username is None or parsed.password is None:
        assert parsed.username is parsed.password
        return None
    return parsed.username.reveal(), parsed.password.reveal()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://proxy.example:3128", proxy("http", "proxy.example", 3128)),
        ("HTTP://Proxy.Example:3128/", proxy("http", "proxy.example", 3128)),
        ("socks5://127.0.0.1:1080", proxy("socks5", "127.0.0.1", 1080, is_literal=True)),
        ("socks5h://[::1]:1080", proxy("socks5h", "::1", 1080, is_literal=True)),
    ],
)
def test_a_proxy_is_read(text: str, expected: Proxy) -> None:
    assert parse_proxy(text) == expected


@pytest.mark.parametrize(
    ("userinfo", "expected"),
    [
        ("user:word", ("user", "word")),
        ("user:wo:rd", ("user", "wo:rd")),
        ("us%40er:%C3%BC%2F", ("us@er", "ü/")),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
def test_credentials_are_decoded(scheme: str, userinfo: str, expected: tuple[str, str]) -> None:
    assert credentials_of(parse_proxy(f"{scheme}://{userinfo}@a:1")) == expected


def test_an_http_proxy_may_want_no_password() -> None:
    for userinfo in ("token", "token:"):
        assert credentials_of(parse_proxy(f"http://{userinfo}@a:1")) == ("token", "")


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("", "expected http://host:port"),
        ("canary.example:3128", "expected http://host:port"),
        ("https://canary.example:3128", "expected http://host:port"),
        ("socks4://canary.example:1080", "expected http://host:port"),
        ("sha256:" + "0" * 64, "expected http://host:port"),
        ("http://canary" + "a" * 3000 + ":1", "expected http://host:port"),
        ("http://a:1/canary", "ends after its port"),
        ("http://a:1?canary", "ends after its port"),
        ("http://a:1#canary", "ends after its port"),
        ("http://canary", "the port is missing"),
        ("http://canary:0", "the port is missing or 0"),
        ("http://canary:65536", "expected host:port after the scheme"),
        ("http://canary-user:99999", "expected host:port after the scheme"),
        ("http://:3128", "expected host:port after the scheme"),
        ("http://[fe80::1%eth0]:1", "expected host:port after the scheme"),
        ("http://2130706433:1", "expected host:port after the scheme"),
        ("http://ca@nary:word@a:1", "percent-encoding"),
        ("http://canary:wörd@a:1", "percent-encoding"),
        ("http://canary:%4@a:1", "percent-encoding"),
        ("http://@a:1", "the user name before the @ is missing"),
        ("http://:canary@a:1", "the user name before the @ is missing"),
        ("http://can%3Aary:word@a:1", "RFC 7617"),
        ("socks5://canary@a:1", "only with a password"),
        ("socks5h://canary:@a:1", "only with a password"),
        ("socks5://canary:a%0Ab@a:1", "printable UTF-8"),
        ("http://canary:%FF@a:1", "printable UTF-8"),
        ("http://canary:%00@a:1", "printable UTF-8"),
        (f"http://canary:{'a' * (CREDENTIAL_MAX_BYTES + 1)}@a:1", "longer than 255 bytes"),
    ],
)
def test_what_is_no_proxy_is_refused_and_not_repeated(text: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy) as caught:
        parse_proxy(text)

    assert "canary" not in str(caught.value)
    assert "99999" not in str(caught.value)


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
def test_whatever_is_escaped_comes_back_or_is_refused(username: str, password: str) -> None:
    try:
        text = f"socks5://{quote(username, safe='')}:{quote(password, safe='')}@a:1"
    except UnicodeEncodeError:
        return  # lone surrogates have no escape
    if username.isprintable() and password.isprintable():
        assert credentials_of(parse_proxy(text)) == (username, password)
    else:
        with pytest.raises(ValueError, match="printable UTF-8"):
            parse_proxy(text)


@given(st.text(max_size=60))
def test_any_text_is_a_proxy_or_a_value_error(text: str) -> None:
    for candidate in (text, f"http://{text}", f"socks5://{text}@a:1"):
        try:
            parsed = parse_proxy(candidate)
        except ValueError:
            continue
        assert 0 < parsed.port < 65536


def test_credentials_are_not_shown() -> None:
    parsed = parse_proxy("http://canary-user:canary-word@proxy.example:3128")

    for shown in (repr(parsed), str(attrs.asdict(parsed)), f"{parsed}"):
        assert "canary" not in shown
    assert "proxy.example" in repr(parsed)


def test_the_whole_url_may_be_a_secret_reference() -> None:
    parsed = ProxyUrl().read("ENV:PROXY", AROUND)

    assert parsed is not None
    assert (parsed.kind, parsed.host) == (ProxyKind.SOCKS5H, "proxy.example")
    assert parsed.username == Secret("canary-user")


def test_an_empty_url_is_no_proxy() -> None:
    assert ProxyUrl().read("", AROUND) is None


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("ENV:MISSING", Unavailable),
        ("FILE:missing", Unavailable),
        ("env:PROXY", Wrong),
        ("canary", Wrong),
        (["canary"], Wrong),
        (None, Wrong),
    ],
)
def test_a_value_is_refused_without_being_repeated(value: object, error: type[Wrong]) -> None:
    with pytest.raises(Wrong) as caught:
        ProxyUrl().read(value, AROUND)

    assert type(caught.value) is error
    assert "canary" not in str(caught.value)
