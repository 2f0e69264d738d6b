"""The PROXY protocol, versions 1 and 2: how a proxy names the client ahead of its first byte.

After HAProxy's proxy-protocol.txt of 2020-03-05. It is read only where it was agreed on, and
then it has to be there: what begins in another way is refused, and so is whatever the document
does not allow. Whose word is believed is not decided here.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

import attrs

V1_MAX_BYTES: Final = 107
"""Section 2.1: the longest line of version 1, its CRLF included."""

V2_MAX_BYTES: Final = 4096
"""The longest header of version 2, of relayd's own choice; the format could say 65,551.

Addresses take at most 216 bytes. The rest is for additions (TLVs), of which a client's certificate
in PP2_TYPE_SSL is the longest; they are read and dropped, a checksum too.
"""

UNIX: Final = "unix"
"""The address of a client that reached its proxy over a Unix socket."""

_V1_START: Final = b"PROXY "
_V1_MIN_BYTES: Final = len(b"PROXY UNKNOWN\r\n")
_V2_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_V2_FIXED_BYTES: Final = 16

_V1_BEGINNING: Final = re.compile(rb"[ -~]{0,%d}\r?" % (V1_MAX_BYTES - 2))
_V1_LINE: Final = re.compile(
    rb"PROXY (?:UNKNOWN(?: [ -~]*)?|TCP(?P<version>[46])"
    rb" (?P<source>[0-9A-Fa-f.:]+) (?P<destination>[0-9A-Fa-f.:]+)"
    rb" (?P<source_port>0|[1-9][0-9]{0,4}) (?P<destination_port>0|[1-9][0-9]{0,4}))"
)
_PORT_MAX: Final = 65_535

_LOCAL, _PROXY = 0x20, 0x21  # version and command
_INET, _INET6, _UNIX = 1, 2, 3  # families
_ADDRESS_BYTES: Final = {_INET: 2 * 4 + 2 * 2, _INET6: 2 * 16 + 2 * 2, _UNIX: 2 * 108}
_UNSPECIFIED, _DATAGRAM = 0, 2  # the least and the greatest transport; between them: streams


class ProxyProtocolError(Exception):
    """These bytes are no header that relayd takes. The text never quotes them."""


@attrs.frozen
class ProxyHeader:
    """What a proxy says about a connection.

    Attributes:
        address: The client's IP address, IPv4 where it is IPv4-mapped, or :data:`UNIX`. ``None``:
            the proxy does not say (it checks relayd's health, or does not know), and the socket's
            own address counts.
    """

    address: str | None


class ProxyHeaderReader:
    """Reads one header from bytes that come in any chunks."""

    __slots__ = ("_buffer", "leftover")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.leftover = b""
        """What followed the header, once it is complete."""

    @property
    def wanted(self) -> int:
        """How many bytes may be received next without taking any from behind the header.

        At least 1. TLS reads from the socket itself, so nothing may be taken from it.
        """
        have = len(self._buffer)
        if have < _V1_MIN_BYTES:
            return _V1_MIN_BYTES - have
        if self._buffer.startswith(_V1_START):
            return 1 if self._buffer.endswith(b"\r") else 2
        if have < _V2_FIXED_BYTES:
            return _V2_FIXED_BYTES - have
        return self._v2_bytes() - have

    def feed(self, data: bytes) -> ProxyHeader | None:
        """The header, or ``None`` while it is incomplete. Not to be called again after either end.

        What is refused does not depend on how the bytes were cut into chunks.

        Raises:
            ProxyProtocolError: These bytes can no longer become a header.
        """
        buffer = self._buffer
        buffer += data
        if _V2_SIGNATURE.startswith(buffer[: len(_V2_SIGNATURE)]):
            return self._feed_v2()
        if _V1_START.startswith(buffer[: len(_V1_START)]):
            return self._feed_v1()
        raise ProxyProtocolError("the connection does not begin with a PROXY protocol header")

    def _feed_v1(self) -> ProxyHeader | None:
        buffer = self._buffer
        end = buffer.find(b"\r\n", 0, V1_MAX_BYTES)
        if end < 0:
            if _V1_BEGINNING.fullmatch(buffer) is None:
                raise ProxyProtocolError("the PROXY line is too long, or no text up to its CRLF")
            return None
        line = bytes(buffer[:end])
        self._finish(end + 2)
        return ProxyHeader(_address_of_line(line))

    def _feed_v2(self) -> ProxyHeader | None:
        buffer = self._buffer
        if len(buffer) < _V2_FIXED_BYTES:
            return None
        command, family, transport = buffer[12], buffer[13] >> 4, buffer[13] & 0xF
        if command not in {_LOCAL, _PROXY}:
            raise ProxyProtocolError("the PROXY header has an unknown version or command")
        total = self._v2_bytes()
        if total > V2_MAX_BYTES:
            raise ProxyProtocolError(f"the PROXY header is longer than {V2_MAX_BYTES} bytes")
        # LOCAL may come with any family: it is to be ignored.
        if command == _PROXY and (family > _UNIX or transport > _DATAGRAM):
            raise ProxyProtocolError("the PROXY header has an unknown family or transport")
        is_named = command == _PROXY and _UNSPECIFIED not in {family, transport}
        if is_named and total < _V2_FIXED_BYTES + _ADDRESS_BYTES[family]:
            raise ProxyProtocolError("the PROXY header is too short for its addresses")
        if len(buffer) < total:
            return None
        header = bytes(buffer[:total])
        self._finish(total)
        return ProxyHeader(_address_of_block(family, header) if is_named else None)

    def _v2_bytes(self) -> int:
        return _V2_FIXED_BYTES + int.from_bytes(self._buffer[14:_V2_FIXED_BYTES])

    def _finish(self, end: int) -> None:
        self.leftover = bytes(self._buffer[end:])
        self._buffer.clear()


def _address_of_line(line: bytes) -> str | None:
    parts = _V1_LINE.fullmatch(line)
    if parts is None:
        raise ProxyProtocolError("the PROXY line is not as version 1 has it")
    if parts["version"] is None:
        return None
    if max(int(parts["source_port"]), int(parts["destination_port"])) > _PORT_MAX:
        raise ProxyProtocolError("a port in the PROXY line is above 65535")
    read = ipaddress.IPv4Address if parts["version"] == b"4" else ipaddress.IPv6Address
    try:
        read(parts["destination"].decode())
        return _plain(read(parts["source"].decode()))
    except ValueError:
        pass  # its text quotes the address
    raise ProxyProtocolError("an address in the PROXY line is none of its family")


def _address_of_block(family: int, header: bytes) -> str:
    if family == _INET:
        return str(ipaddress.IPv4Address(header[16:20]))
    if family == _INET6:
        return _plain(ipaddress.IPv6Address(header[16:32]))
    return UNIX


def _plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
