"""A browser's own EventSource follows a topic, with a token in its URL."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import pytest
import trio

from tests.integration.hub_clients import HOUR_S
from tests.integration.hub_house import EVENTS, TOPIC, Forwarder, House, tick, token_for
from tests.web.browser import find_chromium, open_browser

pytestmark = pytest.mark.slow


@pytest.fixture
async def chromium(tmp_path: Path) -> str:
    """The browser's command; without one the test is skipped."""
    command = find_chromium()
    if command is None:
        pytest.skip("there is no chromium")
    return command


LISTEN: Final = """
window.heard = [];
window.source = new EventSource({url!r});
source.addEventListener("tick", ({{ data }}) => heard.push(JSON.parse(data)));
source.addEventListener("resync_required", () => heard.push("resync"));
null
"""
BROWSER_DROPS: Final = 5


async def test_a_browsers_own_event_source_misses_nothing(
    chromium: str, tmp_path: Path, nursery: trio.Nursery
) -> None:
    house = House(tmp_path, nursery)
    await house.start()
    forwarder = Forwarder(house.address)
    await nursery.start(forwarder.run)
    url = f"{EVENTS}?topics={TOPIC}&access_token={token_for(time.time() + HOUR_S)}"
    async with open_browser(chromium, tmp_path / "profile") as browser:
        page = await browser.open()
        await page.go(f"http://{forwarder.address}/nothing-is-here")
        await page.until("location.pathname === '/nothing-is-here'")
        await page.run(LISTEN.format(url=url))
        await page.until("source.readyState === 1")
        for drop in range(BROWSER_DROPS):
            await house.publish(tick(2 * drop + 1))
            await page.until(f"heard.length === {2 * drop + 1}")
            await forwarder.cut()
            await house.publish(tick(2 * drop + 2))
            await page.until(f"heard.length === {2 * drop + 2}")
        numbers = await page.run("heard.map((each) => each.data?.number ?? each)")

    assert numbers == list(range(1, 2 * BROWSER_DROPS + 1))
