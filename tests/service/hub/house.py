"""The whole API of the hub over a hub of its own, asked as the public port would be."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
import trio

from relayd.config.hub import HubSettings
from relayd.config.keys import Role
from relayd.config.schema import KeySettings, ServerSettings, Settings
from relayd.config.secret import KeyDigest, Secret
from relayd.config.snapshot import Snapshot
from relayd.core.refusals import Refusal
from relayd.dialect.hub_event import Publication
from relayd.dialect.hub_publish import Draft
from relayd.dialect.hub_topics import Scope, parse_selector
from relayd.dialect.hub_wanted import Wanted
from relayd.hub.bounds import Bounds
from relayd.hub.hub import Hub
from relayd.hub.index import Subscriber
from relayd.hub.shared import Wire
from relayd.service.http.router import Router
from relayd.service.hub.api import HubApi
from relayd.service.hub.events import EventStreams
from relayd.service.hub.pace import Pace
from relayd.service.hub.publish import Publisher
from relayd.service.hub.static import StaticFiles
from relayd.session.admission import Grant, Lease
from tests.service.admin.stage import WALL, PlayedSession
from tests.service.http.stage import Client, Reply
from tests.service.http.stage import Stage as HttpStage
from tests.service.hub.stage import live_of
from tests.session.hub.signing import SECRET, token

USER, OPERATOR, PUBLISHER, RIVAL = "rk_user", "rk_operator", "rk_publisher", "rk_rival"
NARROW, OFF = "rk_narrow", "rk_off"
EPOCH = "0123456789abcdef"

KEYS = (
    KeySettings(name="user", secret=KeyDigest.of(USER), tenant="acme"),
    KeySettings(name="boss", secret=KeyDigest.of(OPERATOR), tenant="house", role=Role.OPERATOR),
    KeySettings(name="engine", secret=KeyDigest.of(PUBLISHER), role=Role.PUBLISHER, tenant="acme"),
    KeySettings(name="rival", secret=KeyDigest.of(RIVAL), role=Role.PUBLISHER, tenant="rival"),
    KeySettings(name="narrow", secret=KeyDigest.of(NARROW), dialects=("realtime",)),
    KeySettings(name="off", secret=KeyDigest.of(OFF), enabled=False),
)
FILES = {"index.html": ("text/html; charset=utf-8", b"<!doctype html>")}


def bearer(credential: str) -> str:
    """The header that presents it."""
    return f"Authorization: Bearer {credential}"


def signed(**claims: object) -> str:
    """A token that is good for a minute, but for what the test says."""
    return token(**({"exp": WALL + 60} | claims))  # type: ignore[arg-type]  # any claim


def configured(keys: tuple[KeySettings, ...] = KEYS, **settings: object) -> Snapshot:
    """A configuration with these keys, and with tokens."""
    given: dict[str, Any] = {"hub": HubSettings(jwt_hs256_secret=Secret(SECRET))}
    return Snapshot.of(Settings(keys=keys, **(given | settings)))


@attrs.define(eq=False)
class PlayedQuota:
    """Limits sessions as the test says."""

    refusal: Refusal | None = None
    before: Callable[[], None] = lambda: None
    grants: list[Grant] = attrs.field(factory=list)
    live: int = 0

    async def take(self, grant: Grant) -> Lease | Refusal:
        self.grants.append(grant)
        await trio.lowlevel.checkpoint()
        self.before()
        if self.refusal is not None:
            return self.refusal
        self.live += 1
        return _PlayedLease(self)


@attrs.define(eq=False)
class _PlayedLease:
    quota: PlayedQuota
    released: bool = False

    def release(self) -> None:
        if not self.released:
            self.released = True
            self.quota.live -= 1


@attrs.define(eq=False)
class House:
    """A relayd, as far as its hub is asked over HTTP."""

    snapshot: Snapshot = attrs.field(factory=configured)
    bounds: Bounds = attrs.field(factory=Bounds)
    pace: Pace = attrs.field(factory=Pace)
    quota: PlayedQuota = attrs.field(factory=PlayedQuota)
    sessions: dict[str, PlayedSession] = attrs.field(factory=dict)
    hub: Hub = attrs.field(init=False)
    publisher: Publisher = attrs.field(init=False)
    streams: EventStreams = attrs.field(init=False)
    api: HubApi = attrs.field(init=False)
    http: HttpStage = attrs.field(init=False)
    began_at: float = attrs.field(factory=trio.current_time)

    def __attrs_post_init__(self) -> None:
        self.hub = Hub(EPOCH, self.bounds)
        self.publisher = Publisher(hub=self.hub, wall=self.wall, pace=self.pace)
        self.streams = EventStreams(
            hub=self.hub,
            quota=self.quota,
            snapshot=lambda: self.snapshot,
            wall=self.wall,
            jitter=lambda: 0.5,
        )
        self.api = HubApi(
            house=self,
            wall=self.wall,
            publisher=self.publisher,
            streams=self.streams,
            live=live_of(self.sessions, streams=self.streams.running),
            files=StaticFiles(FILES),
        )
        self.http = HttpStage(Router(self.api.routes()))

    def wall(self) -> float:
        """Seconds since the epoch: they pass as those of the clock do."""
        return WALL + trio.current_time() - self.began_at

    def apply(self, snapshot: Snapshot) -> None:
        """Another configuration, as a reload puts it in force."""
        self.snapshot = snapshot
        self.api.review(snapshot)

    def publish(
        self,
        data: object = None,
        *,
        topic: str = "workflow:w",
        event: str = "node_state_change",
        tenant: str = "acme",
        droppable: bool = False,
    ) -> Publication:
        """Something happens."""
        draft = Draft(topic=topic, event=event, data=json.dumps(data).encode(), droppable=droppable)
        return self.hub.publish(tenant, draft, now=trio.current_time(), wall=self.wall())

    def listen(self, tenant: str = "acme") -> Subscriber:
        """Somebody who follows everything of a tenant."""
        subscriber = self.hub.subscriber(Scope(tenant=tenant), Wire.COUNCIL, lambda: None)
        selector = parse_selector("*")
        assert selector is not None
        self.hub.subscribe(subscriber, Wanted(topics=(selector,)), trio.current_time())
        return subscriber

    @contextlib.asynccontextmanager
    async def client(self, *, send_buffer: int = 0) -> AsyncIterator[Client]:
        """A connected client; afterwards it leaves, and nothing is left of it."""
        async with self.http.client(send_buffer=send_buffer) as client:
            yield client
        assert (len(self.streams), self.quota.live) == (0, 0)

    async def ask(self, method: str, path: str, body: bytes = b"", *headers: str) -> Reply:
        """One request."""
        async with self.client() as client:
            return await client.ask(method, path, body, *headers)


def server(*origins: str) -> ServerSettings:
    """Settings that allow these origins."""
    return ServerSettings(allowed_origins=origins)


def error_of(reply: Reply) -> tuple[int, str, str | None]:
    """Status, code and parameter of a refusal."""
    error = json.loads(reply.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return reply.status, error["code"], error["param"]
