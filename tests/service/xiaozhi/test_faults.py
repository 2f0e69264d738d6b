"""Refusals in the words of the protocol."""

from __future__ import annotations

import json

import pytest

from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.xiaozhi_ota import REQUEST_ERROR
from relayd.service.http.refusals import HttpFault, body_too_large, refused_response
from relayd.service.xiaozhi import faults


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(RefusalCode.OVERLOAD, "too much", retry_after_s=1.0, headers=(("X-A", "b"),)),
        body_too_large(5),
    ],
)
def test_a_refusal_keeps_all_but_its_shape(refusal: Refusal | HttpFault) -> None:
    fault = faults.ota_fault(refusal)

    made, before = refused_response(fault), refused_response(refusal)
    assert (made.status, made.headers) == (before.status, before.headers)
    assert fault.code == str(refusal.code)
    assert json.loads(made.content()) == {"success": False, "message": refusal.message}


def test_an_unknown_device_hears_a_server_s_own_bytes() -> None:
    response = refused_response(faults.UNIDENTIFIED)

    assert (response.status, response.content()) == (200, REQUEST_ERROR)
