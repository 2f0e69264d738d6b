"""The process itself: descriptors and the garbage collector, set up once at start."""

from __future__ import annotations

import gc
import resource
from typing import Final

DESCRIPTORS_KEPT: Final = 256
"""For listeners, logs, the ledger, names being resolved, and connections not yet admitted."""

GC_THRESHOLDS: Final = (100_000, 50, 100)
"""A full collection looks at every object of every session and pauses them all meanwhile."""


def raise_descriptor_limit() -> None:
    """Raise the soft limit on descriptors to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def sessions_max() -> int:
    """How many sessions the descriptors allow, two for each; at least one."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, (soft - DESCRIPTORS_KEPT) // 2)


def settle_garbage_collector() -> None:
    """Exempt what start-up made from collection, and collect the rest rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
