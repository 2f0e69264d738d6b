"""Every setting there is: its name, rule, default and meaning.

Those of keys, of accounts and of what is stored stand beside, and are passed on.

The classes are named as their TOML tables, the fields as their settings, with units last. What a
field's metadata says is both how it is read and what ``docs/configuration.md`` says about it.
"""

from __future__ import annotations

from typing import Final, Literal

import attrs

from relayd.config import kinds
from relayd.config.about import About, about
from relayd.config.accounts import OPENAI_BASE_URL, AccountSettings, Timeouts
from relayd.config.dialects import (
    DialectSettings,
    HubKeepalive,
    ResponsesSettings,
    XiaozhiKeepalive,
)
from relayd.config.hub import HubSettings
from relayd.config.keys import BudgetPeriod, KeySettings
from relayd.config.pools import PoolSettings
from relayd.config.pricebook import PriceBook
from relayd.config.rules import Flag, Integer, Seconds, Word
from relayd.config.secret import Secret
from relayd.config.storage import LedgerSettings, StateSettings
from relayd.config.xiaozhi import DeviceServerSettings, XiaozhiSettings

__all__ = [
    "OPENAI_BASE_URL",
    "AccountSettings",
    "BudgetPeriod",
    "DeviceServerSettings",
    "DialectSettings",
    "HubKeepalive",
    "HubSettings",
    "KeySettings",
    "LedgerSettings",
    "LimitSettings",
    "LogSettings",
    "PoolSettings",
    "ResponsesSettings",
    "ServerSettings",
    "Settings",
    "StateSettings",
    "Timeouts",
    "TlsSettings",
    "XiaozhiKeepalive",
    "XiaozhiSettings",
]

COUNT_MAX: Final = 10**9
BYTES_MAX: Final = 2**40
HEAD_MIN_BYTES: Final = 1024
"""Below this, ordinary clients' request heads would not fit."""
HEAD_MAX_BYTES: Final = 2**20

_SECONDS: Final = Seconds()


def _bytes(meaning: str, least: int = 1, most: int = BYTES_MAX) -> dict[str, About]:
    return about(Integer(least, most), meaning)


@attrs.frozen(kw_only=True)
class TlsSettings:
    """``[server.tls]``: with this table, the public listeners speak TLS (1.2 or newer)."""

    certificate: str = attrs.field(
        metadata=about(
            kinds.PemFile(),
            "The certificate with its chain. A relative path starts beside the configuration file.",
        ),
    )
    private_key: str = attrs.field(
        metadata=about(kinds.PemFile(), "The certificate's private key, without a passphrase."),
    )


@attrs.frozen(kw_only=True)
class ServerSettings:
    """``[server]``: where relayd listens, and how it stops."""

    listen: tuple[str, ...] = attrs.field(
        default=("127.0.0.1:8765",),
        metadata=about(
            kinds.ADDRESSES,
            'The public addresses: `"host:port"`, `"[::1]:8765"` or `"unix:/path"`. Port 0 takes a'
            " free one.",
        ),
    )
    admin: str = attrs.field(
        default="unix:relayd-admin.sock",
        metadata=about(
            kinds.ADDRESS,
            "The address of `/livez`, `/readyz`, `/metrics` and the admin API, never one of the"
            " public ones. A Unix socket has mode 0660; a relative path starts in"
            " `$RUNTIME_DIRECTORY`, else in the working"
            " directory.",
        ),
    )
    admin_token: Secret | None = attrs.field(
        default=None,
        metadata=about(
            kinds.AdminToken(),
            "The secret that opens the admin listener. Required where it listens on TCP.",
            default='`""`',
        ),
    )
    drain_s: float = attrs.field(
        default=30.0,
        metadata=about(
            Seconds(zero=True),
            "How long running responses may take to end after SIGTERM before they are cut.",
        ),
    )
    allowed_origins: tuple[str, ...] = attrs.field(
        default=(),
        metadata=about(
            kinds.ORIGINS,
            'The web origins that browsers may connect from, such as `"https://app.example"`.'
            ' Empty: the host itself; `["*"]`: any. A request without Origin passes.',
        ),
    )
    trusted_proxies: tuple[kinds.TrustedProxy, ...] = attrs.field(
        default=(),
        metadata=about(
            kinds.TRUSTED_PROXIES,
            "Who is believed about a client's address: addresses, networks in CIDR form, and"
            ' `"unix"` for the peers of Unix sockets. Empty: nobody.',
        ),
    )
    client_address_header: Literal["x-forwarded-for", "x-real-ip", "cf-connecting-ip"] = (
        attrs.field(
            default="x-forwarded-for",
            metadata=about(
                Word(("x-forwarded-for", "x-real-ip", "cf-connecting-ip")),
                "The request header in which a trusted proxy names the client. Of"
                " `x-forwarded-for` the last address that is no trusted proxy counts. No such"
                " header goes upstream.",
            ),
        )
    )
    proxy_protocol: bool = attrs.field(
        default=False,
        metadata=about(
            Flag(),
            "Whether every connection begins with a PROXY protocol header, version 1 or 2, from a"
            " trusted proxy; one from elsewhere is refused. Over a Unix socket every peer counts"
            " as one. On TCP it needs `trusted_proxies`.",
        ),
    )
    tls: TlsSettings | None = attrs.field(
        default=None, metadata=about(None, "See below.", default="no TLS")
    )


