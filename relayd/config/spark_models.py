"""iFlytek Spark's models as data: where each is asked, what it is called there, what it can do.

Source: the vendor's pages Web.html, X1ws.html, X1http.html (of 2025-11-03, for X1.5) and
SparkAssistantAPI.html (xfyun.cn/doc/spark) and its page about fine-tuned models. What a page leaves
open is ``None``, or the cautious word, and an account's ``spark`` table says more. Nothing is
inferred from a version's spelling: a domain made up of one is refused by the upstream with 10003.

The table stands with the configuration because a mistake in it is one of the configuration, found
before anything runs.
"""

from __future__ import annotations

from typing import Final

import attrs

HOST: Final = "spark-api.xf-yun.com"
FINE_TUNED: Final = "maas"
"""The version of a row whose domain and resources are the operator's own."""

ASSISTANT: Final = "assistant"
ASSISTANTS_PATH: Final = "/v1/assistants/"
"""An assistant's id follows."""

CURRENT_DOMAINS: Final = {"general": "lite"}
"""``general`` has not been answered since October 2024; what it meant is called ``lite``."""

_K: Final = 1024


@attrs.frozen(kw_only=True)
class SparkModel:
    """One row of the table.

    Attributes:
        versions: What ``api_version`` may call it, in lower case.
        host: Where it is.
        endpoint: The path; ``None`` where every account has its own.
        domain: ``parameter.chat.domain``; ``None`` where every account has its own.
        context: Tokens of all content of a request, if known.
        max_out: The most that ``max_tokens`` may be, if known.
        default_out: What it is where a request is silent, if known.
        system: Whether it takes the role ``system``.
        tools: Whether it takes functions over WebSocket.
        web_search: Whether it searches the web, and does so unless told not to.
        reasoning: Whether it belongs to the X family: it may think, its temperature goes to 2, and
            it knows ``top_p`` and the penalties.
    """

    product: str
    versions: tuple[str, ...]
    host: str = HOST
    endpoint: str | None
    domain: str | None
    context: int | None = None
    max_out: int | None = None
    default_out: int | None = None
    system: bool = False
    tools: bool = False
    web_search: bool = False
    reasoning: bool = False


MODELS: Final = (
    SparkModel(
        product="Lite",
        versions=("v1.1",),
        endpoint="/v1.1/chat",
        domain="lite",
        context=8 * _K,
        max_out=4096,
        default_out=4096,
    ),
    SparkModel(
        product="V2.0",
        versions=("v2.1",),
        endpoint="/v2.1/chat",
        domain="generalv2",
        context=8 * _K,
    ),
    SparkModel(
        product="Pro",
        versions=("v3.1",),
        endpoint="/v3.1/chat",
        domain="generalv3",
        context=8 * _K,
        max_out=8192,
        default_out=4096,
        web_search=True,
    ),
    SparkModel(
        product="Pro-128K",
        versions=("pro-128k",),
        endpoint="/chat/pro-128k",
        domain="pro-128k",
        context=128 * _K,
        max_out=4096,
        default_out=4096,
        web_search=True,
    ),
    SparkModel(
        product="Max",
        versions=("v3.5",),
        endpoint="/v3.5/chat",
        domain="generalv3.5",
        context=8 * _K,
        max_out=8192,
        default_out=4096,
        system=True,
        tools=True,
        web_search=True,
    ),
    SparkModel(
        product="Max-32K",
        versions=("max-32k",),
        endpoint="/chat/max-32k",
        domain="max-32k",
        context=32 * _K,
        max_out=8192,
        default_out=4096,
        system=True,
        web_search=True,
    ),
    SparkModel(
        product="4.0 Ultra",
        versions=("v4.0",),
        endpoint="/v4.0/chat",
        domain="4.0Ultra",
        context=8 * _K,
        max_out=8192,
        default_out=4096,
        system=True,
        tools=True,
        web_search=True,
    ),
    SparkModel(
        product="科技文献",
        versions=("kjwx",),
        host="spark-openapi-n.cn-huabei-1.xf-yun.com",
        endpoint="/v1.1/chat_kjwx",
        domain="kjwx",
    ),
    SparkModel(
        product="X1.5",
        versions=("x1.5", "x1"),
        endpoint="/v1/x1",
        domain="spark-x",
        context=64 * _K,
        max_out=65_535,
        default_out=65_535,
        system=True,
        tools=True,
        web_search=True,
        reasoning=True,
    ),
    SparkModel(
        product="X1",
        versions=("x1",),
        endpoint="/v1/x1",
        domain="x1",
        context=64 * _K,
        max_out=32_768,
        default_out=32_768,
        system=True,
        web_search=True,
        reasoning=True,
    ),
    SparkModel(
        product="X1-Preview",
        versions=("x1-preview",),
        endpoint="/v1/reasoner-x1-preview",
        domain="x1",
        context=64 * _K,
        reasoning=True,
    ),
    SparkModel(
        product="X2",
        versions=("x2",),
        endpoint="/x2",
        domain="spark-x",
        context=192 * _K,
        system=True,
        web_search=True,
        reasoning=True,
    ),
    SparkModel(
        product="fine-tuned",
        versions=(FINE_TUNED,),
        host="maas-api.cn-huabei-1.xf-yun.com",
        endpoint="/v1.1/chat",
        domain=None,
        system=True,
    ),
    SparkModel(
        product="assistant",
        versions=(ASSISTANT,),
        host="spark-openapi.cn-huabei-1.xf-yun.com",
        endpoint=None,
        domain=None,
        max_out=4096,
    ),
)

VERSIONS: Final = tuple(dict.fromkeys(name for model in MODELS for name in model.versions))
DOMAINS: Final = tuple(dict.fromkeys(model.domain for model in MODELS if model.domain))
