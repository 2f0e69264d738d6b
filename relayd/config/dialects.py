"""The settings of single dialects, in the manner of :mod:`relayd.config.schema`."""

from __future__ import annotations

from typing import Final

import attrs

from relayd.config.about import about
from relayd.config.rules import Seconds

_SECONDS: Final = Seconds()


@attrs.frozen(kw_only=True)
class ResponsesSettings:
    """``[dialects.responses]``: how long a turn may be silent, and what its client hears then."""

    keepalive_s: float = attrs.field(
        default=12.0,
        metadata=about(
            _SECONDS,
            "A client whose turn runs and that was sent no event for this long is sent one of"
            " relayd's own: known clients count events, not pings.",
        ),
    )
    first_event_s: float = attrs.field(
        default=90.0,
        metadata=about(_SECONDS, "From a request to the upstream's first event about it."),
    )
    idle_s: float = attrs.field(
        default=900.0,
        metadata=about(_SECONDS, "Its longest silence in a turn, behind its first event."),
    )
    total_s: float = attrs.field(
        default=3600.0, metadata=about(_SECONDS, "One turn, from its request to its last event.")
    )


@attrs.frozen(kw_only=True)
class HubKeepalive:
    """``[dialects.hub]``: when a client of the event hub is taken for gone."""

    keepalive_s: float = attrs.field(
        default=25.0, metadata=about(_SECONDS, "A client silent for this long is sent a ping.")
    )
    pong_s: float = attrs.field(
        default=10.0, metadata=about(_SECONDS, "How long it has for the answer; then 4009.")
    )


@attrs.frozen(kw_only=True)
class XiaozhiKeepalive:
    """``[dialects.xiaozhi]``: when a device is taken for gone."""

    keepalive_s: float = attrs.field(
        default=20.0, metadata=about(_SECONDS, "A device silent for this long is sent a ping.")
    )
    pong_s: float = attrs.field(
        default=20.0, metadata=about(_SECONDS, "How long it has for the answer.")
    )


@attrs.frozen(kw_only=True)
class DialectSettings:
    """``[dialects]``: a table for each dialect that has settings of its own."""

    responses: ResponsesSettings = attrs.field(
        factory=ResponsesSettings, metadata=about(None, "See below.", default="see below")
    )
    hub: HubKeepalive = attrs.field(
        factory=HubKeepalive, metadata=about(None, "See below.", default="see below")
    )
    xiaozhi: XiaozhiKeepalive = attrs.field(
        factory=XiaozhiKeepalive, metadata=about(None, "See below.", default="see below")
    )
