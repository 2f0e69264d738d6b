"""The task that tells who follows relayd's figures how they stand, every second."""

from __future__ import annotations

import trio

from relayd.hub.sources import STATS_EVERY_S, Sources


async def tell_stats(sources: Sources) -> None:
    """Publish ``stats`` events until cancelled; while nobody listens it only looks whether so."""
    while True:
        await trio.sleep(STATS_EVERY_S)
        for _ in sources.tell_stats():
            await trio.lowlevel.checkpoint()  # a thousand tenants would else take the loop 0.1 s
