"""Which address a client counts as: whom relayd believes about it, and how far."""

from __future__ import annotations

import ipaddress

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.config.kinds import UNIX_PEER
from relayd.config.networks import parse_network
from relayd.config.schema import ServerSettings
from relayd.core.refusals import Refusal, RefusalCode
from relayd.protocol.head import Head, HeadReader
from relayd.protocol.proxy_protocol import UNIX, ProxyHeader
from relayd.session.client_address import HOPS_MAX, client_address, proxy_header_due

PROXY = "10.0.0.1"
CLIENT = "203.0.113.9"
SERVER = ServerSettings(trusted_proxies=(parse_network("10.0.0.0/8"), parse_network("fd00::/8")))
UNIX_TRUSTED = ServerSettings(trusted_proxies=("unix",))
NOT_SAID = ProxyHeader(None)


def head(*lines: str) -> Head:
    text = "".join(f"{line}\r\n" for line in ("GET / HTTP/1.1", "Host: relayd.test", *lines))
    read = HeadReader(1 << 20).feed(f"{text}\r\n".encode("latin-1"))
    assert read is not None
    return read


def forwarded(*values: str) -> Head:
    return head(*(f"X-Forwarded-For: {value}" for value in values))


# -- whom is believed


@pytest.mark.parametrize(
    ("socket_address", "server", "expected"),
    [
        (PROXY, SERVER, CLIENT),
        (f"::ffff:{PROXY}", SERVER, CLIENT),
        ("fd00::1", SERVER, CLIENT),
        ("192.0.2.1", SERVER, "192.0.2.1"),
        ("::ffff:192.0.2.1", SERVER, "192.0.2.1"),
        (PROXY, ServerSettings(), PROXY),
        ("unix", SERVER, "unix"),
        ("unix", UNIX_TRUSTED, CLIENT),
        (PROXY, UNIX_TRUSTED, PROXY),
    ],
)
@pytest.mark.parametrize("header", ["x-forwarded-for", "x-real-ip", "cf-connecting-ip"])
def test_only_a_trusted_peer_may_name_the_client(
    socket_address: str, server: ServerSettings, expected: str, header: str
) -> None:
    settings = attrs.evolve(server, client_address_header=header)  # type: ignore[arg-type]  # one of its words

    assert client_address(socket_address, head(f"{header}: {CLIENT}"), settings) == expected


def test_without_the_header_the_peer_is_the_client() -> None:
    assert client_address(PROXY, head(f"X-Real-IP: {CLIENT}"), SERVER) == PROXY
    assert client_address("::ffff:10.0.0.1", head(), SERVER) == PROXY


@pytest.mark.parametrize(
    ("proxied", "expected"),
    [
        (ProxyHeader("192.0.2.7"), "192.0.2.7"),
        (ProxyHeader("10.0.0.9"), CLIENT),
        (ProxyHeader(UNIX), "unix"),
        (NOT_SAID, PROXY),
    ],
)
def test_behind_a_proxy_header_the_address_in_it_has_to_be_trusted(
    proxied: ProxyHeader, expected: str
) -> None:
    assert client_address(PROXY, forwarded(CLIENT), SERVER, proxied) == expected


def test_a_proxy_s_own_unix_clients_are_not_relayd_s() -> None:
    """To trust what connects to relayd's socket is not to trust what connects to the proxy's."""
    assert client_address("unix", forwarded(CLIENT), UNIX_TRUSTED, ProxyHeader(UNIX)) == "unix"
    assert client_address("unix", forwarded(CLIENT), UNIX_TRUSTED, NOT_SAID) == "unix"


def test_the_word_for_a_unix_socket_is_the_same_everywhere() -> None:
    assert UNIX == UNIX_PEER


