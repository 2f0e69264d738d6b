"""Addresses and networks that clients may come from."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.config.files import Surroundings
from relayd.config.mistakes import Wrong
from relayd.config.networks import NETWORKS, is_within, parse_network


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("::1", "::1/128"),
        ("::/0", "::/0"),
        ("::ffff:0:0/95", None),
    ],
)
def test_an_address_is_the_network_of_itself(text: str, network: str | None) -> None:
    if network is None:
        with pytest.raises(ValueError, match="bits beyond"):
            parse_network(text)
    else:
        assert str(parse_network(text)) == network


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("", "expected an address"),
        ("localhost", "expected an address"),
        ("10.0.0.0/8 ", "expected an address"),
        ("10.0.0.0/33", "expected an address"),
        ("10.0.0.0/255.0.0.0", "expected an address"),
        ("10.0.0.0/", "expected an address"),
        ("010.0.0.1", "expected an address"),
        ("10.0.0", "expected an address"),
        ("fe80::1%eth0", "expected an address"),
        ("1" * 10_000, "expected an address"),
        ("10.1.2.3/8", "write 10.0.0.0/8 for the whole network, or 10.1.2.3"),
        ("2001:db8::1/32", "write 2001:db8::/32 for the whole network"),
        ("::ffff:10.0.0.0/104", "write 10.0.0.0/8"),
        ("::ffff:192.0.2.7", "write 192.0.2.7/32"),
    ],
)
def test_what_is_none_is_refused_with_the_remedy(text: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        parse_network(text)


def test_a_list_of_networks_reports_each_of_its_items() -> None:
    around = Surroundings(environ={}, directory=Path("/nonexistent"))

    with pytest.raises(Wrong) as caught:
        NETWORKS.read(["::1", "x", 3], around)

    assert [mistake.path for mistake in caught.value.mistakes] == ["[1]", "[2]"]


NETWORK_LIST = tuple(map(parse_network, ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "fe80::/64"]))


@pytest.mark.parametrize(
    ("address", "within"),
    [
        ("10.255.0.1", True),
        ("11.0.0.0", False),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("::ffff:10.0.0.1", True),
        ("::ffff:192.0.2.8", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("fe80::1%eth0", True),
        ("unix", False),
        ("", False),
    ],
)
def test_an_address_is_within_or_not(address: str, within: bool) -> None:
    assert is_within(address, NETWORK_LIST) is within


def test_a_mapped_address_is_no_ipv6_address() -> None:
    assert not is_within("::ffff:10.0.0.1", [parse_network("::/0")])
    assert is_within("::ffff:10.0.0.1", [parse_network("0.0.0.0/0")])


@given(st.ip_addresses(), st.integers(0, 128))
def test_every_network_is_read_back(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, prefix: int
) -> None:
    length = min(prefix, address.max_prefixlen)
    network = ipaddress.ip_network(f"{address}/{length}", strict=False)
    mapped = ipaddress.IPv6Network("::ffff:0:0/96")
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(mapped):
        return  # those are to be written as IPv4

    assert parse_network(str(network)) == network
