"""The tools of devices: what they are, and calls of them.

A call leaves a line in the log, whatever becomes of it, without its arguments and its answer: also
where the caller hangs up, since the device has been told by then.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import attrs
import msgspec
import trio

from relayd.dialect.xiaozhi_mcp import TooManyCalls
from relayd.dialect.xiaozhi_rpc import CALL_FAILED
from relayd.dialect.xiaozhi_state import NotConnected
from relayd.observe.bus import DeviceToolCalled
from relayd.observe.events import LogEvent
from relayd.observe.logs import get_logger
from relayd.service.admin.device_requests import Asked, device_of, refused, said_in
from relayd.service.admin.device_shapes import ToolAnswer, ToolCall, ToolList
from relayd.service.admin.shapes import ENCODER, Error, ErrorAnswer, RpcError
from relayd.service.admin.state import Operations
from relayd.service.admin.views import answer
from relayd.service.http.refusals import HttpFault, HttpRefused
from relayd.service.http.request import Request
from relayd.service.http.responses import Json
from relayd.session.xiaozhi.asking import DeviceBusy
from relayd.session.xiaozhi.desk import (
    NoSuchDevice,
    SeveralDevices,
    ToolNotAllowed,
    ToolsUnknown,
)

log = get_logger()

TOOL_SHOWN_MAX: Final = 128
TIMED_OUT: Final = "timed_out"
ABANDONED: Final = "abandoned"

LISTING_S: Final = 10.0
"""How long a device has to say which tools it has, all pages together."""

_NULL: Final = msgspec.Raw(b"null")
_NOT_ALLOWED: Final = HttpFault(
    HTTPStatus.FORBIDDEN,
    "tool_not_allowed",
    "This tool may not be called from here; xiaozhi.tools_allowed would have to name it.",
    "tool",
)
_UNREADABLE: Final = HttpFault(
    HTTPStatus.BAD_GATEWAY, "device_unreadable", "The device's answer cannot be read."
)
_NO_TOOLS: Final = HttpFault(
    HTTPStatus.BAD_GATEWAY, "tools_unknown", "The device did not say which tools it has."
)


class _RpcError(msgspec.Struct):
    code: int | None = None
    message: str = ""


class _Rpc(msgspec.Struct):
    """A JSON-RPC response."""

    result: msgspec.Raw = msgspec.Raw()
    error: _RpcError | None = None


class _Result(msgspec.Struct):
    """Of ``tools/call``."""

    isError: bool = False


@attrs.frozen
class ToolHandlers:
    """Handlers of what is about tools."""

    operations: Operations

    async def list_tools(self, request: Request) -> Json:
        """``GET /admin/v1/devices/{device_id}/tools``."""
        asked = device_of(request, self.operations)
        try:
            with trio.fail_after(LISTING_S):
                tools = await asked.devices.tools(asked.device_id, asked.tenant)
        except (ToolsUnknown, trio.TooSlowError):
            raise HttpRefused(_NO_TOOLS) from None
        except (NoSuchDevice, SeveralDevices, NotConnected, TooManyCalls, DeviceBusy) as error:
            raise refused(error) from None
        return answer(ToolList(asked.device_id, asked.facts.session_id, tuple(tools)))

    async def call_tool(self, request: Request) -> Json:
        """``POST /admin/v1/devices/{device_id}/tools/{tool}``."""
        asked, began = device_of(request, self.operations), trio.current_time()
        tool, device_id = request.parameters["tool"], asked.device_id
        wanted = await said_in(request, ToolCall)
        arguments = msgspec.Raw(ENCODER.encode(wanted.arguments))
        try:
            said = await asked.devices.call(device_id, tool, arguments, asked.tenant)
        except trio.Cancelled:
            self._tell(asked, tool, ABANDONED, began)
            raise
        except ToolNotAllowed:
            self._tell(asked, tool, "refused", began)
            raise HttpRefused(_NOT_ALLOWED) from None
        except (NoSuchDevice, SeveralDevices, NotConnected, TooManyCalls, DeviceBusy) as error:
            self._tell(asked, tool, "refused", began)
            raise refused(error) from None
        outcome, found = _read(said)
        took_ms = self._tell(asked, tool, outcome, began)
        if found is None:
            raise HttpRefused(_UNREADABLE)
        wrong = None if found.error is None else RpcError(found.error.code, found.error.message)
        if outcome == TIMED_OUT and wrong is not None:
            return answer(_unanswered(wrong), HTTPStatus.GATEWAY_TIMEOUT)
        result = found.result if wrong is None else _NULL
        return answer(ToolAnswer(device_id, asked.facts.session_id, tool, result, wrong, took_ms))

    def _tell(self, asked: Asked, tool: str, outcome: str, began: float) -> float:
        """Leave a trace of a call; how long it took, in milliseconds."""
        took_ms = round((trio.current_time() - began) * 1000, 1)
        facts, device_id, shown = asked.facts, asked.device_id, tool[:TOOL_SHOWN_MAX]
        log.info(
            LogEvent.DEVICE_TOOL_CALLED,
            session_id=facts.session_id,
            device_id=device_id,
            tool=shown,
            outcome=outcome,
            duration_ms=took_ms,
        )
        self.operations.connector.bus.publish(
            DeviceToolCalled(
                session=facts,
                device_id=device_id,
                tool=shown,
                outcome=outcome,
                duration_ms=took_ms,
            )
        )
        return took_ms


def _read(said: bytes) -> tuple[str, _Rpc | None]:
    """A JSON-RPC response, and the word for it; ``None`` where it is none."""
    try:
        found = msgspec.json.decode(said, type=_Rpc)
        if found.error is not None:
            return (TIMED_OUT if found.error.code == CALL_FAILED else "failed"), found
        result = msgspec.json.decode(found.result, type=_Result)
    except (msgspec.DecodeError, RecursionError):
        return "failed", None
    return ("failed" if result.isError else "answered"), found


def _unanswered(error: RpcError) -> ErrorAnswer:
    message = "The device did not answer in time, or went away; whether it did it is not known."
    return ErrorAnswer(Error(message, "api_error", None, "device_timeout"), rpc=error)
