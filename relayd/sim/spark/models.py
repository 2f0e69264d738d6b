"""What there is at which path: the vendor's models, with what each takes and how much of it.

Source: Web.html and X1ws.html for the WebSocket paths; the page about fine-tuned models and
SparkAssistantAPI.html for the last two; for the HTTP paths HTTP调用文档.html and X1http.html. Where
a page gives no number, the nearest relative's stands in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

_K: Final = 1024


@attrs.frozen(kw_only=True)
class Model:
    """One model at one path.

    Attributes:
        domains: What a request may call it, in full.
        prefixes: The same, by how the names begin.
        context_tokens: What all messages together may have.
        answer_tokens_max: What ``max_tokens`` may be.
        answer_tokens: What it is where a request is silent.
        temperature_max: The most; more than 0 is the least.
        has_system: Whether it takes the role ``system``.
        is_over_http: Whether it is asked over HTTP, where there is a role ``tool`` and the
            temperature may be 0.
        has_functions: Whether it calls functions; one that does not ignores them.
        is_searching: Whether it searches the web unless told not to.
        is_reasoning: Whether it thinks before it speaks, and knows ``top_p`` and the penalties.
        is_closing: Whether it closes when it has answered; else the client has to.
    """

    domains: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    context_tokens: int = 8 * _K
    answer_tokens_max: int = 8192
    answer_tokens: int = 4096
    temperature_max: float = 1.0
    has_system: bool = False
    is_over_http: bool = False
    has_functions: bool = False
    is_searching: bool = False
    is_reasoning: bool = False
    is_closing: bool = True

    def is_called(self, domain: str) -> bool:
        """Whether ``domain`` means this model."""
        return domain in self.domains or domain.startswith(self.prefixes)


LITE: Final = Model(domains=("lite",), answer_tokens_max=4096)
V2: Final = Model(domains=("generalv2",))
PRO: Final = Model(domains=("generalv3",), is_searching=True)
PRO_128K: Final = Model(
    domains=("pro-128k",), context_tokens=128 * _K, answer_tokens_max=4096, is_searching=True
)
MAX: Final = Model(domains=("generalv3.5",), has_system=True, has_functions=True, is_searching=True)
MAX_32K: Final = Model(
    domains=("max-32k",), context_tokens=32 * _K, has_system=True, is_searching=True
)
ULTRA: Final = Model(domains=("4.0Ultra",), has_system=True, has_functions=True, is_searching=True)
LITERATURE: Final = Model(domains=("kjwx",), answer_tokens_max=4096)
X1: Final = Model(
    domains=("x1",),
    context_tokens=64 * _K,
    answer_tokens_max=32_768,
    answer_tokens=32_768,
    temperature_max=2.0,
    has_system=True,
    is_reasoning=True,
)
X1_5: Final = attrs.evolve(
    X1,
    domains=("spark-x",),
    answer_tokens_max=65_535,
    answer_tokens=65_535,
    has_functions=True,
)
X2: Final = attrs.evolve(X1_5, context_tokens=192 * _K)
FINE_TUNED: Final = Model(
    prefixes=("patch", "xop"), answer_tokens_max=32_768, has_system=True, is_closing=False
)
ASSISTANT: Final = Model(prefixes=("general",), answer_tokens_max=4096)

PATHS: Final[Mapping[str, tuple[Model, ...]]] = {
    "/v1.1/chat": (LITE, FINE_TUNED),
    "/v2.1/chat": (V2,),
    "/v3.1/chat": (PRO,),
    "/chat/pro-128k": (PRO_128K,),
    "/v3.5/chat": (MAX,),
    "/chat/max-32k": (MAX_32K,),
    "/v4.0/chat": (ULTRA,),
    "/v1.1/chat_kjwx": (LITERATURE,),
    "/v1/x1": (X1_5, X1),
    "/v1/reasoner-x1-preview": (X1,),
    "/x2": (X2,),
}
"""The WebSocket API. Hosts are left out: here all paths are at one address."""

ASSISTANTS: Final = "/v1/assistants/"
"""An assistant's id follows."""


def _over_http(model: Model, *, has_functions: bool = True) -> Model:
    return attrs.evolve(
        model,
        temperature_max=2.0,
        has_system=True,
        is_over_http=True,
        has_functions=has_functions,
        is_closing=True,
    )


_V1: Final = tuple(map(_over_http, (PRO, PRO_128K, MAX, MAX_32K, ULTRA)))
_X1_5: Final = _over_http(attrs.evolve(X1_5, domains=("spark-x", "x1")))
_X2: Final = _over_http(X2)

HTTP_PATHS: Final[Mapping[str, tuple[Model, ...]]] = {
    "/v1/chat/completions": (_over_http(LITE, has_functions=False), *_V1),
    "/v2/chat/completions": (_X1_5,),
    "/x2/chat/completions": (_X2,),
    "/agent/v1/chat/completions": (_X2,),
}
"""The HTTP API."""


def models_at(path: str) -> tuple[Model, ...]:
    """The models of the WebSocket API at ``path``; none: there is nothing."""
    assistant = path.removeprefix(ASSISTANTS)
    if assistant not in {"", path} and "/" not in assistant:
        return (ASSISTANT,)
    return PATHS.get(path, ())
