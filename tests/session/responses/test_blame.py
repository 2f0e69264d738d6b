"""Which errors stand against an account, and which may be some client's doing."""

from __future__ import annotations

import pytest

from relayd.core.endings import Reason
from relayd.dialect.responses_faults import TurnError, read_error
from relayd.dialect.responses_turns import Running, Terminal
from relayd.observe.events import LogEvent
from relayd.protocol.outcomes import EndOfStream, Event, PeerClosed, Violation
from relayd.routing.classify import RETRY_AFTER_S_MAX, FailureKind
from relayd.session.responses.blame import blamed_for, blamed_for_loss
from tests.dialect.responses import event
from tests.faults.harness import Upstream
from tests.faults.responses import ResponsesStage
from tests.faults.wire import TEXT, close, frame

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


# -- sockets that are lost


@pytest.mark.parametrize(
    ("lost_by", "code"),
    [
        (EndOfStream(), "closed_early"),
        (EndOfStream(mid_frame=True, error="ECONNRESET"), "closed_early"),
        (PeerClosed(1011, "oops"), "closed_1011"),
        (PeerClosed(1002, ""), "closed_1002"),
        (PeerClosed(1000, ""), None),
        (PeerClosed(None, ""), None),
        (PeerClosed(1001, ""), None),
        (PeerClosed(1012, ""), None),
        (PeerClosed(1013, ""), None),
        (PeerClosed(1009, ""), None),  # about the message
        (PeerClosed(1008, "no"), None),  # likewise, or the account cannot: no failure
        (PeerClosed(4001, "invalid_api_key"), None),
        (Violation(Reason.PROTOCOL_ERROR_UPSTREAM, "m"), None),  # of an earlier turn, perhaps
        (None, None),
    ],
    ids=str,
)
def test_a_loss_stands_against_an_account_unless_it_takes_its_leave(
    lost_by: Event | None, code: str | None
) -> None:
    failure = blamed_for_loss(lost_by)

    assert (None if failure is None else failure.code) == code
    assert failure is None or failure.kind is FailureKind.UNREACHABLE


async def lose(upstream: Upstream, goodbye: bytes) -> None:
    far = await upstream.accept_upgrade()
    await far.frame()
    await far.send(goodbye)
    await far.finish()


LOST = b""


@pytest.mark.parametrize(
    ("goodbye", "opens"),
    [(LOST, True), (close(1011, masked=False), True), (close(1012, masked=False), False)],
    ids=["eof", "1011", "1012"],
)
async def test_an_upstream_that_loses_turns_before_they_begin_is_not_asked_for_a_while(
    scenes: ResponsesStage, goodbye: bytes, *, opens: bool
) -> None:
    upstream = await scenes.stage.upstream()
    async with scenes.serving(upstream) as scene:
        for number in range(
            5
        ):  # as often as a breaker bears; of a request's two sockets one counts
            client = await scene.client()
            await client.ask()
            for _ in range(1 if opens and number == 4 else 2):  # an open breaker lets none through
                await lose(upstream, goodbye)
            told = await client.answer()
            assert (told["status"], told["error"]["type"]) == (502, "server_error")
        opened = [line["account"] for line in scene.relay.log.of(LogEvent.BREAKER_OPENED)]
        assert opened == (["account-1"] if opens else [])


async def test_a_loss_is_counted_once_for_all_lanes_of_a_socket(scenes: ResponsesStage) -> None:
    upstream = await scenes.stage.upstream()
    async with scenes.serving(upstream) as scene:
        client = await scene.client()
        for number in range(8):
            await client.ask(stream_id=f"lane-{number}")
        far = await upstream.accept_upgrade()
        for _ in range(8):
            await far.frame()
        await far.finish()
        again = await upstream.accept_upgrade()
        for _ in range(8):
            await again.frame()
        assert scene.relay.log.of(LogEvent.BREAKER_OPENED) == []


async def test_behind_its_beginning_a_lost_response_does_not_count(scenes: ResponsesStage) -> None:
    upstream = await scenes.stage.upstream()
    async with scenes.serving(upstream) as scene:
        for _ in range(5):
            client = await scene.client()
            await client.ask()
            far = await upstream.accept_upgrade()
            await far.frame()
            await far.send(
                frame(TEXT, event("response.created", response={"id": "resp_1"}), masked=False)
            )
            await client.event()
            await far.finish()
            assert (await client.answer())["status"] == 502
        assert scene.relay.log.of(LogEvent.BREAKER_OPENED) == []
