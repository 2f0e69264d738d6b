"""The PROXY protocol: what HAProxy and its kin send, and what nobody may send."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.protocol.proxy_protocol import (
    UNIX,
    V1_MAX_BYTES,
    V2_MAX_BYTES,
    ProxyHeader,
    ProxyHeaderReader,
    ProxyProtocolError,
)

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
V4 = ipaddress.IPv4Address("192.0.2.7").packed + bytes([10, 0, 0, 1]) + struct.pack("!HH", 1, 2)
V6 = ipaddress.IPv6Address("2001:db8::7").packed + bytes(16) + struct.pack("!HH", 1, 2)
UNIX_PATHS = b"/run/client".ljust(108, b"\0") + b"/run/proxy".ljust(108, b"\0")
REQUEST = b"GET / HTTP/1.1\r\n\r\n"


def v2(command: int, family: int, block: bytes, *, length: int | None = None) -> bytes:
    size = len(block) if length is None else length
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", size) + block


def read(data: bytes) -> tuple[str | None, bytes]:
    """The address in a header, and what follows it."""
    reader = ProxyHeaderReader()
    header = reader.feed(data)
    assert header is not None
    return header.address, reader.leftover


def outcome(data: bytes, chunk_bytes: int) -> tuple[ProxyHeader, bytes] | str | None:
    """A header with what follows, why there is none, or ``None`` if it is incomplete."""
    reader = ProxyHeaderReader()
    for start in range(0, len(data), chunk_bytes):
        try:
            header = reader.feed(data[start : start + chunk_bytes])
        except ProxyProtocolError as error:
            return str(error)
        if header is not None:
            return header, reader.leftover + data[start + chunk_bytes :]
    return None


GOOD = [
    (b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n", "192.0.2.7"),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255"),
    (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0"),
    (b"PROXY TCP6 2001:DB8::7 ::1 56324 443\r\n", "2001:db8::7"),
    (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", "192.0.2.7"),
    (
        b"PROXY TCP6 " + b" ".join([b":".join([b"ffff"] * 8)] * 2) + b" 65535 65535\r\n",
        ":".join(["ffff"] * 8),
    ),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN \r\n", None),
    (b"PROXY UNKNOWN any thing 192.0.2.7\r\n", None),
    (b"PROXY UNKNOWN " + b"f" * (V1_MAX_BYTES - 16) + b"\r\n", None),
    (v2(PROXY, 0x11, V4), "192.0.2.7"),
    (v2(PROXY, 0x12, V4), "192.0.2.7"),
    (v2(PROXY, 0x21, V6), "2001:db8::7"),
    (v2(PROXY, 0x22, V6), "2001:db8::7"),
    (v2(PROXY, 0x21, bytes(10) + b"\xff\xff" + V4[:4] + V6[16:]), "192.0.2.7"),
    (v2(PROXY, 0x31, UNIX_PATHS), UNIX),
    (v2(PROXY, 0x32, UNIX_PATHS), UNIX),
    (v2(PROXY, 0x11, V4 + b"\x03\x00\x04abcd" + b"\x05\x00\x02id"), "192.0.2.7"),
    (v2(PROXY, 0x11, V4 + b"no TLVs at all"), "192.0.2.7"),
    (v2(PROXY, 0x21, V6 + bytes(V2_MAX_BYTES - 16 - len(V6))), "2001:db8::7"),
    (v2(PROXY, 0x00, b""), None),
    (v2(PROXY, 0x00, V4), None),
    (v2(PROXY, 0x01, b""), None),
    (v2(PROXY, 0x10, V4), None),
    (v2(LOCAL, 0x00, b""), None),
    (v2(LOCAL, 0x11, V4), None),
    (v2(LOCAL, 0xFF, b"anything"), None),
]


@pytest.mark.parametrize(("header", "address"), GOOD)
@pytest.mark.parametrize("behind", [b"", REQUEST, SIGNATURE])
def test_a_header_is_read(header: bytes, address: str | None, behind: bytes) -> None:
    assert read(header + behind) == (address, behind)


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY  TCP4 192.0.2.7 10.0.0.1 1 2",
        b"PROXY TCP4  192.0.2.7 10.0.0.1 1 2",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2 ",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 1",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2 3",
        b"PROXY TCP4 192.0.2.7\t10.0.0.1 1 2",
        b"PROXY TCP4 192.0.2.07 10.0.0.1 1 2",
        b"PROXY TCP4 192.0.2 10.0.0.1 1 2",
        b"PROXY TCP4 3221225991 10.0.0.1 1 2",
        b"PROXY TCP4 0xc0.0.2.7 10.0.0.1 1 2",
        b"PROXY TCP4 192.0.2.256 10.0.0.1 1 2",
        b"PROXY TCP4 192.0.2.7 10.0.0.256 1 2",
        b"PROXY TCP4 ::1 ::1 1 2",
        b"PROXY TCP6 192.0.2.7 10.0.0.1 1 2",
        b"PROXY TCP6 fe80::1%1 ::1 1 2",
        b"PROXY TCP6 ::1::2 ::1 1 2",
        b"PROXY TCP6 00001:: ::1 1 2",
        b"PROXY TCP6 [::1] ::1 1 2",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 01 2",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 1 00",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 2",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 1 99999",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 -1 2",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 +1 2",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 \xd9\xa1 2",
        b"PROXY tcp4 192.0.2.7 10.0.0.1 1 2",
        b"PROXY TCP5 192.0.2.7 10.0.0.1 1 2",
        b"PROXY UDP4 192.0.2.7 10.0.0.1 1 2",
        b"PROXY UNKNOWNS",
        b"PROXY unknown",
        b"PROXY ",
        b"PROXY UNKNOWN \x00",
        b"PROXY UNKNOWN \rGET / HTTP/1.1",
        b"PROXY UNKNOWN\nGET / HTTP/1.1",
        b"PROXY UNKNOWN " + b"f" * V1_MAX_BYTES,
    ],
)
def test_a_line_that_is_not_as_version_1_has_it_is_refused(line: bytes) -> None:
    with pytest.raises(ProxyProtocolError) as caught:
        read(line + b"\r\n" + REQUEST)

    assert "192.0.2" not in str(caught.value)


@pytest.mark.parametrize(
    "header",
    [
        v2(0x11, 0x11, V4),
        v2(0x31, 0x11, V4),
        v2(0x22, 0x11, V4),
        v2(0x2F, 0x11, V4),
        v2(PROXY, 0x41, UNIX_PATHS),
        v2(PROXY, 0xF0, UNIX_PATHS),
        v2(PROXY, 0x13, V4),
        v2(PROXY, 0x0F, b""),
        v2(PROXY, 0x11, V4[:-1]),
        v2(PROXY, 0x11, b""),
        v2(PROXY, 0x21, V4),
        v2(PROXY, 0x31, V6),
        v2(PROXY, 0x11, V4, length=V2_MAX_BYTES - 15),
        v2(LOCAL, 0x00, b"", length=0xFFFF),
    ],
)
def test_a_block_that_is_not_as_version_2_has_it_is_refused_at_once(header: bytes) -> None:
    with pytest.raises(ProxyProtocolError):
        ProxyHeaderReader().feed(header[:16])


@pytest.mark.parametrize(
    "beginning",
    [
        b"G",
        b"PROXYING",
        b"PROXY\t",
        b"proxy ",
        b" PROXY ",
        b"\x16\x03\x01",
        b"\r\n\r\nG",
        SIGNATURE[:-1] + b"\r",
        b"PROXY UNKNOWN\n",
        b"PROXY UNKNOWN\rX",
        b"PROXY TCP4 " + b"1" * V1_MAX_BYTES,
    ],
)
def test_what_cannot_become_a_header_is_refused_without_waiting_for_more(beginning: bytes) -> None:
    with pytest.raises(ProxyProtocolError):
        ProxyHeaderReader().feed(beginning)


@pytest.mark.parametrize("header", [header for header, _ in GOOD])
def test_no_beginning_of_a_header_is_a_header_or_an_error(header: bytes) -> None:
    for end in range(len(header)):
        assert ProxyHeaderReader().feed(header[:end]) is None


@pytest.mark.parametrize("header", [header for header, _ in GOOD])
def test_receiving_what_is_wanted_takes_nothing_from_behind_the_header(header: bytes) -> None:
    stream, reader, got, steps = header + REQUEST, ProxyHeaderReader(), None, 0
    while got is None:
        wanted = reader.wanted
        assert wanted >= 1
        got = reader.feed(stream[:wanted])
        stream = stream[wanted:]
        steps += 1

    assert reader.leftover == b""
    assert stream == REQUEST
    assert steps <= V1_MAX_BYTES // 2


PIECES = st.sampled_from(
    [
        *(b"PROXY ", b"TCP4 ", b"TCP6 ", b"UNKNOWN", b" ", b"192.0.2.7 ", b"::1 ", b"1 ", b"65535"),
        *(b"\r\n", b"\r", b"\n", SIGNATURE, b"\x20\x00", b"\x21\x11", b"\x21\x21", b"\x00\x0c"),
        *(b"\x00\x24", b"\x00\x00", b"\xff\xff", V4, V6, b"GET / HTTP/1.1", b"f" * 60),
    ]
)
STREAMS = st.one_of(
    st.binary(max_size=200),
    st.lists(PIECES, max_size=12).map(b"".join),
    st.sampled_from([header for header, _ in GOOD]).flatmap(
        lambda header: (
            st.tuples(st.integers(0, len(header) - 1), st.binary(min_size=1, max_size=1))
            .map(lambda change: header[: change[0]] + change[1] + header[change[0] + 1 :])
            .map(lambda changed: changed + REQUEST)
        )
    ),
)


@given(STREAMS, st.integers(1, 40))
def test_how_the_bytes_are_cut_changes_nothing(data: bytes, chunk_bytes: int) -> None:
    whole = outcome(data, max(1, len(data)))
    cut = outcome(data, chunk_bytes)

    if isinstance(whole, str):
        assert isinstance(cut, str)  # which of two faults is met first may depend on it
    else:
        assert cut == whole


@given(st.ip_addresses(), st.ip_addresses(), st.integers(0, 65535), st.integers(0, 65535))
def test_every_address_is_read_back_in_either_version(
    source: ipaddress.IPv4Address | ipaddress.IPv6Address,
    destination: ipaddress.IPv4Address | ipaddress.IPv6Address,
    source_port: int,
    destination_port: int,
) -> None:
    destination = type(source)(int(destination) % 2**source.max_prefixlen)
    line = f"PROXY TCP{source.version} {source} {destination} {source_port} {destination_port}\r\n"
    ports = struct.pack("!HH", source_port, destination_port)
    family = 0x11 if source.version == 4 else 0x21
    mapped = source.ipv4_mapped if isinstance(source, ipaddress.IPv6Address) else None

    assert read(line.encode()) == (str(mapped or source), b"")
    block = source.packed + destination.packed + ports
    assert read(v2(PROXY, family, block)) == (str(mapped or source), b"")
