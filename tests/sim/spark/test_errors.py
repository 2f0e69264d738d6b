"""The errors in band."""

from __future__ import annotations

from relayd.sim.spark.errors import INVALID_DOMAIN, MESSAGES, UNDOCUMENTED, Rejected, error


def test_an_error_is_a_frame_without_payload() -> None:
    frame = error(10907).event("cht1")

    assert frame == {
        "header": {"code": 10907, "message": MESSAGES[10907], "sid": "cht1", "status": 2}
    }


def test_an_error_says_what_is_wrong_where_that_is_known() -> None:
    assert error(10005, "top_k").message == f"{MESSAGES[10005]}: top_k"
    assert error(UNDOCUMENTED).message == "unknown error"
    assert UNDOCUMENTED not in MESSAGES


def test_some_words_are_those_that_users_have_seen() -> None:
    assert INVALID_DOMAIN.code == 10003
    assert INVALID_DOMAIN.message.startswith("ClientMsgError:(")
    assert INVALID_DOMAIN.message.endswith(") invalid model domain")
    assert error(11200).message == "AppIdNoAuthError"
    assert error(11202).message.startswith("licc limit")


def test_a_rejection_carries_its_error() -> None:
    assert Rejected(error(10004)).error == error(10004)
