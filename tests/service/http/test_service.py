"""What is told of a request, and how it is named."""

from __future__ import annotations

import re

import attrs
import pytest

from relayd.observe.events import LogEvent
from relayd.service.http.outgoing import Loss
from relayd.service.http.service import Outcome, RequestFacts, log_request, new_request_id
from tests.conftest import LogLines

ANSWERED = RequestFacts(
    request_id="req_1",
    method="GET",
    route="/",
    status=200,
    outcome=Outcome.COMPLETE,
    reason=None,
    key="dev",
    client_address="192.0.2.1",
    duration_ms=3,
    bytes_in=1,
    bytes_out=2,
)
CRASHED = attrs.evolve(ANSWERED, status=500, outcome=Outcome.CRASHED, error=RuntimeError("canary"))


def test_a_request_id_is_told_by_its_look_and_never_twice() -> None:
    ids = {new_request_id() for _ in range(1000)}

    assert len(ids) == 1000
    assert all(re.fullmatch(r"req_[0-9a-f]{24}", name) for name in ids)


def test_every_loss_of_a_client_is_an_outcome() -> None:
    assert {Outcome(loss.value).value for loss in Loss} == {"client_gone", "client_stalled"}


def test_what_a_handler_raised_is_in_no_repr() -> None:
    assert "canary" not in repr(CRASHED)


def test_a_request_is_one_line_at_info_or_if_it_is_quiet_at_debug(log_lines: LogLines) -> None:
    log_request(ANSWERED)
    log_request(ANSWERED, quiet=True)

    loud, quiet = log_lines.all
    assert (loud["event"], loud["level"]) == (LogEvent.REQUEST_ENDED, "info")
    assert (loud["request_id"], loud["outcome"], loud["reason"]) == ("req_1", "complete", None)
    assert (loud["duration_ms"], loud["bytes_in"], loud["bytes_out"]) == (3, 1, 2)
    assert (quiet["event"], quiet["level"]) == (LogEvent.REQUEST_ENDED, "debug")


@pytest.mark.parametrize("quiet", [False, True])
def test_a_bug_is_a_line_of_its_own_that_is_never_quiet(
    log_lines: LogLines, *, quiet: bool
) -> None:
    log_request(CRASHED, quiet=quiet)

    crash, _ = log_lines.all
    assert (crash["event"], crash["level"]) == (LogEvent.REQUEST_CRASHED, "error")
    assert (crash["request_id"], crash["route"]) == ("req_1", "/")
    assert "RuntimeError" in crash["traceback"]
