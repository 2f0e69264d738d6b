"""Listening addresses."""

from __future__ import annotations

import pytest

from relayd.config.address import TcpAddress, UnixAddress, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8765", TcpAddress("127.0.0.1", 8765)),
        ("[::1]:8765", TcpAddress("::1", 8765)),
        ("localhost:0", TcpAddress("localhost", 0)),
        ("unix:/run/relayd.sock", UnixAddress("/run/relayd.sock")),
        ("unix:relayd.sock", UnixAddress("relayd.sock")),
    ],
)
def test_an_address_is_read_and_written_alike(text: str, address: TcpAddress | UnixAddress) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text", ["", "8765", ":8765", "*:8765", "a", "a:", "a:-1", "a:65536", "::1:8765", "http://a:1"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"host|port"):
        parse_address(text)


@pytest.mark.parametrize("path", ["", "a\0b", "a\nb", "\udc80", "ä" * 54])
def test_a_path_that_no_socket_can_have_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"path"):
        parse_address(f"unix:{path}")


def test_a_path_may_be_as_long_as_the_system_allows() -> None:
    assert parse_address("unix:" + "a" * 107) == UnixAddress("a" * 107)
