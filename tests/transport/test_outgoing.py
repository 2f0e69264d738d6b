"""Where relayd may dial. Every way to write a private address that anybody has thought of."""

from __future__ import annotations

import contextlib
import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.transport.errors import DialErrorKind
from relayd.transport.outgoing import (
    AddressRefused,
    check_learned,
    check_resolved,
    special_kind,
)
from relayd.transport.resolve import Address

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "172.15.0.1",
    "172.32.0.1",
    "100.63.0.1",
    "100.128.0.1",
    "192.0.1.1",
]
PUBLIC_V6 = ["2606:4700::1111", "2a00:1450:4001:80b::200e", "2001:4860:4860::8888"]
PRIVATE = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200"),
    *("127.0.0.1", "127.255.255.254", "168.63.129.16", "169.254.169.254", "169.254.170.2"),
    *("172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1"),
    *(
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.250",
    ),
    *("240.0.0.1", "255.255.255.255"),
]
PRIVATE_V6 = [
    *("::", "::1", "::127.0.0.1", "::8.8.8.8", "fc00::1", "fd00:ec2::254", "fe80::1", "febf::1"),
    *("fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1", "2001:db8::1", "2001:2::1", "2001:10::1"),
    *("3fff::1", "100::1", "64:ff9b:1::1", "64:ff9a::1", "5f00::1", "4000::1", "ffff::"),
]


def obfuscated(address: str) -> str:
    """An IPv4 address as Teredo carries a client's: every bit turned round."""
    return str(ipaddress.IPv4Address(int(ipaddress.IPv4Address(address)) ^ 0xFFFFFFFF))


def halves(address: str) -> str:
    """An IPv4 address as two groups of an IPv6 one."""
    packed = ipaddress.IPv4Address(address).packed.hex()
    return f"{packed[:4]}:{packed[4:]}"


def carriers(address: str) -> list[str]:
    """IPv6 addresses that are ways to reach an IPv4 one."""
    return [
        f"::ffff:{address}",
        f"2002:{halves(address)}::1",
        f"64:ff9b::{address}",
        f"2001:0:{halves(address)}:0:0:{halves(obfuscated('8.8.8.8'))}",
        f"2001:0:{halves('8.8.8.8')}:0:0:{halves(obfuscated(address))}",
    ]


def resolved(*hosts: str) -> list[Address]:
    return [
        Address(socket.AF_INET6, (host, 443, 0, 0))
        if ":" in host
        else Address(socket.AF_INET, (host, 443))
        for host in hosts
    ]


def refused(host: str, *addresses: str) -> str:
    with pytest.raises(AddressRefused) as caught:
        check_resolved(host, resolved(*addresses), allow_private=False)
    assert caught.value.kind is DialErrorKind.ADDRESS_REFUSED
    return caught.value.message


# -- addresses


@pytest.mark.parametrize("address", [*PUBLIC, *PUBLIC_V6])
def test_a_public_address_is_public(address: str) -> None:
    assert special_kind(address) is None


@pytest.mark.parametrize("address", [*PRIVATE, *PRIVATE_V6])
def test_every_other_address_is_special(address: str) -> None:
    assert special_kind(address) is not None


@pytest.mark.parametrize("address", PUBLIC)
def test_what_carries_a_public_address_is_public(address: str) -> None:
    assert [special_kind(carrier) for carrier in carriers(address)] == [None] * 5


@pytest.mark.parametrize("address", PRIVATE)
def test_what_carries_a_special_address_is_special(address: str) -> None:
    assert [special_kind(carrier) for carrier in carriers(address)] == [special_kind(address)] * 5


@pytest.mark.parametrize("text", ["", "localhost", "2130706433", "0x7f.0.0.1", "127.1", "[::1]"])
def test_what_is_no_address_is_not_public(text: str) -> None:
    assert special_kind(text) == "no public"


