"""Refusals: every code has a status, every body is OpenAI's shape."""

from __future__ import annotations

import json

import pytest

from relayd.core.endings import ENDINGS, Reason
from relayd.core.refusals import STATUS, Refusal, RefusalCode, error_body, error_type


def test_every_code_has_a_status() -> None:
    assert STATUS.keys() == set(RefusalCode)


@pytest.mark.parametrize("code", RefusalCode)
def test_a_refusals_body_is_openais_shape(code: RefusalCode) -> None:
    refusal = Refusal(code, "Cause. Remedy.", param="model")
    body = json.loads(refusal.body())

    assert body == {
        "error": {
            "message": "Cause. Remedy.",
            "type": error_type(refusal.status),
            "param": "model",
            "code": code.value,
        }
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (503, "server_error"),
    ],
)
def test_the_type_follows_from_the_status(status: int, kind: str) -> None:
    assert error_type(status) == kind


def test_a_body_without_param_says_null() -> None:
    assert json.loads(error_body("a", "b", "c"))["error"]["param"] is None


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.KEY_EXPIRED, RefusalCode.KEY_EXPIRED),
        (Reason.KEY_REMOVED, RefusalCode.INVALID_API_KEY),
        (Reason.UPSTREAM_REFUSED, RefusalCode.UPSTREAM_REFUSED),
        (Reason.FIRST_FRAME_TIMEOUT, RefusalCode.FIRST_FRAME_TIMEOUT),
    ],
)
def test_an_ending_is_told_with_the_type_of_the_refusal_for_the_same_cause(
    reason: Reason, code: RefusalCode
) -> None:
    assert ENDINGS[reason].error_type == error_type(STATUS[code])


def test_an_ending_has_an_error_event_exactly_where_it_has_a_type_for_it() -> None:
    quiet, told = ENDINGS[Reason.DRAIN], ENDINGS[Reason.TURN_TIMEOUT]

    assert (quiet.error_event, quiet.error_type) == (False, None)
    assert (told.error_event, told.error_type) == (True, "server_error")
