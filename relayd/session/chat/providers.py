"""Which provider stands behind an account of the chat dialect, and how long it may think."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

from relayd.config import providers
from relayd.config.snapshot import Account
from relayd.dialect.behind import Provider
from relayd.dialect.runtask import RUNTASK
from relayd.dialect.spark import SPARK
from relayd.dialect.spark_account import model_at

PROVIDERS: Final[Mapping[providers.Provider, Provider[Account]]] = MappingProxyType(
    {
        providers.Provider.SPARK: SPARK,
        providers.Provider.SIM_SPARK: SPARK,
        providers.Provider.RUNTASK: RUNTASK,
        providers.Provider.SIM_RUNTASK: RUNTASK,
    }
)

FIRST_FRAME_S: Final = 20.0
FIRST_FRAME_OF_REASONING_S: Final = 60.0
IDLE_S: Final = 30.0
"""Where the account's ``timeouts`` say nothing."""


@attrs.frozen
class Patience:
    """How long an answer may take, in seconds.

    Attributes:
        first_frame_s: From the request to the first frame that says something.
        idle_s: The longest silence behind that.
        total_s: From the request to the end.
    """

    first_frame_s: float
    idle_s: float
    total_s: float


def provider_of(account: Account) -> Provider[Account]:
    """What speaks for an account of the dialect."""
    return PROVIDERS[account.provider]


def patience_with(account: Account) -> Patience:
    """How long an account's answers may take; a model that thinks first may for longer.

    What the operator has set holds, whatever it is.
    """
    times = account.timeouts
    first_frame_s = times.first_frame_s
    if first_frame_s is None:
        first_frame_s = FIRST_FRAME_OF_REASONING_S if _thinks(account) else FIRST_FRAME_S
    idle_s = IDLE_S if times.idle_s is None else times.idle_s
    return Patience(first_frame_s, idle_s, times.total_s)


def _thinks(account: Account) -> bool:
    return account.spark is not None and model_at(account).reasoning
