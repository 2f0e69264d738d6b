"""What a request about a device may say."""

from __future__ import annotations

import pytest

from relayd.service.admin.device_requests import BODY_MAX_BYTES
from tests.service.admin.stage import Stage, error_of

ALERT = "/admin/v1/devices/alert"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"canary",
        b'{"message":"canary","more":1}',
        b'{"message":5}',
        b'{"message":""}',
        b'{"message":"%b"}' % (b"x" * 513),
        b'{"message":"a","status":"%b"}' % (b"x" * 65),
        b'{"message":"a","emotion":null}',
        b'{"message":' + b"[" * 5000,
    ],
)
async def test_a_body_that_is_another_is_refused_without_being_repeated(
    stage: Stage, body: bytes
) -> None:
    async with stage.client() as client:
        reply = await client.ask("POST", ALERT, body)

    error = error_of(reply)
    assert (reply.status, error["code"], error["param"]) == (400, "invalid_parameter", "body")
    assert "canary" not in reply.body.decode()


async def test_a_long_body_is_not_read(stage: Stage) -> None:
    async with stage.client() as client:
        reply = await client.ask("POST", ALERT, b"x" * (BODY_MAX_BYTES + 1))

    assert reply.status == 413


async def test_a_parameter_that_is_not_known_is_refused(stage: Stage) -> None:
    assert stage.desk is not None
    device = stage.desk.device()
    async with stage.client() as client:
        reply = await client.ask("POST", f"/admin/v1/devices/{device.presence.device_id}/kick?x=1")

    assert (reply.status, device.said) == (400, [])