# -- x-forwarded-for


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([CLIENT], CLIENT),
        ([f"{CLIENT}, 10.9.9.9"], CLIENT),
        ([f"1.1.1.1, {CLIENT},10.9.9.9 ,\tfd00::2"], CLIENT),
        (["1.1.1.1", f"{CLIENT}, 10.9.9.9"], CLIENT),
        ([CLIENT, "10.9.9.9"], CLIENT),
        (["10.9.9.9, 10.8.8.8"], "10.9.9.9"),
        ([f"{CLIENT}:4711"], CLIENT),
        (["[2001:db8::1]:4711"], "2001:db8::1"),
        (["[2001:DB8::1]"], "2001:db8::1"),
        (["2001:db8:0::1"], "2001:db8::1"),
        (["::ffff:203.0.113.9"], CLIENT),
        (["1.1.1.1, ::ffff:10.9.9.9"], "1.1.1.1"),
        # What is no address ends the walk at the last that was one.
        (["unknown"], PROXY),
        ([f"{CLIENT}, unknown, 10.9.9.9"], "10.9.9.9"),
        ([f"{CLIENT}, , 10.9.9.9"], "10.9.9.9"),
        ([f"{CLIENT},"], PROXY),
        ([""], PROXY),
        ([f"{CLIENT}, 10.9.9.9;proto=https"], PROXY),
        (["203.0.113.09"], PROXY),
        (["203.0.113"], PROXY),
        (["3405803785"], PROXY),
        (["0xcb.0.113.9"], PROXY),
        (["203.0.113.9:"], PROXY),
        (["203.0.113.9:123456"], PROXY),
        (["[203.0.113.9]"], PROXY),
        (["[2001:db8::1"], PROXY),
        (["fe80::1%eth0"], PROXY),
        (["203.0.113.9\xa0"], PROXY),
        (["unix"], PROXY),
        (["10.0.0.0/8"], PROXY),
        (["1" * 65], PROXY),
    ],
)
def test_the_last_address_that_is_no_proxy_is_the_client(values: list[str], expected: str) -> None:
    assert client_address(PROXY, forwarded(*values), SERVER) == expected


def test_no_more_than_so_many_hops_are_looked_at() -> None:
    hops = [f"10.1.0.{hop}" for hop in range(HOPS_MAX)]

    assert client_address(PROXY, forwarded(", ".join([CLIENT, *hops[1:]])), SERVER) == CLIENT
    assert client_address(PROXY, forwarded(", ".join([CLIENT, *hops])), SERVER) == hops[0]


ADDRESSES = st.ip_addresses().map(str)


@given(st.lists(st.one_of(ADDRESSES, st.text("0123456789abf.:[], %x", max_size=20)), max_size=8))
def test_what_a_client_writes_never_goes_before_what_its_proxy_adds(entries: list[str]) -> None:
    value = ", ".join([*entries, CLIENT, "10.9.9.9"])

    assert client_address(PROXY, forwarded(value), SERVER) == CLIENT


@given(
    st.text(
        st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"),
        max_size=80,
    )
)
def test_whatever_a_proxy_sends_there_is_an_address(text: str) -> None:
    for header in ("X-Forwarded-For", "X-Real-IP"):
        settings = attrs.evolve(SERVER, client_address_header=header.lower())  # type: ignore[arg-type]  # as above
        ipaddress.ip_address(client_address(PROXY, head(f"{header}: {text}"), settings))


# -- headers with one address


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([f"X-Real-IP: {CLIENT}"], CLIENT),
        (["X-Real-IP: [2001:db8::1]:5"], "2001:db8::1"),
        (["X-Real-IP: 10.9.9.9"], "10.9.9.9"),
        ([f"X-Real-IP: {CLIENT}, 10.9.9.9"], PROXY),
        ([f"X-Real-IP: {CLIENT}", f"X-Real-IP: {CLIENT}"], PROXY),
        (["X-Real-IP: unknown"], PROXY),
        (["X-Real-IP:"], PROXY),
        ([f"X-Forwarded-For: {CLIENT}"], PROXY),
    ],
)
def test_a_header_with_one_address_holds_one_or_is_ignored(lines: list[str], expected: str) -> None:
    server = attrs.evolve(SERVER, client_address_header="x-real-ip")

    assert client_address(PROXY, head(*lines), server) == expected


# -- who has to speak the PROXY protocol


@pytest.mark.parametrize("address", [PROXY, f"::ffff:{PROXY}", "fd00::1", "unix"])
def test_a_proxy_begins_with_the_header_where_it_is_configured(address: str) -> None:
    assert proxy_header_due(address, attrs.evolve(SERVER, proxy_protocol=True)) is True
    assert proxy_header_due(address, SERVER) is False


@pytest.mark.parametrize("address", ["192.0.2.1", "::1", "::ffff:192.0.2.1", ""])
def test_nobody_else_gets_to_send_it(address: str) -> None:
    refusal = proxy_header_due(address, attrs.evolve(SERVER, proxy_protocol=True))

    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.status) == (RefusalCode.ADDRESS_NOT_ALLOWED, 403)


def test_unix_peers_speak_it_without_being_named() -> None:
    server = ServerSettings(listen=("unix:a",), proxy_protocol=True)

    assert proxy_header_due("unix", server) is True
