"""A chat request as Spark's HTTP interface takes it, which does what its WebSockets cannot.

Shape: the vendor's pages HTTP调用文档.html and X1http.html.
"""

from __future__ import annotations

import attrs
import msgspec

from relayd.config.spark_models import SparkModel
from relayd.dialect.chat_values import ChatRequest, Message, ToolChoice, ToolMode
from relayd.dialect.spark_account import SparkAccount, model_at
from relayd.dialect.spark_ranges import fitted, limited, ranges_of
from relayd.dialect.spark_request import SAMPLING

_NO_PARAMETERS = msgspec.Raw(b'{"type":"object","properties":{},"required":[]}')
_ONE_FORMAT = "json_object"


@attrs.frozen
class HttpPrepared:
    """A request as it goes upstream.

    Attributes:
        body: JSON; the answer is always asked for as a stream.
        limit: The tokens that the answer may have, where that is known.
        ignored: What of the request is not acted on, by name.
    """

    body: bytes = attrs.field(repr=False)
    limit: int | None
    ignored: tuple[str, ...]


def http_prepared(request: ChatRequest, account: SparkAccount) -> HttpPrepared:
    """The body of a request at an account."""
    model = model_at(account)
    ignored = list(request.unsupported)
    body: dict[str, object] = {
        "model": model.domain,
        "messages": list(map(_message, request.messages)),
        "stream": True,
    }
    ranges = ranges_of(model, over_http=True)
    for name in SAMPLING:
        asked: float | None = getattr(request, name)
        value = getattr(account.defaults, name) if asked is None else asked
        if value is not None:
            body[name] = fitted(value, ranges[name])
    limit = limited(request.max_tokens or account.defaults.max_tokens, model)
    if limit is not None:
        body["max_tokens"] = limit
    tools = _tools(request, model, ignored)
    if tools:
        body["tools"] = tools
    if request.tools and request.tool_choice.mode is not ToolMode.NONE:
        body["tool_calls_switch"] = True
        body["tool_choice"] = _choice(request.tool_choice)
    if request.thinking is not None:
        if model.reasoning:
            body["thinking"] = {"type": request.thinking.value}
        else:
            ignored.append(request.thinking_param)
    if request.response_format == _ONE_FORMAT:
        body["response_format"] = {"type": _ONE_FORMAT}
    elif request.response_format is not None:
        ignored.append("response_format")
    if request.stop:
        ignored.append("stop")
    return HttpPrepared(
        msgspec.json.encode(body), limit or model.default_out, tuple(dict.fromkeys(ignored))
    )


def _message(message: Message) -> dict[str, object]:
    told: dict[str, object] = {"role": message.role.value, "content": message.text}
    if message.tool_call_id is not None:
        told["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        told["tool_calls"] = [
            {
                "id": call.id or f"call_{index}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for index, call in enumerate(message.tool_calls)
        ]
    return told


def _tools(request: ChatRequest, model: SparkModel, ignored: list[str]) -> list[dict[str, object]]:
    """The functions, and whether to search, which some models do unless they are told not to.

    Those of the X family are told either: a search beside functions, even one that is switched off,
    has the request refused ("web_search和function 不可同时传", X1http.html).
    """
    tools: list[dict[str, object]] = []
    if request.tool_choice.mode is not ToolMode.NONE:
        tools = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description or "",
                    "parameters": _NO_PARAMETERS if tool.parameters is None else tool.parameters,
                },
            }
            for tool in request.tools
        ]
    if model.web_search and not (tools and model.reasoning):
        search = {"enable": request.web_search}
        tools.append({"type": "web_search", "web_search": search})
    elif request.web_search_param is not None:
        ignored.append(request.web_search_param)
    return tools


def _choice(choice: ToolChoice) -> object:
    if choice.name is not None:
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode.value
