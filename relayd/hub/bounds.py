"""How much the hub remembers, and how far a client may fall behind."""

from __future__ import annotations

from typing import Final

import attrs
from attrs.validators import ge, gt

from relayd.config.hub import HubSettings

MIB: Final = 1 << 20


@attrs.frozen(kw_only=True)
class Bounds:
    """One value, replaced as a whole on reload.

    Publications count as :func:`~relayd.hub.shared.size_of` says.
    """

    ring_messages_max: int = attrs.field(default=1000, validator=ge(0))
    """What one topic remembers."""

    ring_bytes_max: int = attrs.field(default=MIB, validator=ge(0))
    """Likewise."""

    ring_age_s: float = attrs.field(default=300.0, validator=ge(0))
    """What is as old as this is not replayed."""

    rings_bytes_max: int = attrs.field(default=256 * MIB, validator=ge(0))
    """What all topics together remember."""

    topics_max: int = attrs.field(default=65_536, validator=gt(0))
    """Topics that are known at all; beyond it a tenant that has many forgets those that were
    silent for longest."""

    encoded_bytes_max: int = attrs.field(default=16 * MIB, validator=ge(0))
    """The newest publications, this many bytes of them, keep what was encoded of them.

    Each encoding takes at most the publication's size; there is one for each wire in use, and
    again one where a slow client's messages were joined.
    """

    outbox_messages_max: int = attrs.field(default=1024, validator=gt(0))
    """What waits for one client; up to twice that within the grace."""

    outbox_bytes_max: int = attrs.field(default=MIB, validator=gt(0))
    """Likewise."""

    outbox_grace_s: float = attrs.field(default=0.1, validator=ge(0))
    """How long a client that still takes bytes may be beyond these bounds."""

    replay_messages_max: int = attrs.field(default=16_384, validator=gt(0))
    """What one client is sent at once of what it missed; one that missed more loads anew."""

    replay_bytes_max: int = attrs.field(default=8 * MIB, validator=gt(0))
    """Likewise."""

    replay_topics_max: int = attrs.field(default=4096, validator=gt(0))
    """Topics that are looked through for one selector; a client that missed more loads anew."""

    @classmethod
    def of(cls, settings: HubSettings) -> Bounds:
        """The bounds that ``[hub]`` sets."""
        return cls(
            ring_messages_max=settings.history_count,
            ring_bytes_max=settings.history_bytes,
            ring_age_s=settings.history_s,
            rings_bytes_max=settings.history_max_bytes,
            outbox_messages_max=settings.queue_count,
            outbox_bytes_max=settings.queue_bytes,
        )
