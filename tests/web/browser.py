"""A headless Chromium as a child process, driven over its DevTools protocol.

One WebSocket to the browser, commands with numbers, answers and events as they come:
https://chromedevtools.github.io/devtools-protocol/.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import attrs
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
START_S: Final = 60.0
END_S: Final = 10.0
PATIENCE_S: Final = 30.0
MESSAGE_MAX: Final = 64 * 1024 * 1024
POLL_S: Final = 0.05
"""How often a page is asked whether it is as a test waits for."""

_ADDRESS: Final = re.compile(rb"DevTools listening on (ws://\S+)")
_FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",  # containers have no user namespaces; the pages are our own
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-extensions",
    "--no-first-run",
    "--hide-scrollbars",
    "--no-proxy-server",
    "--force-color-profile=srgb",
    "--remote-debugging-port=0",
)


def find_chromium() -> str | None:
    """The browser's command: ``$CHROMIUM``, else the first that is installed."""
    given = os.environ.get("CHROMIUM")
    return given or next(filter(None, map(shutil.which, NAMES)), None)


class PageFailed(Exception):
    """A command was refused, or a script threw."""


@attrs.define(eq=False)
class Page:
    """One tab.

    Attributes:
        problems: What went wrong in it by itself: exceptions, refused loads, broken policies.
    """

    browser: Browser
    session: str
    problems: list[str] = attrs.field(factory=list)

    async def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send a command to the tab. Raises :class:`PageFailed`."""
        return await self.browser.call(method, parameters, self.session)

    async def go(self, url: str) -> None:
        """Load a page; its scripts may still be at work."""
        await self.call("Page.navigate", url=url)

    async def run(self, expression: str) -> object:
        """What a script says; promises are waited for."""
        answer = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise PageFailed(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until ``expression`` is true in the page: any value but an element."""
        with trio.move_on_after(PATIENCE_S):
            while not await self._is_true(expression):  # noqa: ASYNC110 - it tells nobody
                await trio.sleep(POLL_S)
            return
        text = await self.run("document.body?.innerText")
        raise PageFailed(f"never: {expression}\n{self.problems}\n{text}")

    async def _is_true(self, expression: str) -> bool:
        try:
            return bool(await self.run(expression))
        except PageFailed:
            return False  # the page is not there yet, or another one is coming

    async def text(self, selector: str) -> str:
        """The text in sight of an element."""
        return str(await self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    async def click(self, selector: str) -> None:
        """Click in the middle of an element, as a person does."""
        await self.until(f"document.querySelector({json.dumps(selector)}) !== null")
        box: Any = await self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'nearest'}); const b = e.getBoundingClientRect();"
            " return {x: b.x + b.width / 2, y: b.y + b.height / 2} })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.call(
                "Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **box
            )

    async def type(self, text: str) -> None:
        """Put text where the focus is."""
        await self.call("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        """Press one key, such as ``k`` or ``Enter``."""
        typed = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
        code = {"Enter": 13, "Escape": 27, "ArrowDown": 40, "ArrowUp": 38}.get(key, ord(key[0]))
        pressed = {"key": key, "windowsVirtualKeyCode": code}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **pressed, **typed)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **pressed)

    async def look(
        self, width: int, height: int, *, media: Mapping[str, str] | None = None, scale: float = 1
    ) -> None:
        """Give the page a size, and media features such as ``prefers-color-scheme``."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=False,
        )
        features = [{"name": name, "value": value} for name, value in (media or {}).items()]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """A picture of what is in sight, or of the whole page."""
        shot = await self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        await trio.Path(path).write_bytes(base64.b64decode(shot["data"]))

    def hear(self, method: str, parameters: dict[str, Any]) -> None:
        """Note what the tab says by itself."""
        if method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(parameters["exceptionDetails"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.problems.append(parameters["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and parameters["type"] == "error":
            self.problems.append(json.dumps(parameters["args"]))


@attrs.define(eq=False)
class Browser:
    """A running Chromium."""

    connection: WebSocketConnection
    _pages: dict[str, Page] = attrs.field(factory=dict)
    _answers: dict[int, trio.MemorySendChannel[dict[str, Any]]] = attrs.field(factory=dict)
    _number: int = 0

    async def call(
        self, method: str, parameters: dict[str, Any], session: str | None = None
    ) -> dict[str, Any]:
        """Send a command and wait for its answer. Raises :class:`PageFailed`."""
        self._number += 1
        number = self._number
        send, receive = trio.open_memory_channel[dict[str, Any]](1)
        self._answers[number] = send
        command = {"id": number, "method": method, "params": parameters}
        await self.connection.send_message(
            json.dumps(command | ({"sessionId": session} if session else {}))
        )
        with trio.fail_after(PATIENCE_S):
            answer = await receive.receive()
        if "error" in answer:
            raise PageFailed(f"{method}: {answer['error']['message']}")
        return dict(answer["result"])

    async def open(self) -> Page:
        """A new tab in a profile of its own: no key of another one is in it."""
        context = await self.call("Target.createBrowserContext", {})
        target = await self.call("Target.createTarget", {"url": "about:blank"} | context)
        attached = await self.call(
            "Target.attachToTarget", {"targetId": target["targetId"], "flatten": True}
        )
        page = Page(self, attached["sessionId"])
        self._pages[page.session] = page
        for domain in ("Page", "Runtime", "Log"):
            await page.call(f"{domain}.enable")
        await page.look(1440, 900)
        return page

    async def listen(self) -> None:
        """Take what the browser says, to its end."""
        while True:
            try:
                message = json.loads(await self.connection.get_message())
            except ConnectionClosed:
                return
            if "id" in message:
                if waiting := self._answers.pop(message["id"], None):
                    waiting.send_nowait(message)
            elif page := self._pages.get(message.get("sessionId", "")):
                page.hear(message["method"], message["params"])


@asynccontextmanager
async def open_browser(command: str, profile: Path) -> AsyncIterator[Browser]:
    """Start a Chromium whose profile is in ``profile``; it is ended with the block."""
    async with trio.open_nursery() as nursery:
        run = partial(
            trio.run_process,
            [command, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        process: trio.Process = await nursery.start(run)
        with trio.fail_after(START_S):
            address = await _address(process)
        nursery.start_soon(_discard, process)
        async with await trio.open_tcp_stream(str(address.hostname), address.port or 0) as stream:
            connection = await wrap_client_stream(
                nursery, stream, address.netloc, address.path, max_message_size=MESSAGE_MAX
            )
            browser = Browser(connection)
            nursery.start_soon(browser.listen)
            yield browser
            with trio.move_on_after(END_S):
                await connection.send_message('{"id":0,"method":"Browser.close"}')
                await process.wait()  # before its profile is taken away from under it
        nursery.cancel_scope.cancel()


async def _address(process: trio.Process) -> SplitResult:
    """Where the browser listens; it says so among its complaints."""
    assert process.stderr is not None
    said = b""
    async for chunk in process.stderr:
        said += bytes(chunk)
        if found := _ADDRESS.search(said):
            return urlsplit(found[1].decode())
    raise PageFailed(f"the browser did not start: {said.decode(errors='replace')}")


async def _discard(process: trio.Process) -> None:
    assert process.stderr is not None
    async for _ in process.stderr:
        pass
