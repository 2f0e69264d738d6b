"""What is told of a request, and how it is named."""

from __future__ import annotations

import re

from relayd.service.http.outgoing import Loss
from relayd.service.http.service import Outcome, RequestFacts, new_request_id


def test_a_request_id_is_told_by_its_look_and_never_twice() -> None:
    ids = {new_request_id() for _ in range(1000)}

    assert len(ids) == 1000
    assert all(re.fullmatch(r"req_[0-9a-f]{24}", name) for name in ids)


def test_every_loss_of_a_client_is_an_outcome() -> None:
    assert {Outcome(loss.value).value for loss in Loss} == {"client_gone", "client_stalled"}


def test_what_a_handler_raised_is_in_no_repr() -> None:
    facts = RequestFacts(
        request_id="req_1",
        method="GET",
        route="/",
        status=500,
        outcome=Outcome.CRASHED,
        reason="internal_error",
        key="dev",
        client_address="192.0.2.1",
        duration_ms=1,
        bytes_in=0,
        bytes_out=0,
        error=RuntimeError("canary"),
    )

    assert "canary" not in repr(facts)
