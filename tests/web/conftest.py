"""A browser, and a made-up relay for its pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest
import trio

from tests.web.browser import Browser, Page, find_chromium, open_browser
from tests.web.fake_relayd import KEY, FakeRelayd


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    """A Chromium of the test's own; without one the test is skipped."""
    command = find_chromium()
    if command is None:
        pytest.skip("there is no chromium")
    async with open_browser(command, tmp_path / "profile") as running:
        yield running


@attrs.define
class Visit:
    """A page of the dashboard, and the relay that it shows."""

    page: Page
    relay: FakeRelayd
    port: int

    @property
    def url(self) -> str:
        """Where the dashboard is."""
        return f"http://127.0.0.1:{self.port}/dashboard"

    async def open(self) -> None:
        """Load it, and wait for what asks for a key."""
        await self.page.go(self.url)
        await self.page.until("document.activeElement?.id === 'sign-in-key'")

    async def enter(self, key: str = KEY) -> None:
        """Load it and paste a key."""
        await self.open()
        await self.page.type(key)
        await self.page.press("Enter")

    async def sign_in(self, key: str = KEY) -> None:
        """Load it, paste a key, and wait until events come."""
        await self.enter(key)
        await self.until_live()

    async def until_live(self) -> None:
        """Wait until events come, and the first answers are here."""
        await self.page.until("document.querySelector('#connection').dataset.phase === 'live'")
        await self.page.until("document.querySelector('#now .value').innerText !== '–'")


@pytest.fixture
async def visit(browser: Browser, nursery: trio.Nursery) -> AsyncIterator[Visit]:
    """A dashboard that nobody has signed in to yet; what goes wrong in the page fails the test."""
    relay = FakeRelayd()
    port = await nursery.start(relay.serve)
    page = await browser.open()
    yield Visit(page, relay, port)
    assert page.problems == []
