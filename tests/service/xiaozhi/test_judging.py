"""Which answers are of use."""

from __future__ import annotations

import json

import attrs
import pytest

from relayd.service.xiaozhi.asking import Answered
from relayd.service.xiaozhi.judging import passed_on, told
from relayd.session.attempts import AttemptFailed
from tests.service.xiaozhi.stage import HANDED_OUT, SOCKET_URL, server

ACCOUNT = server("kitchen")


def firmware_at(url: str) -> Answered:
    said = HANDED_OUT | {"firmware": {"version": "2", "url": url}}
    return Answered(200, "application/json", json.dumps(said).encode())


@pytest.mark.parametrize(
    ("url", "allow_private", "stays"),
    [
        ("https://files.test/2.bin", False, True),
        ("http://10.0.0.5/2.bin", False, False),
        ("http://localhost/2.bin", False, False),
        ("http://10.0.0.5/2.bin", True, True),
        ("http://kitchen.test/2.bin", False, True),
        ("ftp://files.test/2.bin", False, False),
    ],
)
def test_a_private_place_is_named_where_the_account_allows_it(
    url: str, allow_private: bool, stays: bool
) -> None:
    account = attrs.evolve(ACCOUNT, allow_private=allow_private)

    rewritten = told(account, firmware_at(url), url=SOCKET_URL, token="t")

    firmware = json.loads(rewritten.body)["firmware"]
    assert firmware == ({"version": "2", "url": url} if stays else {"version": "2"})
    assert rewritten.taken_out == (() if stays else ("firmware.url",))


@pytest.mark.parametrize("status", [100, 199, 301, 304, 500, 503, 599])
def test_an_activation_is_heard_where_it_is_about_the_device(status: int) -> None:
    with pytest.raises(AttemptFailed) as caught:
        passed_on(ACCOUNT, Answered(status, "application/json", b""))

    assert str(status) in caught.value.failure.message
    assert caught.value.failure.code == f"http_{status}"
