"""Every scenario of the simulated Realtime upstream, seen through relayd by an ordinary client."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.trio.client import connect

from relayd.config.accounts import AccountSettings, Timeouts
from relayd.config.providers import Provider
from relayd.config.schema import KeySettings, LimitSettings, ServerSettings, Settings
from relayd.config.secret import KeyDigest, Secret
from relayd.config.snapshot import Snapshot
from relayd.observe import logs
from relayd.observe.events import LogEvent
from relayd.service import app
from relayd.sim.realtime.audio import tone
from relayd.sim.realtime.billing import BILLINGS
from relayd.sim.realtime.scenario import REFUSALS, Scenario
from relayd.sim.realtime.upstream import RealtimeUpstream
from relayd.sim.server import SimServer, serve

pytestmark = pytest.mark.slow

KEY = "key-of-the-client"
SOON_S = 20.0
LIMITS = LimitSettings(admission_s=1.0, keepalive_s=0.2, keepalive_timeout_s=0.8)
TIMEOUTS = Timeouts(connect_s=0.4, first_frame_s=0.4, idle_s=1.2)

REFUSED = {
    Scenario.REFUSE_HTTP_401: (502, "upstream_refused"),
    Scenario.REFUSE_HTTP_429: (503, "no_account"),
    Scenario.REFUSE_HTTP_500: (502, "upstream_unreachable"),
    Scenario.SILENT_HANDSHAKE: (502, "upstream_unreachable"),
    Scenario.BAD_KEY: (502, "upstream_refused"),
    Scenario.INSUFFICIENT_QUOTA: (502, "upstream_refused"),
    Scenario.RATE_LIMITED: (503, "no_account"),
    Scenario.MODEL_NOT_FOUND: (502, "upstream_refused"),
    Scenario.BETA_DISABLED: (502, "upstream_refused"),
    Scenario.SILENT_FIRST_FRAME: (504, "first_frame_timeout"),
}
"""Status and reason, where no session begins."""

ENDED = {
    Scenario.SILENT_MID_TURN: ("upstream_silent", 1011),
    Scenario.HALF_OPEN: ("upstream_keepalive_timeout", 1011),
    Scenario.RESET_MID_TURN: ("upstream_lost", 1011),
    Scenario.RESET_MID_FRAME_SMALL: ("upstream_lost_mid_frame", 1011),
    Scenario.RESET_MID_FRAME_LARGE: ("upstream_lost_mid_frame", None),
    Scenario.CLOSE_1012: ("upstream_closed", 1012),
    Scenario.CLOSE_1001_MAX_AGE: ("upstream_closed", 1001),
    Scenario.CLOSE_AND_FIN: ("upstream_closed", 1000),
    Scenario.MASKED_FRAME: ("protocol_error_upstream", 1011),
    Scenario.BAD_UTF8: ("bad_utf8", 1011),
    Scenario.PING_FLOOD: ("control_flood", 1011),
    Scenario.EMPTY_FRAGMENTS: ("control_flood", 1011),
}
"""Reason and the code that the client sees, where a session is cut short."""

SERVED = (
    Scenario.NORMAL,
    Scenario.SLOW,
    Scenario.OVERSIZED,
    Scenario.FRAGMENTED,
    *BILLINGS,
)
SPOKEN = (Scenario.TRANSCRIPTION_TOKENS, Scenario.TRANSCRIPTION_DURATION)
"""Where the client says something aloud before it asks."""


@attrs.define
class Stage:
    """A relayd between one client and one simulated upstream."""

    address: str
    upstream: SimServer[RealtimeUpstream]
    log: io.BytesIO

    def client(self) -> connect:
        return connect(
            f"ws://{self.address}/v1/realtime?model=gpt-realtime",
            additional_headers={"Authorization": f"Bearer {KEY}"},
            max_size=None,
            proxy=None,
        )

    async def line(self, event: LogEvent) -> dict[str, Any]:
        """The one line of ``event``, once it is there."""
        with trio.fail_after(SOON_S):
            while True:
                lines = [json.loads(line) for line in self.log.getvalue().splitlines()]
                if found := [line for line in lines if line["event"] == event]:
                    (only,) = found
                    assert isinstance(only, dict)
                    return only
                await trio.testing.wait_all_tasks_blocked()


@pytest.fixture
async def stage(
    request: pytest.FixtureRequest, nursery: trio.Nursery, tmp_path: Path
) -> AsyncIterator[Stage]:
    """A relayd whose one upstream plays the scenario of the test's parameter."""
    log = io.BytesIO()
    logs.configure("json", "info", log)
    upstream = await nursery.start(serve, RealtimeUpstream(request.param))
    account = AccountSettings(
        name="sim",
        provider=Provider.COMPATIBLE,
        base_url=upstream.base_url,
        api_key=Secret("key-of-the-upstream"),
        timeouts=TIMEOUTS,
    )
    settings = Settings(
        server=ServerSettings(listen=("127.0.0.1:0",), admin=f"unix:{tmp_path / 'admin.sock'}"),
        limits=LIMITS,
        keys=(KeySettings(name="client", secret=KeyDigest.of(KEY)),),
        accounts=(account,),
    )
    running = await nursery.start(partial(app.serve, Snapshot.of(settings), environ={}))
    yield Stage(running.addresses[0], upstream, log)
    assert upstream.crashes == 0
    logs.configure("json", "critical", io.BytesIO())


