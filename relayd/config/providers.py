"""The dialects relayd speaks, and the kinds of upstream that speak them."""

from __future__ import annotations

import enum
from typing import Final

SIMULATED: Final = "sim:"
"""How the names of providers begin that relayd starts itself; a dialect's name follows."""


class Dialect(enum.StrEnum):
    """The protocols relayd speaks to clients."""

    REALTIME = "realtime"
    RESPONSES = "responses"
    CHAT = "chat"
    PASSTHROUGH = "passthrough"
    HUB = "hub"
    XIAOZHI = "xiaozhi"


class Provider(enum.StrEnum):
    """What an account's upstream is."""

    OPENAI = "openai"
    COMPATIBLE = "compatible"
    WEBSOCKET = "websocket"
    SIM_REALTIME = "sim:realtime"
    SIM_RESPONSES = "sim:responses"
    SIM_PASSTHROUGH = "sim:passthrough"
    SPARK = "spark"
    RUNTASK = "runtask"
    SIM_SPARK = "sim:spark"
    SIM_RUNTASK = "sim:runtask"
    XIAOZHI = "xiaozhi"
    SIM_XIAOZHI = "sim:xiaozhi"

    @property
    def is_simulated(self) -> bool:
        """Whether relayd starts the upstream itself."""
        return self.value.startswith(SIMULATED)

    @property
    def dialects(self) -> tuple[Dialect, ...]:
        """The dialects whose sessions go to such accounts; a simulated upstream speaks one."""
        match self:
            case Provider.WEBSOCKET | Provider.SIM_PASSTHROUGH:
                return (Dialect.PASSTHROUGH,)
            case Provider.OPENAI | Provider.COMPATIBLE:
                return (Dialect.REALTIME, Dialect.RESPONSES)
            case Provider.SIM_REALTIME:
                return (Dialect.REALTIME,)
            case Provider.SIM_RESPONSES:
                return (Dialect.RESPONSES,)
            case Provider.SPARK | Provider.SIM_SPARK | Provider.RUNTASK | Provider.SIM_RUNTASK:
                return (Dialect.CHAT,)
            case Provider.XIAOZHI | Provider.SIM_XIAOZHI:
                return (Dialect.XIAOZHI,)

    @property
    def is_spark(self) -> bool:
        """Whether it is iFlytek's, with a table of its own."""
        return self in {Provider.SPARK, Provider.SIM_SPARK}

    @property
    def has_devices(self) -> bool:
        """Whether xiaozhi devices talk to it."""
        return self in {Provider.XIAOZHI, Provider.SIM_XIAOZHI}

    @property
    def has_lanes(self) -> bool:
        """Whether its Responses sockets run several responses at once, where nobody says."""
        return self in {Provider.OPENAI, Provider.SIM_RESPONSES}
