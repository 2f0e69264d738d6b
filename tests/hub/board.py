"""A hub that keeps what it is told, for those who tell it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import attrs

from relayd.hub.sources import Topic


@attrs.frozen(kw_only=True)
class Told:
    """One event, as the hub was given it."""

    topics: tuple[Topic, ...]
    event: str
    data: dict[str, Any]
    session_id: str | None
    droppable: bool
    now: float
    wall: float


@attrs.define
class Board:
    """A hub that keeps what it is told."""

    listeners: int = 1
    looks: int = 0
    followed: set[Topic] = attrs.field(factory=set)
    told: list[Told] = attrs.field(factory=list)
    skipped: list[tuple[Topic, ...]] = attrs.field(factory=list)

    def follows(self, tenant: str, topic: str) -> bool:
        return (tenant, topic) in self.followed

    def publish_to(
        self,
        topics: Sequence[Topic],
        *,
        event: str,
        data: bytes,
        session_id: str | None = None,
        droppable: bool = False,
        now: float,
        wall: float,
    ) -> None:
        self.told.append(
            Told(
                topics=tuple(topics),
                event=event,
                data=json.loads(data),
                session_id=session_id,
                droppable=droppable,
                now=now,
                wall=wall,
            )
        )

    def skip(self, topics: Sequence[Topic]) -> None:
        self.skipped.append(tuple(topics))
