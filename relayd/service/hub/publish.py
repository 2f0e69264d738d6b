"""``POST /api/v1/publish``: events from outside, one or a list, all of them or none.

Everything that can be refused is, before the first event is published; publishing itself is one
step in which nothing else runs. What a request with an ``Idempotency-Key`` was answered is answered
again when it is repeated, and nothing is published then.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import attrs
import trio

from relayd.config.keys import Role
from relayd.core.refusals import Refusal, RefusalCode
from relayd.dialect.hub_errors import Mistake
from relayd.dialect.hub_publish import Drafts, Publishing, encode_published, parse_publishing
from relayd.hub.hub import Hub
from relayd.hub.idempotency import KEY_MAX_CHARS, Answers, Place, Reused, digest_of
from relayd.protocol.head import Head
from relayd.service.admin import paging
from relayd.service.http.refusals import HttpFault, HttpRefused
from relayd.service.http.request import Request
from relayd.service.http.responses import Json
from relayd.service.hub.pace import Pace
from relayd.service.hub.query import parameters
from relayd.session.hub.identity import Identity

BODY_MAX_BYTES: Final = 1_048_576
"""What may wait for one client, too: more in one step would cut off who follows it.

It also bounds the step in which no session is served: reading this much takes up to 30 ms.
"""

IDEMPOTENCY_KEY: Final = "idempotency-key"
REPLAYED: Final = (("Idempotent-Replayed", "true"),)
"""Tells an answer that was given before."""

_KEY: Final = re.compile(rf"[\x21-\x7e]{{1,{KEY_MAX_CHARS}}}")
_JSON: Final = re.compile(r"application/(?:[a-z0-9.-]+\+)?json[ \t]*(?:;.*)?", re.IGNORECASE)
_NO_PUBLISHER: Final = Refusal(
    RefusalCode.ROLE_NOT_ALLOWED,
    'Publishing takes a key with role = "publisher" or "operator", or a token whose claim publish'
    " names topics.",
)
_UNREAD: Final = "Send JSON, as application/json in UTF-8 and without a Content-Encoding."
_REUSED: Final = Refusal(
    RefusalCode.IDEMPOTENCY_KEY_REUSED,
    "This Idempotency-Key came with another body before. Use a new one for each request.",
    IDEMPOTENCY_KEY,
)


@attrs.frozen(kw_only=True)
class Publisher:
    """Takes events.

    Attributes:
        hub: Where they go.
        wall: Seconds since the epoch.
        answers: What was answered before.
        pace: How fast a tenant may publish.
    """

    hub: Hub
    wall: Callable[[], float]
    answers: Answers = attrs.field(factory=Answers)
    pace: Pace = attrs.field(factory=Pace)

    async def publish(self, request: Request, who: Identity) -> Json:
        """Publish what the body says, in its order.

        Cancelling it publishes all or nothing.

        Raises:
            HttpRefused: 400 for what is no event, 403 for a client or a topic that may not, 413,
                415, 422 for an ``Idempotency-Key`` that came with another body, and 429 for too
                many events.
        """
        _check_may_publish(who)
        parameters(request, ())
        key = _read_head(request.head)
        body = await request.body(BODY_MAX_BYTES)
        publishing = parse_publishing(body)
        if isinstance(publishing, Mistake):
            raise refused(publishing)
        _check_topics(publishing, who)
        if key is None:
            return Json(self._publish(publishing, who))
        place, digest, now = Place(who.tenant, who.name, key), digest_of(body), trio.current_time()
        earlier = self.answers.find(place, digest, now)
        if isinstance(earlier, Reused):
            raise HttpRefused(_REUSED)
        if earlier is not None:
            return Json(earlier, headers=REPLAYED)
        answer = self._publish(publishing, who)
        self.answers.keep(place, digest, answer, now)
        return Json(answer)

    def _publish(self, publishing: Publishing, who: Identity) -> bytes:
        """Publish all of it, and the answer. Raises :class:`HttpRefused` (429)."""
        drafts = publishing.drafts
        retry_after_s = self.pace.take(who.tenant, len(drafts), trio.current_time())
        if retry_after_s:
            message = f"Tenants publish up to {self.pace.per_s:g} events a second here."
            raise HttpRefused(
                Refusal(RefusalCode.RATE_LIMIT_EXCEEDED, message, retry_after_s=retry_after_s)
            )
        now, wall = trio.current_time(), self.wall()
        published = [self.hub.publish(who.tenant, draft, now=now, wall=wall) for draft in drafts]
        return encode_published(published, is_batch=publishing.is_batch)


def refused(mistake: Mistake) -> HttpRefused:
    """A mistake of a client as the response to its request."""
    return HttpRefused(HttpFault(mistake.status, mistake.code, mistake.message, mistake.param))


def _check_may_publish(who: Identity) -> None:
    """Before a body is read."""
    if who.role is Role.USER:
        raise HttpRefused(_NO_PUBLISHER)


def _check_topics(publishing: Publishing, who: Identity) -> None:
    drafts: Drafts = publishing.drafts
    for index, draft in enumerate(drafts):
        if not who.scope.may_publish(draft.topic):
            param = f"events[{index}].topic" if publishing.is_batch else "topic"
            message = "This client may not publish to this topic."
            raise HttpRefused(Refusal(RefusalCode.TOPIC_NOT_ALLOWED, message, param))


def _read_head(head: Head) -> str | None:
    """The ``Idempotency-Key``, if there is one. Raises :class:`HttpRefused`: 400, 415."""
    content_type, encoding = head.get("content-type"), head.get("content-encoding")
    if content_type is not None and _JSON.fullmatch(content_type) is None:
        raise HttpRefused(HttpFault(415, "unsupported_media_type", _UNREAD, "content-type"))
    if encoding is not None and encoding.lower() != "identity":
        raise HttpRefused(HttpFault(415, "unsupported_media_type", _UNREAD, "content-encoding"))
    key = head.get(IDEMPOTENCY_KEY)
    if key is not None and _KEY.fullmatch(key) is None:
        message = f"An Idempotency-Key is 1 to {KEY_MAX_CHARS} visible ASCII characters, sent once."
        raise paging.invalid(message, IDEMPOTENCY_KEY)
    return key
