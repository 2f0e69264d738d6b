"""The settings of Spark accounts and of chat requests, in the manner of
:mod:`relayd.config.schema`.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

import attrs

from relayd.config import kinds
from relayd.config.about import about
from relayd.config.mistakes import Wrong, quoted
from relayd.config.rules import Flag, Integer, Items, Text, expected, expected_unseen
from relayd.config.secret import Secret, resolve
from relayd.config.spark_models import ASSISTANTS_PATH, FINE_TUNED, VERSIONS

if TYPE_CHECKING:
    from relayd.config.files import Surroundings

TOKENS_MAX: Final = 10**9
UID_MAX_CHARS: Final = 32
"""Of ``header.uid``, by the vendor's page."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")


def _plain_mistake(text: str) -> str | None:
    if _PLAIN.fullmatch(text):
        return None
    return f"expected 1 to 64 letters, digits, dots, dashes and underscores, found {quoted(text)}"


def _uid_mistake(text: str) -> str | None:
    return _plain_mistake(text) if len(text) <= UID_MAX_CHARS else "expected at most 32 characters"


def _path_mistake(text: str) -> str | None:
    if _PATH.fullmatch(text) and not {".", ".."} & set(text.split("/")):
        return None
    return f'expected a path such as "/v3.5/chat", found {quoted(text)}'


@attrs.frozen
class AppId:
    """The application's id: text, ``ENV:NAME`` or ``FILE:path``. It opens nothing by itself."""

    kind: str = attrs.field(default="an application's id", init=False)

    def read(self, value: object, around: Surroundings) -> str:
        """The id, resolved; what stands there by mistake may be a secret and is not repeated."""
        if not isinstance(value, str):
            raise expected_unseen(self.kind, value)
        text = resolve(value, around)
        if not _PLAIN.fullmatch(text):
            raise Wrong.because("expected the app_id of the vendor's console, some 8 characters")
        return text


@attrs.frozen
class Number:
    """A finite number between two bounds, both included."""

    least: float
    most: float

    @property
    def kind(self) -> str:
        """Both bounds."""
        return f"a number from {self.least:g} to {self.most:g}"

    def read(self, value: object, around: Surroundings) -> float:
        """The number as a float."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise expected(self.kind, value)
        if not math.isfinite(value) or not self.least <= value <= self.most:
            raise expected(self.kind, value)
        return float(value)


_FLAG: Final = Flag()
_TOKENS: Final = Integer(1, TOKENS_MAX)
_PENALTY: Final = Number(-2, 2)


@attrs.frozen(kw_only=True)
class SparkSettings:
    """``accounts.spark``: an application at iFlytek, and the model it is used for.

    The account's ``api_key`` is the APIKey. Which row of
    :data:`relayd.config.spark_models.MODELS` is meant, :func:`~relayd.config.spark_choice.model_of`
    says.
    """

    app_id: str = attrs.field(
        metadata=about(
            AppId(), "The application's id: text, `ENV:NAME` or `FILE:path`.", stand_in="00000000"
        )
    )
    api_secret: Secret = attrs.field(
        metadata=about(
            kinds.ApiKey(),
            "A secret reference: the APISecret, which signs each connection.",
            stand_in="stand-in",
        )
    )
    api_version: str | None = attrs.field(
        default=None,
        metadata=about(
            Text("a version", _plain_mistake),
            f"The model's version: {', '.join(f'`{name}`' for name in VERSIONS)}. It says where"
            " the model is and what it can do. Without it `domain` or `endpoint` do.",
            default="none",
        ),
    )
    domain: str | None = attrs.field(
        default=None,
        metadata=about(
            Text("a domain", _plain_mistake),
            "What the upstream calls the model. `general` is read as `lite`, its name since 2024;"
            f" of a fine-tuned model (`{FINE_TUNED}`) it is the service's id.",
            default="the version's",
        ),
    )
    endpoint: str | None = attrs.field(
        default=None,
        metadata=about(
            Text("a path", _path_mistake),
            f"The path, behind that of `base_url`. Of an assistant: `{ASSISTANTS_PATH}` and its"
            " id.",
            default="the version's",
        ),
    )
    patch_id: tuple[str, ...] = attrs.field(
        default=(),
        metadata=about(
            Items("a list of resources", Text("a resource's id", _plain_mistake)),
            "The resources of a fine-tuned model.",
        ),
    )
    uid: str | None = attrs.field(
        default=None,
        metadata=about(
            Text("a user's id", _uid_mistake),
            "Who is named as user, of a request that names none. A request's `user` goes up as a"
            " hash.",
            default="none",
        ),
    )
    context: int | None = attrs.field(
        default=None,
        metadata=about(_TOKENS, "Tokens that a request may have.", default="the version's"),
    )
    max_out: int | None = attrs.field(
        default=None,
        metadata=about(_TOKENS, "What `max_tokens` is clamped to.", default="the version's"),
    )
    system: bool | None = attrs.field(
        default=None,
        metadata=about(
            _FLAG,
            "Whether the model takes the role `system`. Where not, such text is put in front of"
            " the first message of the user.",
            default="the version's",
        ),
    )
    tools: bool | None = attrs.field(
        default=None,
        metadata=about(
            _FLAG, "Whether the model takes functions over WebSocket.", default="the version's"
        ),
    )
    reasoning: bool | None = attrs.field(
        default=None,
        metadata=about(
            _FLAG,
            "Whether the model is one of the X family: it may think, takes `top_p` and penalties,"
            " and temperatures up to 2.",
            default="the version's",
        ),
    )
    http_password: Secret | None = attrs.field(
        default=None,
        metadata=about(
            kinds.ApiKey(),
            "A secret reference: the APIPassword of the vendor's HTTP interface.",
            default="none",
        ),
    )


@attrs.frozen(kw_only=True)
class ChatDefaults:
    """``accounts.defaults``: what a chat request gets where it is silent.

    A value that the model does not know is not sent; one beyond its limits is clamped.
    """

    temperature: float | None = attrs.field(
        default=None, metadata=about(Number(0, 2), "How freely it chooses.", default="none")
    )
    top_p: float | None = attrs.field(
        default=None, metadata=about(Number(0, 1), "Nucleus sampling.", default="none")
    )
    top_k: int | None = attrs.field(
        default=None,
        metadata=about(_TOKENS, "How many candidates a token is chosen from.", default="none"),
    )
    presence_penalty: float | None = attrs.field(
        default=None, metadata=about(_PENALTY, "Against any repetition.", default="none")
    )
    frequency_penalty: float | None = attrs.field(
        default=None, metadata=about(_PENALTY, "Against frequent repetition.", default="none")
    )
    max_tokens: int | None = attrs.field(
        default=None, metadata=about(_TOKENS, "Tokens of an answer.", default="none")
    )
