"""The errors of the run-task API."""

from __future__ import annotations

from relayd.sim.runtask.errors import ERRORS, Rejected, invalid


def test_an_error_is_found_by_its_code() -> None:
    assert all(error.code == code and error.message for code, error in ERRORS.items())


def test_a_mistake_of_the_client_is_an_invalid_parameter() -> None:
    rejected = Rejected(invalid("why"), "t")

    assert (rejected.error.code, rejected.error.message) == ("InvalidParameter", "why")
    assert rejected.task_id == "t"
    assert Rejected(invalid("why")).task_id == ""