@attrs.frozen(kw_only=True)
class LimitSettings:
    """``[limits]``: what one peer, one session and the process may use."""

    request_head_max_bytes: int = attrs.field(
        default=32_768,
        metadata=_bytes("A request's line and headers together.", HEAD_MIN_BYTES, HEAD_MAX_BYTES),
    )
    request_body_max_bytes: int = attrs.field(
        default=67_108_864, metadata=_bytes("A request's body.")
    )
    message_max_bytes: int = attrs.field(
        default=67_108_864,
        metadata=_bytes(
            "A WebSocket message, of clients and of upstreams; in the realtime dialect at most 32"
            " MiB. Over it: 1009 to its sender."
        ),
    )
    sessions_max: int = attrs.field(
        default=0,
        metadata=about(
            Integer(0, COUNT_MAX),
            "Sessions at once. 0: as many as (descriptor limit - 256) / 2, the soft limit being"
            " raised to the hard one first.",
        ),
    )
    hold_max_bytes: int = attrs.field(
        default=536_870_912,
        metadata=_bytes(
            "All bytes that the process holds, queues or has pending. Over it new work is refused."
        ),
    )
    handshakes_per_ip_max: int = attrs.field(
        default=64,
        metadata=about(
            Integer(1, COUNT_MAX),
            "Connections of one address whose request head is incomplete after a second. Over it"
            " the oldest gets 408. It goes by the socket's address, or the one in a PROXY header;"
            " `trusted_proxies` are not counted.",
        ),
    )
    handshake_s: float = attrs.field(
        default=10.0, metadata=about(_SECONDS, "For a client's request head, TLS included.")
    )
    admission_s: float = attrs.field(
        default=8.0,
        metadata=about(
            _SECONDS,
            "For everything before the 101, all attempts at upstreams together. SDKs"
            " give up at 10.",
        ),
    )
    first_message_s: float = attrs.field(
        default=30.0,
        metadata=about(_SECONDS, "For the client's first message, where a dialect waits for one."),
    )
    stall_s: float = attrs.field(
        default=15.0,
        metadata=about(_SECONDS, "A peer that takes no byte for this long is cut."),
    )
    session_max_s: float = attrs.field(
        default=3600.0,
        metadata=about(_SECONDS, "The age at which a session ends, after its running response."),
    )
    keepalive_s: float = attrs.field(
        default=15.0, metadata=about(_SECONDS, "A peer silent for this long is sent a ping.")
    )
    keepalive_timeout_s: float = attrs.field(
        default=45.0,
        metadata=about(
            _SECONDS, "A peer silent for this long is gone. Must be longer than `keepalive_s`."
        ),
    )


@attrs.frozen(kw_only=True)
class LogSettings:
    """``[log]``: one event a line on standard output."""

    format: Literal["json", "console"] = attrs.field(
        default="json",
        metadata=about(Word(("json", "console")), '`"json"` for machines, `"console"` for people.'),
    )
    level: str = attrs.field(
        default="info",
        metadata=about(
            Word(("debug", "info", "warning", "error")), "Events below this level are not written."
        ),
    )


@attrs.frozen(kw_only=True)
class Settings:
    """A whole configuration, in itself free of mistakes.

    Attributes:
        prices: What the prices file says; empty where there is none.
    """

    server: ServerSettings = attrs.field(factory=ServerSettings)
    limits: LimitSettings = attrs.field(factory=LimitSettings)
    pool: PoolSettings = attrs.field(factory=PoolSettings)
    log: LogSettings = attrs.field(factory=LogSettings)
    state: StateSettings = attrs.field(factory=StateSettings)
    ledger: LedgerSettings = attrs.field(factory=LedgerSettings)
    dialects: DialectSettings = attrs.field(factory=DialectSettings)
    hub: HubSettings = attrs.field(factory=HubSettings)
    xiaozhi: XiaozhiSettings = attrs.field(factory=XiaozhiSettings)
    keys: tuple[KeySettings, ...] = ()
    accounts: tuple[AccountSettings, ...] = ()
    prices: PriceBook = attrs.field(factory=PriceBook)
