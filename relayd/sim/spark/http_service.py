"""The HTTP API: ``POST …/chat/completions``, answered in one piece or as server-sent events.

The answers and their scenarios are those of the WebSocket API; a frame becomes an object. An
answer that ends in a Close there ends here with its connection, inside the body.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import msgspec
import trio

from relayd.sim.responses.steps import CloseWith, Distorted, Exit, Leave, Pause, Step
from relayd.sim.spark.desk import Desk, Terms
from relayd.sim.spark.errors import JsonObject
from relayd.sim.spark.faults import FOREVER_S
from relayd.sim.spark.http_forms import Form, code_of, error_body, error_chunk, status_of
from relayd.sim.spark.http_request import manner_of, question_in
from relayd.sim.spark.http_wire import ClientGone, HttpWire, Received
from relayd.sim.spark.models import HTTP_PATHS, Model
from relayd.sim.spark.question import Question
from relayd.sim.spark.scenario import REFUSALS
from relayd.sim.spark.signing import NO_ROUTE, UNAUTHORIZED, Credential, Refusal
from relayd.sim.spark.tally import Running

BAD_PASSWORD: Final = Refusal(401, "HMAC secret key does not match")
BAD_METHOD: Final = Refusal(405, "Method Not Allowed")

_FIRST: Final = "/v1/"


async def serve(stream: trio.abc.Stream, desk: Desk, terms: Terms) -> None:
    """Answer the one request of a connection, and close it.

    Cancelling this cuts the connection.
    """
    wire = HttpWire(stream, terms.wall())
    with contextlib.suppress(ClientGone):
        request = await wire.receive()
        models = HTTP_PATHS.get(urlsplit(request.target).path, ())
        visitor = _visitor(request, terms) if models else NO_ROUTE
        if isinstance(visitor, Refusal):
            await wire.answer(visitor.status, error_body(visitor.message, None))
            await wire.close()
        else:
            await _answer(wire, desk, terms, visitor, request, models)


def _visitor(request: Received, terms: Terms) -> Credential | Refusal:
    if terms.scenario in REFUSALS:
        return REFUSALS[terms.scenario]
    if request.method != "POST":
        return BAD_METHOD
    scheme, _, password = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not password.strip():
        return UNAUTHORIZED
    for one in terms.credentials:
        if password.strip() in (one.api_password, f"{one.api_key}:{one.api_secret}"):
            return one
    return BAD_PASSWORD


async def _answer(
    wire: HttpWire,
    desk: Desk,
    terms: Terms,
    visitor: Credential,
    request: Received,
    models: Sequence[Model],
) -> None:
    running, is_cancelled = desk.open(visitor), False
    manner = manner_of(request.body)
    form = Form(
        model=manner.model,
        created=int(terms.wall()),
        is_full=not request.target.startswith(_FIRST),
        has_call_list=manner.tool_calls_switch,
    )

    def ask() -> Question:
        return question_in(request.body, models)

    try:
        steps = desk.begin(running, terms, ask)
        speak = _stream if manner.stream else _tell
        is_cancelled = await _until_gone(wire, partial(speak, wire, running, form, steps))
    finally:
        desk.dismiss(running, is_cancelled=is_cancelled)


async def _until_gone(wire: HttpWire, speak: Callable[[], Awaitable[bool]]) -> bool:
    """``speak``, which says whether its answer is whole, for as long as the client stays.

    Returns:
        Whether the client went first.
    """
    is_gone = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_when_gone, wire, nursery.cancel_scope)
        with contextlib.suppress(ClientGone):
            is_whole = await speak()
            is_gone = False
            if is_whole:
                await wire.close()
        nursery.cancel_scope.cancel()
    return is_gone


async def _cancel_when_gone(wire: HttpWire, scope: trio.CancelScope) -> None:
    await wire.wait_gone()
    scope.cancel()


async def _stream(wire: HttpWire, running: Running, form: Form, steps: Iterator[Step]) -> bool:
    """Send an object per frame. Returns whether the answer has its end."""
    is_begun = False
    while (frame := await _next(steps)) is not None:
        if isinstance(frame, CloseWith | Leave):
            return False
        code = code_of(frame)
        if code and not is_begun:
            return await _refuse(wire, running, frame)
        if not is_begun:
            await wire.begin_stream()
            is_begun = True
        told = error_chunk(frame) if code else form.chunk(frame)
        await wire.send_event(msgspec.json.encode(told))
        running.sent(frame)
        if code:
            await wire.end_stream()
            return True
    await wire.send_event(b"[DONE]")
    await wire.end_stream()
    return True


async def _tell(wire: HttpWire, running: Running, form: Form, steps: Iterator[Step]) -> bool:
    """Send all frames as one object. Returns whether there was an answer."""
    said: list[JsonObject] = []
    while (frame := await _next(steps)) is not None:
        if isinstance(frame, CloseWith | Leave):
            return False
        if code_of(frame):
            return await _refuse(wire, running, frame)
        said.append(frame)
    await wire.answer(200, form.whole(said))
    for frame in said:
        running.sent(frame)
    return True


async def _refuse(wire: HttpWire, running: Running, frame: JsonObject) -> bool:
    body = {"error": error_chunk(frame)["error"]}
    await wire.answer(status_of(code_of(frame)), body)
    running.sent(frame)
    return True


async def _next(steps: Iterator[Step]) -> JsonObject | Exit | None:
    """The next frame when it is due, or how the connection ends; ``None``: all is said."""
    for step in steps:
        match step:
            case Pause(seconds=seconds):
                await trio.sleep(seconds)
            case Leave.FREEZE:
                await trio.sleep(FOREVER_S)
            case CloseWith() | Leave():
                return step
            case Distorted(event=event):
                return event
            case _:
                return step
    return None
