"""A chat request as Spark's one request frame, and what of it Spark cannot do.

Shape: the vendor's pages Web.html and X1ws.html. What they do not document for a model is not sent
to it: the upstream refuses a frame for one parameter too many (10004, 10005).
"""

from __future__ import annotations

import hashlib
from typing import Final

import attrs
import msgspec

from relayd.config.spark_models import SparkModel
from relayd.dialect.behind import Fault
from relayd.dialect.chat_account import Defaults
from relayd.dialect.chat_faults import unacceptable
from relayd.dialect.chat_history import told
from relayd.dialect.chat_usage import request_size
from relayd.dialect.chat_values import ChatRequest, ToolMode
from relayd.dialect.spark_account import SparkAccount, model_at, table_of
from relayd.dialect.spark_ranges import fitted, limited, ranges_of

SAMPLING: Final = ("temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty")
UID_CHARS: Final = 32

TOKEN_BYTES_MAX: Final = 16
"""No text has more bytes to a token, all in all. So a request that is refused here for its length
would be refused upstream for certain; of the others the upstream judges."""

_NO_PARAMETERS: Final = msgspec.Raw(b'{"type":"object","properties":{},"required":[]}')


@attrs.frozen
class Prepared:
    """A request as it goes upstream.

    Attributes:
        frame: The one text frame.
        limit: The tokens that the answer may have, where that is known.
        ignored: What of the request is not acted on, by name.
    """

    frame: bytes = attrs.field(repr=False)
    limit: int | None
    ignored: tuple[str, ...]


def refusal(request: ChatRequest, account: SparkAccount) -> Fault | None:
    """Why the account's model cannot be asked this, if so."""
    model = model_at(account)
    if request.tool_choice.mode is ToolMode.REQUIRED:
        message = (
            "This model cannot be made to call a function over WebSocket. Send tool_choice auto,"
            ' or have the gateway\'s operator give its account transport = "auto" and'
            " spark.http_password."
        )
        return unacceptable("unsupported_value", message, "tool_choice")
    size = request_size(request, tools=model.tools)
    if model.context is not None and size > model.context * TOKEN_BYTES_MAX:
        what = "messages and tools" if model.tools and request.tools else "messages"
        message = (
            f"The {what} have {size} bytes of text; the model's context is {model.context}"
            " tokens. Shorten the conversation."
        )
        return unacceptable("context_length_exceeded", message, "messages")
    return None


def prepared(request: ChatRequest, account: SparkAccount, *, attempt: int = 0) -> Prepared:
    """The frame of a request that the account's model takes.

    Args:
        attempt: Each has a user's id of its own: an upstream that still knows the last one's would
            refuse it (10006).
    """
    model, table = model_at(account), table_of(account)
    history = told(request.messages, system=model.system)
    ignored = [*request.unsupported, *history.dropped]
    chat, limit = _chat(request, account.defaults, model, ignored)
    header: dict[str, object] = {"app_id": table.app_id}
    if (uid := _uid(request.user, table.uid, attempt)) is not None:
        header["uid"] = uid
    if table.patch_id:
        header["patch_id"] = table.patch_id
    texts = [{"role": turn.role.value, "content": turn.text} for turn in history.turns]
    payload: dict[str, object] = {"message": {"text": texts}}
    if (functions := _functions(request, model, ignored)) is not None:
        payload["functions"] = {"text": functions}
    frame = msgspec.json.encode({"header": header, "parameter": {"chat": chat}, "payload": payload})
    return Prepared(frame, limit, tuple(dict.fromkeys(ignored)))


def _chat(
    request: ChatRequest, defaults: Defaults, model: SparkModel, ignored: list[str]
) -> tuple[dict[str, object], int | None]:
    """``parameter.chat``, and the tokens that the answer may have."""
    chat: dict[str, object] = {"domain": model.domain}
    chat.update(_sampling(request, defaults, model, ignored))
    limit = limited(request.max_tokens or defaults.max_tokens, model)
    if limit is not None:
        chat["max_tokens"] = limit
    if request.thinking is not None and model.reasoning:
        chat["thinking"] = {"type": request.thinking.value}
    elif request.thinking is not None:
        ignored.append(request.thinking_param)
    if model.web_search:
        chat["tools"] = [{"type": "web_search", "web_search": _search(request)}]
    elif request.web_search_param is not None:
        ignored.append(request.web_search_param)
    if request.stop:
        ignored.append("stop")
    if request.response_format is not None:
        ignored.append("response_format")
    return chat, limit or model.default_out


def _sampling(
    request: ChatRequest, defaults: Defaults, model: SparkModel, ignored: list[str]
) -> dict[str, float]:
    """The numbers that the model knows; several are documented for the X family alone."""
    sent: dict[str, float] = {}
    ranges = ranges_of(model)
    for name in SAMPLING:
        asked: float | None = getattr(request, name)
        value = getattr(defaults, name) if asked is None else asked
        if value is not None and name in ranges:
            sent[name] = fitted(value, ranges[name])
        elif asked is not None:
            ignored.append(name)
    return sent


def _search(request: ChatRequest) -> dict[str, object]:
    """Searching is on where it is not switched off, and its results are billed."""
    if not request.web_search:
        return {"enable": False}
    return {"enable": True, "show_ref_label": False, "search_mode": "normal"}


def _functions(
    request: ChatRequest, model: SparkModel, ignored: list[str]
) -> list[dict[str, object]] | None:
    if not request.tools or request.tool_choice.mode is ToolMode.NONE:
        return None
    if not model.tools:
        ignored.append("tools")
        return None
    return [
        {
            "name": tool.name,
            "description": tool.description or "",
            "parameters": _NO_PARAMETERS if tool.parameters is None else tool.parameters,
        }
        for tool in request.tools
    ]


def _uid(user: str | None, own: str | None, attempt: int) -> str | None:
    """The user's id: a hash, since the client's word may be a name, and any length.

    The account's own stands for requests that name nobody.
    """
    if user is None and (own is None or attempt == 0):
        return own
    named = f"user {user}" if user is not None else f"own {own}"
    return hashlib.sha256(f"{named} {attempt}".encode()).hexdigest()[:UID_CHARS]
