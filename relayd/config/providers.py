"""The dialects relayd speaks, and the kinds of upstream that speak them."""

from __future__ import annotations

import enum


class Dialect(enum.StrEnum):
    """The protocols relayd speaks to clients."""

    REALTIME = "realtime"
    PASSTHROUGH = "passthrough"


class Provider(enum.StrEnum):
    """What an account's upstream is."""

    OPENAI = "openai"
    COMPATIBLE = "compatible"
    WEBSOCKET = "websocket"
    SIM_REALTIME = "sim:realtime"
    SIM_PASSTHROUGH = "sim:passthrough"

    @property
    def is_simulated(self) -> bool:
        """Whether relayd starts the upstream itself."""
        return self in {Provider.SIM_REALTIME, Provider.SIM_PASSTHROUGH}

    @property
    def dialect(self) -> Dialect:
        """The dialect whose sessions go to such accounts."""
        match self:
            case Provider.WEBSOCKET | Provider.SIM_PASSTHROUGH:
                return Dialect.PASSTHROUGH
            case Provider.OPENAI | Provider.COMPATIBLE | Provider.SIM_REALTIME:
                return Dialect.REALTIME
