"""MCP as far as a server and a device speak it over their socket: both sides, without I/O.

The server is the client of MCP: it asks the device for its tools, page by page, and calls them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import attrs

JsonObject = dict[str, object]

PROTOCOL: Final = "2024-11-05"
TOOLS_MAX: Final = 128
"""Tools of one device that a server remembers."""

METHOD_NOT_FOUND: Final = -32601
TOOL_FAILED: Final = -32603
PAGE_TOOLS: Final = 2
"""Tools of one page of a device's list."""

_VISION: Final = {"vision": {"url": "http://127.0.0.1/mcp/vision/explain", "token": "simulated"}}


@attrs.define(eq=False)
class Caller:
    """The server's side.

    Attributes:
        tools: The names of the device's tools, as far as they are listed.
        is_listed: Whether those are all.
        answers: What has become of calls, by id: a result, or an error.
    """

    tools: list[str] = attrs.field(factory=list, init=False)
    is_listed: bool = attrs.field(default=False, init=False)
    answers: dict[int, JsonObject] = attrs.field(factory=dict, init=False)
    _asked: dict[int, str] = attrs.field(factory=dict, init=False)
    _ids: int = attrs.field(default=0, init=False)

    def begin(self) -> JsonObject:
        """What a server asks first."""
        params: JsonObject = {
            "protocolVersion": PROTOCOL,
            "capabilities": {"roots": {"listChanged": True}, "sampling": {}, **_VISION},
            "clientInfo": {"name": "sim", "version": "1.0.0"},
        }
        return self._request("initialize", params)[1]

    def call(self, name: str, arguments: JsonObject) -> tuple[int, JsonObject]:
        """A call of a tool: its id, and the message."""
        return self._request("tools/call", {"name": name, "arguments": arguments})

    def receive(self, payload: object) -> list[JsonObject]:
        """What to say to a message of the device; one that nothing was asked for is ignored."""
        if not isinstance(payload, dict):
            return []
        number = payload.get("id")
        if not isinstance(number, int) or number not in self._asked:
            return []
        method = self._asked.pop(number)
        if method == "initialize":
            done: JsonObject = {"jsonrpc": "2.0", "method": "notifications/initialized"}
            return [done, self._request("tools/list", {"cursor": ""})[1]]
        if method == "tools/call":
            self.answers[number] = payload
            return []
        match payload.get("result"):
            case {"tools": list(tools), **rest}:
                names = [str(tool.get("name")) for tool in tools if isinstance(tool, dict)]
                self.tools += names[: TOOLS_MAX - len(self.tools)]
                cursor = rest.get("nextCursor")
                if cursor and len(self.tools) < TOOLS_MAX:
                    return [self._request("tools/list", {"cursor": cursor})[1]]
        self.is_listed = True
        return []

    def _request(self, method: str, params: JsonObject) -> tuple[int, JsonObject]:
        self._ids += 1
        self._asked[self._ids] = method
        return self._ids, {"jsonrpc": "2.0", "id": self._ids, "method": method, "params": params}


Tool = Callable[[JsonObject], str]
"""Arguments in, the text of the result out."""


def _volume(arguments: JsonObject) -> str:
    return f"volume {arguments.get('volume', 0)}"


TOOLS: Final[Mapping[str, Tool]] = {
    "self.get_device_status": lambda _: '{"audio_speaker":{"volume":70}}',
    "self.audio_speaker.set_volume": _volume,
    "self.screen.set_brightness": lambda arguments: f"brightness {arguments.get('brightness', 0)}",
}
"""What a simulated device can do."""


@attrs.define(eq=False)
class Toolset:
    """The device's side.

    Attributes:
        tools: By name.
        fails: Whether each call ends in an error.
        call_s: How long a call takes, in seconds.
        calls: Names of the tools that were called, in order.
        methods: What was asked, in order.
    """

    tools: Mapping[str, Tool] = TOOLS
    fails: bool = False
    call_s: float = 0.0
    calls: list[str] = attrs.field(factory=list, init=False)
    methods: list[str] = attrs.field(factory=list, init=False)

    def answer(self, payload: object) -> JsonObject | None:
        """The answer to a request; ``None`` for a notification, and for what is no message."""
        match payload:
            case {"method": str(method), "id": int() | str() as number, **rest}:
                self.methods.append(method)
                params = rest.get("params")
                told = self._told(method, params if isinstance(params, dict) else {})
                return {"jsonrpc": "2.0", "id": number, **told}
            case {"method": str(method)}:
                self.methods.append(method)
        return None

    def _told(self, method: str, params: JsonObject) -> JsonObject:
        match method:
            case "initialize":
                about = {"name": "simulated device", "version": "1.0.0"}
                return _result(
                    protocolVersion=PROTOCOL, capabilities={"tools": {}}, serverInfo=about
                )
            case "tools/list":
                return self._page(str(params.get("cursor") or ""))
            case "tools/call":
                return self._called(str(params.get("name")), params.get("arguments"))
        return _error(METHOD_NOT_FOUND, f"no method {method}")

    def _page(self, cursor: str) -> JsonObject:
        names = list(self.tools)
        first = names.index(cursor) if cursor in self.tools else 0
        page = [
            {"name": name, "description": f"Does {name}.", "inputSchema": {"type": "object"}}
            for name in names[first : first + PAGE_TOOLS]
        ]
        following = names[first + PAGE_TOOLS : first + PAGE_TOOLS + 1]
        return _result(tools=page, **({"nextCursor": following[0]} if following else {}))

    def _called(self, name: str, arguments: object) -> JsonObject:
        self.calls.append(name)
        tool = self.tools.get(name)
        if tool is None:
            return _error(METHOD_NOT_FOUND, f"no tool {name}")
        if self.fails:
            return _error(TOOL_FAILED, f"{name} failed")
        text = tool(arguments if isinstance(arguments, dict) else {})
        return _result(content=[{"type": "text", "text": text}], isError=False)


def _result(**members: object) -> JsonObject:
    return {"result": members}


def _error(code: int, message: str) -> JsonObject:
    return {"error": {"code": code, "message": message}}