@given(st.ip_addresses())
def test_what_python_calls_not_global_is_special(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """The table says at least as much as the standard library's, which differs by version."""
    if not address.is_global or address.is_multicast:
        carried = isinstance(address, ipaddress.IPv6Address) and (
            address.ipv4_mapped or address.sixtofour or address.teredo
        )
        assert carried or special_kind(str(address)) is not None


# -- names


def test_a_name_leads_to_its_public_addresses_only() -> None:
    addresses = resolved("10.0.0.1", "8.8.8.8", "fd00::1", "2606:4700::1111", "::ffff:127.0.0.1")

    allowed = check_resolved("a.test", addresses, allow_private=False)

    assert allowed == (addresses[1], addresses[3])


def test_a_name_that_leads_nowhere_else_is_refused_with_the_remedy() -> None:
    message = refused("a.test", "127.0.0.1", "10.0.0.1")

    assert message == (
        "a.test leads to a loopback address; if that is meant, set allow_private = true for its"
        " account"
    )
    assert "127.0.0.1" not in message, "a client may read it"


def test_a_name_may_lead_anywhere_if_that_is_allowed() -> None:
    addresses = resolved("10.0.0.1", "::1")

    assert check_resolved("a.test", addresses, allow_private=True) == tuple(addresses)


def test_localhost_is_the_operator_s_word_but_not_a_peer_s() -> None:
    addresses = resolved("::1", "127.0.0.1")

    assert check_resolved("localhost", addresses, allow_private=False) == tuple(addresses)
    with pytest.raises(AddressRefused):
        check_resolved("localhost", addresses, allow_private=False, is_learned=True)
    assert "a loopback" in refused("localhost.a.test", "127.0.0.1")
    assert "a loopback" in refused("a.localhost", "127.0.0.1")


# -- spellings


@st.composite
def spellings(draw: st.DrawFn) -> str:
    """A way to write a private IPv4 address that some program somewhere takes."""
    value = int(ipaddress.IPv4Address(draw(st.sampled_from(PRIVATE))))
    count = draw(st.integers(1, 4))  # of parts; the last takes all bits that are left
    sizes = [8] * (count - 1) + [8 * (5 - count)]
    parts = list[int]()
    for size in reversed(sizes):
        parts.insert(0, value & ((1 << size) - 1))
        value >>= size
    forms = st.sampled_from(["{}", "0x{:x}", "0X{:X}", "0x000{:x}", "0{:o}", "00{:o}"])
    return ".".join(draw(forms).format(part) for part in parts) + draw(st.sampled_from(["", "."]))


def understood(host: str) -> list[str]:
    """What the C library makes of ``host`` without asking anybody."""
    with contextlib.suppress(OSError, UnicodeError):
        found = socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        return [str(sockaddr[0]) for *_, sockaddr in found]
    return []


@given(spellings())
def test_no_spelling_of_a_private_address_slips_past(host: str) -> None:
    with pytest.raises(AddressRefused):
        check_learned(host, allow_private=False)
    for address in understood(host):
        assert refused(host, address)


def test_the_c_library_does_take_such_spellings() -> None:
    """Else the test above would show nothing."""
    for spelling in ("2130706433", "0x7f.1", "0177.0.0.1", "127.1", "0x7f000001"):
        assert understood(spelling) == ["127.0.0.1"]


@pytest.mark.parametrize(
    "host",
    [
        *PRIVATE,
        *PRIVATE_V6,
        *("localhost", "LOCALHOST", "localhost.", "a.localhost", "2130706433", "0x7f.1", "127.1"),
        *("0177.0.0.1", "127.0.0.1.", "a.test.0x7f", "::ffff:7f00:1", "0:0:0:0:0:0:0:1", "0x"),
    ],
)
def test_a_peer_may_not_name_it(host: str) -> None:
    with pytest.raises(AddressRefused):
        check_learned(host, allow_private=False)
    check_learned(host, allow_private=True)


@pytest.mark.parametrize("host", [*PUBLIC, *PUBLIC_V6, "api.example", "7f.example", "0x7f.example"])
def test_a_peer_may_name_what_is_public(host: str) -> None:
    check_learned(host, allow_private=False)


@given(st.text(max_size=40))
def test_any_text_that_a_peer_names_passes_or_is_refused(host: str) -> None:
    with contextlib.suppress(AddressRefused):
        check_learned(host, allow_private=False)
