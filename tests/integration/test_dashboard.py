"""The dashboard in a browser, served by a relayd that relays to a simulated upstream."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest
import trio
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import ClientConnection, connect

from relayd.observe.events import LogEvent
from tests.integration.conftest import CONFIG, KEY, PATIENCE_S, RELAYD, Relayd
from tests.web.browser import Browser, Page, find_chromium, open_browser

pytestmark = pytest.mark.slow

OPERATOR_KEY = "relayd-operator-key"

OPERATOR = f"""
[[keys]]
name = "operator"
secret = "{OPERATOR_KEY}"
role = "operator"
"""

ROWS = "[...document.querySelectorAll('#sessions tbody tr:not(.spacer):not([hidden])')]"
EVENTS = "[...document.querySelectorAll('#events-list .event b')].map((name) => name.innerText)"
PHASE = "document.querySelector('#connection').dataset.phase"


@attrs.define
class House:
    """A relayd that can be started again at its address.

    Attributes:
        relayd: The one that runs, or ran last.
    """

    directory: Path
    nursery: trio.Nursery
    relayd: Relayd | None = None

    async def start(self) -> Relayd:
        """Start it: the first time at an address of its own choice."""
        port = 0 if self.relayd is None else int(self.relayd.address.rpartition(":")[2])
        config = self.directory / "relayd.toml"
        text = CONFIG.format(port=port, directory=self.directory, key=KEY)
        await trio.Path(config).write_text(text + OPERATOR)
        self.relayd = await Relayd.start([RELAYD, "serve", "--config", config], self.nursery)
        await self.relayd.logged(LogEvent.SERVER_STARTED)
        return self.relayd

    async def stop(self) -> None:
        """Stop it, and wait until its address is free."""
        assert self.relayd is not None
        self.relayd.process.send_signal(signal.SIGTERM)
        await self.relayd.logged(LogEvent.SERVER_STOPPED)
        await self.relayd.process.wait()


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    """A tab; without a browser the test is skipped."""
    command = find_chromium()
    if command is None:
        pytest.skip("there is no chromium")
    async with open_browser(command, tmp_path / "profile") as browser:
        yield await tab(browser)


async def tab(browser: Browser) -> Page:
    """A tab of the size of a desk's screen."""
    page = await browser.open()
    await page.look(1440, 900)
    return page


def dial(relayd: Relayd) -> connect:
    """A client of the Realtime API, that begins a session."""
    return connect(
        f"ws://{relayd.address}/v1/realtime?model=gpt-realtime",
        additional_headers={"Authorization": f"Bearer {KEY}"},
    )


async def sign_in(page: Page, relayd: Relayd, key: str = OPERATOR_KEY) -> None:
    """Open the dashboard, paste a key, and wait until events come."""
    await page.go(f"http://{relayd.address}/dashboard")
    await page.until("document.activeElement?.id === 'sign-in-key'")
    await page.type(key)
    await page.press("Enter")
    await page.until(f"{PHASE} === 'live'")


async def hold_a_turn(client: ClientConnection) -> None:
    """Ask for a response, and read it to its end."""
    await client.send(json.dumps({"type": "response.create"}))
    with trio.fail_after(PATIENCE_S):
        while json.loads(await client.recv())["type"] != "response.done":
            pass


async def close_code(client: ClientConnection) -> int | None:
    """Read on until relayd closes; with which code it does."""
    with trio.fail_after(PATIENCE_S):
        while True:
            try:
                await client.recv()
            except ConnectionClosed as closed:
                return None if closed.rcvd is None else int(closed.rcvd.code)


def publish(topic: str, event: str, session_id: object) -> str:
    """A script that publishes an event, and says with which status that was answered."""
    headers = {"authorization": f"Bearer {OPERATOR_KEY}", "content-type": "application/json"}
    body = json.dumps({"topic": topic, "event": event, "session_id": session_id, "data": {}})
    init = json.dumps({"method": "POST", "headers": headers, "body": body})
    return f"fetch('/api/v1/publish', {init}).then((answer) => answer.status)"


