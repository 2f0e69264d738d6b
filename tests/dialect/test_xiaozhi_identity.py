"""Who a device may say that it is."""

from __future__ import annotations

import pytest

from relayd.dialect.xiaozhi_identity import BadIdentity, Identity, read_identity, read_version

MAC = "aa:bb:cc:dd:ee:01"


def test_a_mac_address_has_one_spelling() -> None:
    assert read_identity(MAC.upper(), "C-1") == Identity(MAC, "C-1")
    assert read_identity("Web_Test-Device", None) == Identity("Web_Test-Device", "")


@pytest.mark.parametrize("device_id", [None, "", "a b", "-a", "a|b", "a/b", "ü", "a" * 129, "a\n"])
def test_what_is_no_id_is_refused_unsaid(device_id: str | None) -> None:
    with pytest.raises(BadIdentity) as caught:
        read_identity(device_id, "c1")
    assert not device_id or device_id not in str(caught.value)


def test_a_clients_id_is_checked_like_a_devices() -> None:
    assert read_identity("a" * 128, "b" * 128).client_id == "b" * 128
    with pytest.raises(BadIdentity):
        read_identity(MAC, "a|b")
    with pytest.raises(BadIdentity):
        read_identity(MAC, None, client_required=True)


@pytest.mark.parametrize(
    ("header", "version"), [("1", 1), ("2", 2), ("3", 3), (None, 1), ("4", 1), ("2,3", 1), ("", 1)]
)
def test_the_framing_is_what_the_header_says(header: str | None, version: int) -> None:
    assert read_version(header) == version
