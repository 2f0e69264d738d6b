"""The settings of accounts, in the manner of :mod:`relayd.config.schema`, which passes them on."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

from relayd.config import kinds
from relayd.config.about import about
from relayd.config.providers import Provider
from relayd.config.proxy import Proxy, ProxyUrl
from relayd.config.rules import Flag, Integer, Seconds, Word
from relayd.config.secret import Secret
from relayd.config.spark import ChatDefaults, SparkSettings
from relayd.config.xiaozhi import DeviceServerSettings

OPENAI_BASE_URL: Final = "https://api.openai.com/v1"
COUNT_MAX: Final = 10**9

SESSION_FIRST_FRAME_S: Final = 5.0
SESSION_IDLE_S: Final = 60.0
"""Where nothing is set, of dialects whose sessions are WebSockets; chat has its own."""

_SECONDS: Final = Seconds()
_FLAG: Final = Flag()


def _names(headers: Mapping[str, str]) -> str:
    """Header values may be keys, so only the names are shown."""
    return str(list(headers))


@attrs.frozen(kw_only=True)
class Timeouts:
    """``accounts.timeouts``: how long an upstream may take."""

    # ``None`` where dialects differ: none takes the default of another for the operator's word.

    connect_s: float = attrs.field(
        default=5.0,
        metadata=about(
            _SECONDS,
            "To connect, with TLS and upgrade. An attempt also gets at most half of what is left of"
            " `limits.admission_s`.",
        ),
    )
    first_frame_s: float | None = attrs.field(
        default=None,
        metadata=about(
            _SECONDS,
            "From its 101 to its first frame, where the dialect waits for it; chat: from the"
            " request to the first frame that says something.",
            default="`5.0`; chat: `20.0`, of models that think `60.0`",
        ),
    )
    idle_s: float | None = attrs.field(
        default=None,
        metadata=about(
            _SECONDS,
            "Its longest silence while a response runs.",
            default="`60.0`; chat: `30.0`",
        ),
    )
    total_s: float = attrs.field(
        default=300.0, metadata=about(_SECONDS, "One response, from its request to its last event.")
    )

    @property
    def session_first_frame_s(self) -> float:
        """``first_frame_s`` of a dialect whose sessions are WebSockets."""
        return SESSION_FIRST_FRAME_S if self.first_frame_s is None else self.first_frame_s

    @property
    def session_idle_s(self) -> float:
        """``idle_s`` of such a dialect."""
        return SESSION_IDLE_S if self.idle_s is None else self.idle_s


class Transport(enum.StrEnum):
    """How the chat dialect reaches an account."""

    WS = "ws"
    HTTP = "http"
    AUTO = "auto"


class UpstreamMode(enum.StrEnum):
    """How the responses dialect uses an account's sockets."""

    POOL = "pool"
    DEDICATED = "dedicated"
    OFF = "off"


