"""Tokens as xiaozhi-esp32-server signs them."""

from __future__ import annotations

import pytest

from relayd.sim.xiaozhi.tokens import VALID_S, is_good, sign

KEY, CLIENT, DEVICE, AT = "Secret9988Zz", "c9", "aa:bb:cc:dd:ee:09", 1795190400
TOKEN = "Y_ehVsWcYh618Lu71Dp3zBgB9QX5fhw8mHjyNtjBChI.1795190400"


def test_the_vector_of_a_real_server() -> None:
    assert sign(KEY, CLIENT, DEVICE, AT) == TOKEN


def test_a_token_is_good_for_its_device_and_its_time() -> None:
    assert is_good(TOKEN, KEY, CLIENT, DEVICE, AT)
    assert is_good(TOKEN, KEY, CLIENT, DEVICE, AT + VALID_S)
    assert not is_good(TOKEN, KEY, CLIENT, DEVICE, AT + VALID_S + 1)


@pytest.mark.parametrize(
    ("token", "key", "client", "device"),
    [
        (TOKEN, "another", CLIENT, DEVICE),
        (TOKEN, KEY, "c8", DEVICE),
        (TOKEN, KEY, CLIENT, "aa:bb:cc:dd:ee:08"),
        (TOKEN.replace("1795190400", "1795190401"), KEY, CLIENT, DEVICE),
        (TOKEN.partition(".")[0], KEY, CLIENT, DEVICE),
        ("", KEY, CLIENT, DEVICE),
    ],
)
def test_any_other_is_not(token: str, key: str, client: str, device: str) -> None:
    assert not is_good(token, key, client, device, AT)
