"""How a request is turned away."""

from __future__ import annotations

import json

import pytest

from relayd.core.refusals import Refusal, RefusalCode
from relayd.service.http.refusals import (
    BODY_TIMEOUT,
    EXPECTATION_FAILED,
    HttpFault,
    HttpRefused,
    body_too_large,
    refused_response,
)


@pytest.mark.parametrize(
    ("fault", "status", "code", "param"),
    [
        (BODY_TIMEOUT, 408, "body_timeout", None),
        (EXPECTATION_FAILED, 417, "expectation_failed", "expect"),
        (body_too_large(7), 413, "body_too_large", None),
    ],
)
def test_a_fault_has_the_shape_of_openais_errors(
    fault: HttpFault, status: int, code: str, param: str | None
) -> None:
    response = refused_response(fault)

    assert response.status == status
    assert json.loads(response.content())["error"] == {
        "message": fault.message,
        "type": "invalid_request_error",
        "param": param,
        "code": code,
    }


def test_a_refusal_becomes_its_own_response() -> None:
    refusal = Refusal(RefusalCode.METHOD_NOT_ALLOWED, "No.", headers=(("Allow", "GET"),))

    response = refused_response(refusal)

    assert (response.status, response.headers) == (405, (("Allow", "GET"),))
    assert response.content() == refusal.body()


@pytest.mark.parametrize(("seconds", "told"), [(0.0, "0"), (0.2, "1"), (7.0, "7"), (-1.0, "0")])
def test_when_to_come_back_is_told_in_whole_seconds(seconds: float, told: str) -> None:
    refusal = Refusal(RefusalCode.OVERLOAD, "Later.", retry_after_s=seconds)

    assert refused_response(refusal).headers == (("Retry-After", told),)


def test_the_limit_is_named() -> None:
    assert "1000 bytes" in body_too_large(1000).message


def test_what_is_raised_shows_the_code_alone() -> None:
    assert str(HttpRefused(Refusal(RefusalCode.NOT_FOUND, "canary"))) == "not_found"
