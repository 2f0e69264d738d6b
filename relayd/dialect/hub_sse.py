"""The hub's events as Server-Sent Events (the HTML standard, section 9.2).

One event is the lines ``id:``, ``event:`` and ``data:``, the last being the envelope. A browser
repeats the last ``id`` as ``Last-Event-ID`` when it connects again, so the ``id`` must name the
place that the client resumes from: in one topic, or in everything.
"""

from __future__ import annotations

from relayd.dialect.hub_envelope import envelope
from relayd.dialect.hub_event import RESYNC_REQUIRED, Publication


def encode_sse(publication: Publication, *, overall: bool) -> bytes:
    """One event.

    Args:
        overall: Whether its client follows more than one topic, so that only a place among
            everything says how far it came.
    """
    place = publication.cursor if overall else publication.id
    head = f"id: {place}\nevent: {publication.event}\ndata: "
    return b"%b%b\n\n" % (head.encode(), envelope(publication))


def encode_resync(body: bytes, *, epoch: str, seq: int) -> bytes:
    """The event that a client missed something.

    Args:
        body: Of :func:`~relayd.dialect.hub_envelope.resync_envelope`, with the same numbers.
    """
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (
        f"{epoch}@{seq}".encode(),
        RESYNC_REQUIRED.encode(),
        body,
    )


def encode_retry(delay_ms: int) -> bytes:
    """How long a browser is to wait before it connects again."""
    return b"retry: %d\n\n" % delay_ms
