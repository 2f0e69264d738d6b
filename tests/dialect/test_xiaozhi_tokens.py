"""Tokens of devices: what they are bound to, and the server's own byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayd.dialect.xiaozhi_identity import Identity
from relayd.dialect.xiaozhi_tokens import (
    TokenVerdict,
    bearer,
    check_device_token,
    device_token,
    is_device_token,
    server_token,
)

SECRET = "s" * 32
DEVICE = Identity("aa:bb:cc:dd:ee:01", "c1")
EXPIRES_AT = 1_795_190_400


def verdict(
    token: str,
    *,
    secret: str = SECRET,
    identity: Identity = DEVICE,
    tenant: str = "acme",
    wall: float = EXPIRES_AT - 1,
) -> TokenVerdict:
    return check_device_token(token, secret, identity, tenant=tenant, wall=wall)


def token() -> str:
    return device_token(SECRET, DEVICE, tenant="acme", expires_at=EXPIRES_AT)


def test_a_server_is_given_the_token_that_it_would_have_made() -> None:
    device = Identity("aa:bb:cc:dd:ee:09", "c9")
    assert (
        server_token("Secret9988Zz", device, wall=1_795_190_400.9)
        == "Y_ehVsWcYh618Lu71Dp3zBgB9QX5fhw8mHjyNtjBChI.1795190400"
    )


def test_a_token_is_good_for_its_device_until_its_time() -> None:
    assert is_device_token(token())
    assert verdict(token()) is TokenVerdict.GOOD
    assert verdict(token(), wall=EXPIRES_AT) is TokenVerdict.EXPIRED


def test_a_token_is_wrong_for_anybody_else() -> None:
    others = [Identity("aa:bb:cc:dd:ee:02", "c1"), Identity(DEVICE.device_id, "c2")]
    assert [verdict(token(), identity=other) for other in others] == [TokenVerdict.WRONG] * 2
    assert verdict(token(), tenant="other") is TokenVerdict.WRONG
    assert verdict(token(), secret="t" * 32) is TokenVerdict.WRONG


def test_an_expiry_cannot_be_moved() -> None:
    moved = token().replace(str(EXPIRES_AT), str(EXPIRES_AT + 1))
    assert verdict(moved, wall=0) is TokenVerdict.WRONG


def test_fields_cannot_be_shifted_into_one_another() -> None:
    made = device_token(SECRET, Identity("d", "c"), tenant="1|t", expires_at=5)
    shifted = made.replace("v1.5.", "v1.1.")
    assert verdict(shifted, identity=Identity("d", "c"), tenant="t", wall=0) is TokenVerdict.WRONG


@given(st.text(max_size=80))
def test_no_text_is_a_token(text: str) -> None:
    assert verdict(text) is TokenVerdict.WRONG


@given(st.integers(0, len(token()) - 1), st.characters(codec="ascii"))
def test_no_character_of_a_token_may_be_another(place: int, other: str) -> None:
    good = token()
    changed = good[:place] + other + good[place + 1 :]
    assert (verdict(changed, wall=0) is TokenVerdict.GOOD) == (changed == good)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc", "abc"),
        ("Bearer", None),
        ("abc", None),
        ("Bearer a b", None),
        ("Bearer a\r\nX: b", None),
    ],
)
def test_a_token_is_read_from_its_header(value: str, found: str | None) -> None:
    assert bearer(value) == found
