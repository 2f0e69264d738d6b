"""The settings of the pools of upstream sockets, in the manner of :mod:`relayd.config.schema`."""

from __future__ import annotations

from typing import Final

import attrs

from relayd.config.about import about
from relayd.config.rules import Integer, Seconds

SLOTS_MAX: Final = 100_000
"""More sockets to one account than a process may have descriptors for any other reason."""

_SECONDS: Final = Seconds()


@attrs.frozen(kw_only=True)
class PoolSettings:
    """``[pool]``: sockets that are kept to upstreams between the turns of the responses dialect."""

    connect_s: float = attrs.field(
        default=10.0,
        metadata=about(_SECONDS, "To open a socket for a turn, with TLS and upgrade."),
    )
    acquire_s: float = attrs.field(
        default=12.0,
        metadata=about(
            _SECONDS, "How long a turn waits for a socket, the opening of one among that."
        ),
    )
    slots_max: int = attrs.field(
        default=128,
        metadata=about(
            Integer(1, SLOTS_MAX),
            "Sockets per account. When all are in use, turns wait, first come first served.",
        ),
    )
    idle_max: int = attrs.field(
        default=12,
        metadata=about(
            Integer(0, SLOTS_MAX),
            "Of these, how many are kept while nobody uses them. Over it, the one that was unused"
            " for longest is closed.",
        ),
    )
    idle_ttl_s: float = attrs.field(
        default=600.0, metadata=about(_SECONDS, "A socket that is unused for this long is closed.")
    )
    age_max_s: float = attrs.field(
        default=3300.0,
        metadata=about(
            _SECONDS,
            "A socket of this age is closed once no turn uses it. OpenAI ends its own at 60"
            " minutes, also within a turn.",
        ),
    )
    ping_after_s: float = attrs.field(
        default=5.0,
        metadata=about(_SECONDS, "A socket that was last used this long ago is sent a ping."),
    )
    ping_every_s: float = attrs.field(
        default=30.0,
        metadata=about(_SECONDS, "An unused socket that answered is pinged again after this long."),
    )
    ping_timeout_s: float = attrs.field(
        default=5.0,
        metadata=about(
            _SECONDS, "An unused socket from which nothing comes for this long is broken."
        ),
    )
    prewarm: int = attrs.field(
        default=0,
        metadata=about(
            Integer(0, SLOTS_MAX),
            "Ready sockets that are kept per account, opened before anybody asks. At most"
            " `idle_max` are.",
        ),
    )
    preflight_idle_s: float = attrs.field(
        default=20.0,
        metadata=about(
            _SECONDS, "A socket from which nothing came for this long must answer before a turn."
        ),
    )
    preflight_timeout_s: float = attrs.field(
        default=2.0, metadata=about(_SECONDS, "How long it has for that answer.")
    )