def shows(*words: str) -> str:
    """A script that says whether one session is shown, with these words in its row."""
    return (
        f"{ROWS}.length === 1 && {json.dumps(words)}.every((e) => {ROWS}[0].innerText.includes(e))"
    )


async def test_a_session_is_shown_counted_and_ended(
    page: Page, tmp_path: Path, nursery: trio.Nursery
) -> None:
    relayd = await House(tmp_path, nursery).start()
    await sign_in(page, relayd)
    await page.until(f"{ROWS}.length === 0")
    async with dial(relayd) as client:
        await page.until(shows("test", "realtime", "gpt-realtime", "sim-realtime", "idle"))
        await page.until(f"{EVENTS}.includes('session.opened')")
        await hold_a_turn(client)
        await page.until(f"{EVENTS}.includes('turn.ended')")
        turns_per_s = "parseFloat(document.querySelector('.tile:nth-child(2) .value').innerText)"
        await page.until(f"{turns_per_s} > 0")
        assert "sim-realtime" in await page.text("#accounts")

        await page.click("#sessions tbody tr:not(.spacer) .kill")
        await page.until("document.querySelector('#confirm').open")
        await page.click("#confirm-end")
        assert await close_code(client) == 1008

    lines = await relayd.logged(LogEvent.SESSION_ENDED)
    assert [line["reason"] for line in lines if line["dialect"] == "realtime"] == ["killed"]
    await page.until(f"{EVENTS}.includes('session.ended')")
    await page.until(f"{ROWS}.length === 0")
    assert page.problems == []


async def test_messages_are_counted_and_what_is_published_ends_nothing(
    page: Page, tmp_path: Path, nursery: trio.Nursery
) -> None:
    relayd = await House(tmp_path, nursery).start()
    await sign_in(page, relayd)
    async with dial(relayd) as client:
        await page.until(shows("test", "realtime", "idle"))
        await hold_a_turn(client)
        up, down = (f"{ROWS}[0].querySelector('.c-messages_{way}')" for way in ("up", "down"))
        await page.until(f"{up}.innerText === '1' && parseInt({down}.innerText) > 1")

        session_id = await page.run(f"{ROWS}[0].querySelector('.c-session_id').innerText")
        assert await page.run(publish("workflow:x", "session.ended", session_id)) == 400
        assert await page.run(publish("workflow:x", "session_ended", session_id)) == 200
        await page.until(f"{EVENTS}.includes('session_ended')")
        assert await page.run(shows("test", "realtime", "idle"))
        page.problems.clear()  # the browser notes the 400
    await page.until(f"{ROWS}.length === 0")
    assert page.problems == []


async def test_a_restart_of_relayd_is_survived(
    page: Page, tmp_path: Path, nursery: trio.Nursery
) -> None:
    house = House(tmp_path, nursery)
    relayd = await house.start()
    await sign_in(page, relayd)
    async with dial(relayd):
        await page.until(shows("test", "realtime"))
        await house.stop()
        await page.until(f"{PHASE} !== 'live'")
    await page.until("!document.querySelector('#banner').hidden")

    relayd = await house.start()
    await page.until(f"{PHASE} === 'live'")
    await page.until(f"{ROWS}.length === 0")
    async with dial(relayd) as client:
        await page.until(shows("test", "realtime"))
        await hold_a_turn(client)
        await page.until(f"{EVENTS}.includes('turn.ended')")
    await page.until(f"{ROWS}.length === 0")

    assert await page.run(f"{PHASE} === 'live'")
    assert await page.run("document.querySelector('#banner').hidden")


async def test_a_user_ends_no_session(page: Page, tmp_path: Path, nursery: trio.Nursery) -> None:
    relayd = await House(tmp_path, nursery).start()
    await sign_in(page, relayd, KEY)
    async with dial(relayd):
        await page.until(shows("test", "realtime", "idle"))

        assert await page.run("document.querySelector('.kill').offsetParent === null")
        assert await page.run("document.querySelector('#accounts').hidden")
        status = await page.run(
            "fetch('/api/v1/sessions').then((answer) => answer.status)"  # without its key
        )
        assert status == 401