def test_every_scenario_is_expected_to_do_something() -> None:
    assert {*REFUSED, *ENDED, *SERVED} == set(Scenario)
    assert REFUSALS.keys() <= REFUSED.keys()


async def turn(stage: Stage) -> dict[str, Any]:
    """One turn of a client; the ``response.done``, or the exception that came instead."""
    with trio.fail_after(SOON_S):
        async with stage.client() as connection:
            if stage.upstream.upstream.scenario in SPOKEN:
                sound = base64.b64encode(tone("audio/pcm", 500)).decode()
                await connection.send(f'{{"type":"input_audio_buffer.append","audio":"{sound}"}}')
                await connection.send('{"type":"input_audio_buffer.commit"}')
            await connection.send('{"type":"response.create"}')
            while True:
                event: dict[str, Any] = json.loads(await connection.recv())
                if event["type"] == "response.done":
                    if stage.upstream.upstream.scenario not in SERVED:
                        await connection.recv()
                    return event


@pytest.mark.parametrize(
    ("stage", "status", "reason"),
    [(scenario, *expected) for scenario, expected in REFUSED.items()],
    indirect=["stage"],
    ids=[scenario.value for scenario in REFUSED],
)
async def test_an_upstream_that_gives_no_session(stage: Stage, status: int, reason: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await turn(stage)

    assert refused.value.response.status_code == status
    line = await stage.line(LogEvent.CONNECTION_REFUSED)
    assert (line["status"], line["reason"]) == (status, reason)


@pytest.mark.parametrize(
    ("stage", "reason", "code"),
    [(scenario, *expected) for scenario, expected in ENDED.items()],
    indirect=["stage"],
    ids=[scenario.value for scenario in ENDED],
)
async def test_an_upstream_that_fails_in_a_turn(
    stage: Stage, reason: str, code: int | None
) -> None:
    with pytest.raises(ConnectionClosed) as closed:
        await turn(stage)

    received = closed.value.rcvd
    assert (received and received.code) == code
    line = await stage.line(LogEvent.SESSION_ENDED)
    assert (line["reason"], line["client_close"], line["turns"]) == (reason, code, 1)


@pytest.mark.parametrize(
    "stage", SERVED, indirect=True, ids=[scenario.value for scenario in SERVED]
)
async def test_an_upstream_that_serves_is_counted_as_it_reports(stage: Stage) -> None:
    done = await turn(stage)

    line = await stage.line(LogEvent.SESSION_ENDED)
    told = stage.upstream.upstream.statistics().total
    heard = told.transcription_usage
    assert (line["reason"], line["turns"], told.responses) == ("client_closed", 1, 1)
    assert told.transcriptions == (stage.upstream.upstream.scenario in SPOKEN)
    if told.untold:
        assert not (done["response"].get("usage") or {}).get("input_tokens")
        assert line["tokens_out"] > 0, "what is not reported is estimated"
        return
    assert line["tokens_in"] == told.usage.read.total + heard.read.total
    assert line["tokens_out"] == told.usage.written.total + heard.written.total
