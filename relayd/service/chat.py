"""``POST /v1/chat/completions``: a chat request, answered as a stream or as one object.

The status of a stream is decided by the first word of the answer: an error before it is the
response's own, with its status and in OpenAI's error shape; behind it the stream says what went
wrong, then ends. An answer in one document has its status when it is whole.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import Final

import attrs
import trio

from relayd.config.providers import Dialect
from relayd.config.snapshot import Key, Snapshot
from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.behind import Fault, Faulted, Finished, Reasoning, Text, ToolCall, Used
from relayd.dialect.chat_errors import Mistake
from relayd.dialect.chat_reply import DONE, Reply, reply_id, sse
from relayd.dialect.chat_request import REQUEST_MAX_BYTES, read_request
from relayd.dialect.chat_values import ChatRequest
from relayd.dialect.meter import Usage
from relayd.observe.bus import Bus
from relayd.service.http.refusals import HttpRefused
from relayd.service.http.request import Request
from relayd.service.http.responses import Headers, Json, Response, Sse
from relayd.service.opening import facts_of, purse_of
from relayd.session.admission import Grant, tag_of
from relayd.session.books import Books
from relayd.session.chat.handover import Denied, Opened, Said, Whole
from relayd.session.chat.shared import ChatShared
from relayd.session.chat.turn import ChatTurn
from relayd.session.chat.verdicts import INTERNAL
from relayd.session.responses.accounting import Totals
from relayd.session.turn_lines import TurnLines

CHAT_PATHS: Final = (
    "/v1/chat/completions",
    "/chat/completions",
    "/openai/v1/chat/completions",
)
"""With and without the prefix that clients put there."""

IGNORED_HEADER: Final = "x-relayd-ignored"
IGNORED_MAX_CHARS: Final = 1024
"""Of that header."""

UPSTREAM_ID_HEADER: Final = "x-upstream-sid"


@attrs.frozen(kw_only=True)
class ChatApi:
    """Answers requests whose key is known."""

    shared: ChatShared
    books: Books
    bus: Bus

    async def create(self, request: Request, key: Key, snapshot: Snapshot) -> Response:
        """``POST /v1/chat/completions``, with ``stream`` as events, without as one document.

        Raises:
            HttpRefused: The key may not, or the body cannot be read.
        """
        grant = self._granted(request, key)
        asked = read_request(await request.body(REQUEST_MAX_BYTES))
        if isinstance(asked, Mistake):
            return Json(asked.body(), asked.status)
        if not key.permits_model(asked.model):
            message = "This key may not use the requested model."
            raise HttpRefused(Refusal(RefusalCode.MODEL_NOT_ALLOWED, message, "model"))
        turn = self._turn(request, grant, snapshot, asked)
        request.start_soon(turn.run)
        first = await turn.opened()
        if isinstance(first, Denied):
            return _error(first.fault, _ignored(first.ignored))
        opened = first.opened if isinstance(first, Whole) else first
        reply = Reply(
            model=asked.model,
            id=reply_id(opened.upstream_id or request.request_id),
            created=int(self.books.wall()),
            include_usage=asked.include_usage,
        )
        headers = _headers(opened)
        if isinstance(first, Whole):
            return Json(first.collected.whole(reply, first.reason, first.usage), headers=headers)
        return Sse(_streamed(reply, turn, include_usage=asked.include_usage), headers=headers)

    def _granted(self, request: Request, key: Key) -> Grant:
        """What the key may do here. Raises :class:`HttpRefused`."""
        if not key.permits_dialect(Dialect.CHAT):
            message = f"This key may not use the dialect {Dialect.CHAT}."
            raise HttpRefused(Refusal(RefusalCode.DIALECT_NOT_ALLOWED, message))
        tag = tag_of(request.head)
        if isinstance(tag, Refusal):
            raise HttpRefused(tag)
        return Grant(
            key=key,
            dialect=Dialect.CHAT,
            client_address=request.client_address,
            granted_at=trio.current_time(),
            wall_granted_at=self.books.wall(),
            tag=tag,
        )

    def _turn(
        self, request: Request, grant: Grant, snapshot: Snapshot, asked: ChatRequest
    ) -> ChatTurn:
        facts = facts_of(grant, request.request_id, "")
        return ChatTurn(
            shared=self.shared,
            grant=grant,
            snapshot=snapshot,
            purse=purse_of(self.books, grant, snapshot, facts, TurnLines(self.bus), Totals()),
            request_id=request.request_id,
            request=asked,
        )


async def _streamed(reply: Reply, turn: ChatTurn, *, include_usage: bool) -> AsyncGenerator[bytes]:
    """The events, those together that come together; behind them the one that ends every stream."""
    yield sse(reply.opening())
    usage: Usage | None = None
    while (said := await turn.said()) is not None:
        told: list[bytes] = []
        for piece in said:
            match piece:
                case Text() | Reasoning() | ToolCall():
                    told.append(sse(reply.content(piece)))
                case Used(used):
                    usage = used
                case Finished(reason):
                    told.append(sse(reply.last(reason)))
                    if include_usage and usage is not None:
                        told.append(sse(reply.usage(usage)))
                    told.append(DONE)
                case Faulted(fault):
                    told += (sse(fault.body()), DONE)
                case _:
                    pass
        if told:
            yield b"".join(told)
        if _is_last(said):
            return
    # The turn ended without a last word, which a bug alone can bring about.
    yield sse(INTERNAL.body()) + DONE


def _is_last(said: Said) -> bool:
    return isinstance(said[-1], Finished | Faulted)


def _error(fault: Fault, headers: Headers) -> Json:
    """A fault as the response; what it says itself goes before ``headers``."""
    own = fault.headers()
    names = {name for name, _ in own}
    rest = tuple(header for header in headers if header[0] not in names)
    return Json(fault.body(), fault.status, (*own, *rest))


def _headers(opened: Opened) -> Headers:
    sid = opened.upstream_id
    return (*(() if sid is None else ((UPSTREAM_ID_HEADER, sid),)), *_ignored(opened.ignored))


def _ignored(names: Iterable[str]) -> Headers:
    """The header that names what of the request was not acted on, as many as there is room for."""
    told = ", ".join(_as_many_as_fit(names))
    return ((IGNORED_HEADER, told),) if told else ()


def _as_many_as_fit(names: Iterable[str]) -> Iterator[str]:
    room = IGNORED_MAX_CHARS
    for name in names:
        room -= len(name) + len(", ")
        if room < 0:
            return
        yield name
