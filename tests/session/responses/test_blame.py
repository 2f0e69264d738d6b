"""Which errors stand against an account, and which may be some client's doing."""

from __future__ import annotations

import pytest

from relayd.dialect.responses_faults import TurnError, read_error
from relayd.dialect.responses_turns import Running, Terminal
from relayd.routing.classify import RETRY_AFTER_S_MAX, FailureKind
from relayd.session.responses.blame import blamed_for
from tests.dialect.responses import event

WALL = 1_800_000_000.0
AUTH: dict[str, object] = {
    "type": "authentication_error",
    "code": "invalid_api_key",
    "message": "wrong key",
}
LIMIT: dict[str, object] = {
    "type": "rate_limit_error",
    "code": "rate_limit_exceeded",
    "message": "slow down",
}


def told(status: int, error: dict[str, object]) -> TurnError:
    return read_error(event("error", status=status, error=error))


def ended(error: TurnError, *, output: bool = False) -> Terminal:
    running = Running(first_output_at=1.0 if output else None)
    return Terminal(running=running, kind="error", status="failed", at=2.0, error=error)


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (401, AUTH, FailureKind.FATAL),
        (429, LIMIT, FailureKind.RATE_LIMITED),
        (503, {"type": "server_error", "message": "overloaded"}, FailureKind.UNREACHABLE),
    ],
)
def test_what_an_account_alone_can_be_the_cause_of_stands_against_it(
    status: int, error: dict[str, object], kind: FailureKind
) -> None:
    said = told(status, error)
    failure = blamed_for(ended(said), said, (), WALL, limited_before=False)

    assert failure is not None
    assert failure.kind is kind


@pytest.mark.parametrize("error", [AUTH, LIMIT])
def test_behind_output_nothing_does(error: dict[str, object]) -> None:
    said = told(401 if error is AUTH else 429, error)

    assert blamed_for(ended(said, output=True), said, (), WALL, limited_before=False) is None


@pytest.mark.parametrize("name", ["openai-organization", "OpenAI-Project"])
def test_a_wrong_key_beside_a_clients_organization_does_not(name: str) -> None:
    said, headers = told(401, AUTH), ((name, "org-of-a-stranger"),)

    assert blamed_for(ended(said), said, headers, WALL, limited_before=False) is None
    limit = told(429, LIMIT)
    assert blamed_for(ended(limit), limit, headers, WALL, limited_before=False) is not None


def test_a_limit_that_follows_a_request_does_not() -> None:
    said = told(429, LIMIT)

    assert blamed_for(ended(said), said, (), WALL, limited_before=True) is None


def test_a_request_that_no_minute_has_room_for_does_not() -> None:
    said = told(429, LIMIT | {"message": "Request too large for gpt-5 on tokens per min"})

    assert blamed_for(ended(said), said, (), WALL, limited_before=False) is None


def test_what_is_wrong_with_a_request_does_not() -> None:
    said = told(400, {"type": "invalid_request_error", "message": "no"})

    assert blamed_for(ended(said), said, (), WALL, limited_before=False) is None


def test_no_account_rests_for_longer_than_an_hour() -> None:
    said = told(429, LIMIT | {"code": "usage_limit_reached", "resets_at": WALL + 1e9})
    failure = blamed_for(ended(said), said, (), WALL, limited_before=False)

    assert failure is not None
    assert failure.retry_after_s == RETRY_AFTER_S_MAX