@attrs.frozen(kw_only=True)
class AccountSettings:
    """``[[accounts]]``: where sessions may go. One table an account."""

    name: str = attrs.field(
        metadata=about(
            kinds.NAME,
            "What logs and the path `/relay/{account}` call it. Unique.",
            stand_in="unnamed",
        )
    )
    provider: Provider = attrs.field(
        converter=Provider,
        metadata=about(
            Word(tuple(map(str, Provider))),
            "`openai`: OpenAI itself; `compatible`: the same protocol elsewhere; `websocket`: any"
            " WebSocket service, for the passthrough dialect; `spark`: iFlytek's chat; `runtask`:"
            " chat by tasks over WebSockets, as Alibaba has it; `xiaozhi`: a server of xiaozhi"
            " devices; `sim:…`: a simulated upstream that relayd starts by itself.",
            stand_in=Provider.WEBSOCKET,
        ),
    )
    base_url: str | None = attrs.field(
        default=None,
        metadata=about(
            kinds.BASE_URL,
            "Where the upstream is: http, https, ws or wss; relayd maps to what the dialect needs."
            " Required for `compatible`, `websocket`, `runtask` and `xiaozhi`, refused for"
            " `sim:…`.",
            default=f"`{OPENAI_BASE_URL}` for `openai`, the version's for `spark`",
        ),
    )
    api_key: Secret | None = attrs.field(
        default=None,
        metadata=about(
            kinds.ApiKey(),
            "A secret reference: what relayd presents upstream, as `Authorization: Bearer`.",
            default="none",
        ),
    )
    models: tuple[str, ...] = attrs.field(
        default=("*",),
        metadata=about(kinds.MODELS, "The models it serves. `*` stands for any run of characters."),
    )
    model_map: Mapping[str, str] = attrs.field(
        factory=lambda: MappingProxyType({}),
        hash=False,
        metadata=about(
            kinds.MODEL_MAP,
            "Names that clients ask for, and what the upstream calls them. A name in it is served.",
            default="`{}`",
        ),
    )
    headers: Mapping[str, str] = attrs.field(
        factory=lambda: MappingProxyType({}),
        hash=False,
        repr=_names,
        metadata=about(
            kinds.HEADERS,
            "Headers added to upstream requests. A value may be `ENV:NAME` or `FILE:path`.",
            default="`{}`",
        ),
    )
    enabled: bool = attrs.field(
        default=True, metadata=about(_FLAG, "A disabled account gets no session.")
    )
    priority: int = attrs.field(
        default=0, metadata=about(Integer(0, COUNT_MAX), "The lowest number is tried first.")
    )
    weight: int = attrs.field(
        default=100,
        metadata=about(Integer(1, COUNT_MAX), "Its share among the accounts of its priority."),
    )
    sessions_max: int = attrs.field(
        default=0, metadata=about(Integer(0, COUNT_MAX), "Sessions at once. 0: no limit.")
    )
    websocket: UpstreamMode = attrs.field(
        default=UpstreamMode.POOL,
        converter=UpstreamMode,
        metadata=about(
            Word(tuple(map(str, UpstreamMode))),
            "How the responses dialect uses it: `pool`: sockets are shared by the sessions of a"
            " tenant, one after the other; `dedicated`: each session has its own; `off`: not at"
            " all.",
        ),
    )
    lanes: bool | None = attrs.field(
        default=None,
        metadata=about(
            _FLAG,
            "Whether one socket runs several responses at once, told apart by `stream_id`, in the"
            " responses dialect. Where not, each lane of a session has a socket of its own.",
            default="`true` for `openai` and `sim:responses`",
        ),
    )
    transport: Transport = attrs.field(
        default=Transport.WS,
        converter=Transport,
        metadata=about(
            Word(tuple(map(str, Transport))),
            "How the chat dialect reaches a Spark account: `ws`; `http`: the vendor's own HTTP"
            " interface, with `spark.http_password`; `auto`: that, for what WebSockets cannot do.",
        ),
    )
    spark: SparkSettings | None = attrs.field(
        default=None,
        metadata=about(None, "Of a Spark account: see below. Required there.", default="none"),
    )
    xiaozhi: DeviceServerSettings = attrs.field(
        factory=DeviceServerSettings,
        metadata=about(None, "Of a xiaozhi server: see below.", default="see below"),
    )
    defaults: ChatDefaults = attrs.field(
        factory=ChatDefaults,
        metadata=about(
            None, "What a chat request gets where it is silent: see below.", default="see below"
        ),
    )
    proxy: Proxy | None = attrs.field(
        default=None,
        metadata=about(
            ProxyUrl(),
            "A secret reference: the proxy to go through, as `http://user:password@host:port`,"
            " `socks5://…` or `socks5h://…`, user and password where it asks for them. With"
            " `socks5` relayd resolves the upstream's name; with the others the proxy does, and"
            " its rules say where it may lead. The proxy itself may have a private address.",
            default='`""`',
        ),
    )
    allow_private: bool = attrs.field(
        default=False,
        metadata=about(
            _FLAG,
            "Whether the name in `base_url`, or what the upstream names in turn, may lead to"
            " private, loopback, link-local and other special addresses. An address written into"
            " `base_url` is allowed anyway, and so is `localhost`.",
        ),
    )
    tls_ca: str | None = attrs.field(
        default=None,
        metadata=about(
            kinds.AuthorityFile(),
            "Certificates to trust beside the system's, a PEM file. A relative path starts beside"
            " the configuration file.",
            default='`""`',
        ),
    )
    timeouts: Timeouts = attrs.field(
        factory=Timeouts, metadata=about(None, "See below.", default="see below")
    )
